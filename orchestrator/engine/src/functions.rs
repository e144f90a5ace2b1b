//! The registered functions: where they come from, pausing them, and checking whether a recorded
//! run replays under new code.

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
pub use stored::{Connect, REFRESH_AFTER, RegisteredApp, StoredFunctions};

/// Where functions come from. The set may change while the process runs.
#[async_trait]
pub trait Functions: Send + Sync {
    /// Returns the functions of this moment. It is called for each hop and each request, so it must
    /// be cheap: a clone of an [`Arc`], without I/O. A hop, or a request, keeps its snapshot until
    /// it ends.
    fn snapshot(&self) -> Arc<Catalog>;

    /// Returns whether the set may change while the process runs. If not, [`current`](Self::current)
    /// is not called.
    fn may_change(&self) -> bool {
        false
    }

    /// Returns the functions of this moment, after a look for changes if the last look was some
    /// time ago. If they are not enough for the caller, looks for changes once more. An error of
    /// the store is logged, and the last functions are returned.
    async fn current(&self, is_enough: &(dyn for<'c> Fn(&'c Catalog) -> bool + Sync)) -> Arc<Catalog> {
        let _ = is_enough;
        self.snapshot()
    }
}

/// Functions that never change: those that are compiled in.
pub struct FixedFunctions(Arc<Catalog>);

impl FixedFunctions {
    /// Creates the set of these functions.
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
    /// When this process last read of each function that it is not paused.
    pub(crate) unpaused: Mutex<HashMap<Arc<str>, Timestamp>>,
}

impl FunctionControl {
    pub(crate) fn new(runtime: Arc<Runtime>) -> Self {
        Self { runtime, unpaused: Mutex::default() }
    }

    /// Returns the functions of this moment.
    pub fn snapshot(&self) -> Arc<Catalog> {
        self.runtime.snapshot()
    }

    /// Returns the functions of this moment, including those that were registered more than
    /// [`REFRESH_AFTER`] ago.
    pub async fn current(&self) -> Arc<Catalog> {
        self.runtime.current().await
    }

    /// Returns the retry policy of a function's steps; `None` if the function is not registered. A
    /// step may override it.
    pub fn retries_of(&self, function: &str) -> Option<RetryPolicy> {
        let catalog = self.runtime.snapshot();
        let policy = &catalog.spec(function)?.retry;
        let delay = self.runtime.config.retry_delay;
        let backoff = delay.map_or_else(|| policy.backoff.clone(), Backoff::Fixed);
        Some(RetryPolicy { retries: policy.retries, backoff })
    }
}
