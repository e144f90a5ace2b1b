//! Which code runs: the handler, the body of a step, or neither.

use std::thread::{self, ThreadId};

/// The code that the execution is polling at the moment, with the thread.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scope {
    /// The execution is polling neither the handler nor a body.
    Outside,
    Handler(ThreadId),
    /// The body of a step, by its index in the ledger.
    Body(ThreadId, usize),
}

impl Scope {
    pub(crate) fn handler() -> Self {
        Self::Handler(thread::current().id())
    }

    pub(crate) fn body(at: usize) -> Self {
        Self::Body(thread::current().id(), at)
    }
}
