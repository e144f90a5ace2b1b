//! The registered functions: their versions, pausing them, and checking whether a recorded run
//! replays under new code.

pub mod check;
mod pause;
pub(crate) mod versions;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use stepladder_core::retry::{Backoff, RetryPolicy};
use stepladder_core::{Spec, Timestamp};

use crate::runtime::Runtime;

/// The registered functions, and which of them are paused.
pub struct Functions {
    pub(crate) runtime: Arc<Runtime>,
    /// When this process last read of each function that it is not paused.
    pub(crate) unpaused: Mutex<HashMap<Arc<str>, Timestamp>>,
}

impl Functions {
    pub(crate) fn new(runtime: Arc<Runtime>) -> Self {
        Self { runtime, unpaused: Mutex::default() }
    }

    /// Returns the functions' descriptions, in the order of registration.
    pub fn specs(&self) -> impl Iterator<Item = &Spec> {
        self.runtime.specs()
    }

    /// Returns the retry policy of a function's steps; `None` if the function is not registered. A
    /// step may override it.
    pub fn retries_of(&self, function: &str) -> Option<RetryPolicy> {
        let policy = &self.runtime.program(function)?.spec().retry;
        let delay = self.runtime.config.retry_delay;
        let backoff = delay.map_or_else(|| policy.backoff.clone(), Backoff::Fixed);
        Some(RetryPolicy { retries: policy.retries, backoff })
    }
}
