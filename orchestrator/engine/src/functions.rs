//! The registered functions: where they come from, how they are paused, and whether a recorded run
//! can be replayed with new code.

mod catalog;
pub mod check;
mod pause;
mod stored;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use stepladder_core::Timestamp;
use stepladder_core::retry::{Backoff, RetryPolicy};

use crate::runtime::Runtime;

pub use catalog::{Catalog, RegisteredFunction};
pub use stored::{AppDescription, Connect, REFRESH_AFTER, RegisteredApp, StoredFunctions};

/// A source of functions. The set of functions may change while the process runs.
#[async_trait]
pub trait Functions: Send + Sync {
    /// Returns the current functions. This is called for each hop and each request, so it must be
    /// cheap: it clones an [`Arc`], without I/O. A hop or a request keeps its snapshot until it
    /// ends.
    fn snapshot(&self) -> Arc<Catalog>;

    /// Returns whether the set of functions may change while the process runs. If not,
    /// [`current`](Self::current) is never called.
    fn may_change(&self) -> bool {
        false
    }

    /// Returns the current functions. Looks for changes first, if this was not done for some time.
    /// If the functions are not enough for the caller, looks for changes once more. If the store
    /// fails, the error is logged and the last known functions are returned.
    async fn current(&self, is_enough: &(dyn for<'c> Fn(&'c Catalog) -> bool + Sync)) -> Arc<Catalog> {
        let _ = is_enough;
        self.snapshot()
    }
}

/// A source of functions that never change, because they are compiled in.
pub struct FixedFunctions(Arc<Catalog>);

impl FixedFunctions {
    /// Creates a source of these functions.
    pub fn new(catalog: Catalog) -> Self {
        Self(Arc::new(catalog))
    }
}

impl Functions for FixedFunctions {
    fn snapshot(&self) -> Arc<Catalog> {
        self.0.clone()
    }
}

/// Describes, pauses and resumes the registered functions.
pub struct FunctionControl {
    pub(crate) runtime: Arc<Runtime>,
    /// For each function, when this process last read that the function is not paused.
    pub(crate) unpaused: Mutex<HashMap<Arc<str>, Timestamp>>,
}

impl FunctionControl {
    pub(crate) fn new(runtime: Arc<Runtime>) -> Self {
        Self { runtime, unpaused: Mutex::default() }
    }

    /// Returns the current functions, without looking for changes.
    pub fn snapshot(&self) -> Arc<Catalog> {
        self.runtime.snapshot()
    }

    /// Returns the current functions. They include all functions that were registered more than
    /// [`REFRESH_AFTER`] ago.
    pub async fn current(&self) -> Arc<Catalog> {
        self.runtime.current().await
    }

    /// Returns the retry policy for the steps of a function; `None` if the function is not
    /// registered. A step may override the policy.
    pub fn retries_of(&self, function: &str) -> Option<RetryPolicy> {
        let catalog = self.runtime.snapshot();
        let policy = &catalog.spec(function)?.retry;
        let delay = self.runtime.config.retry_delay;
        let backoff = delay.map_or_else(|| policy.backoff.clone(), Backoff::Fixed);
        Some(RetryPolicy { backoff, ..policy.clone() })
    }
}
