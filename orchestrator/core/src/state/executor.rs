//! What a run knows about the executor of its function.

use std::sync::Arc;

use crate::Timestamp;

/// A period in which the executor of a function cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutorOutage {
    /// When a hop noticed it first.
    pub since: Timestamp,
    /// The reason that was noticed first.
    pub why: Arc<str>,
}

/// A call of an executor that executes steps while it is polled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutorCall {
    /// The number of the call, from 1.
    pub number: u32,
    /// When the start of the call was written.
    pub began: Timestamp,
    /// The time at which the lease of the call ends.
    pub lease_until: Timestamp,
    /// The process that makes the call.
    pub worker: Arc<str>,
    /// The number of outcomes that the journal had before the call. The call passes these.
    pub outcomes: usize,
}
