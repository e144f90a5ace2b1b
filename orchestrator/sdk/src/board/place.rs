//! Where code runs: in the handler's own future, in a step's body, or somewhere else altogether.

use std::thread::{self, ThreadId};

/// Where the code runs that may poll steps.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// Neither the handler nor a body is being polled by the session.
    Outside,
    /// In the handler, on this thread.
    Handler(ThreadId),
    /// In the body of this step (its place on the board), on this thread.
    Body(ThreadId, usize),
}

impl Place {
    /// In the handler, on the current thread.
    pub(crate) fn handler() -> Self {
        Self::Handler(thread::current().id())
    }

    /// In a body, on the current thread.
    pub(crate) fn body(at: usize) -> Self {
        Self::Body(thread::current().id(), at)
    }
}
