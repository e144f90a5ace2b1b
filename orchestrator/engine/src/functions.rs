//! The registered functions: where they come from, pausing them, and checking whether a recorded
//! run replays under new code.

mod catalog;
pub mod check;
mod pause;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use stepladder_core::Timestamp;
use stepladder_core::retry::{Backoff, RetryPolicy};

use crate::runtime::Runtime;

pub use catalog::{Catalog, RegisteredFunction};

/// Where functions come from. The set may change while the process runs.
pub trait Functions: Send + Sync {
    /// Returns the functions of this moment. It is called for each hop and each request, so it must
    /// be cheap: a clone of an [`Arc`], without I/O. A hop, or a request, keeps its snapshot until
    /// it ends.
    fn snapshot(&self) -> Arc<Catalog>;
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
