//! The waker at the root of a handler. It remembers a wake, and wakes the task that polls the
//! execution.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;

pub(super) struct RootWaker {
    woken: AtomicBool,
    execution: AtomicWaker,
}

impl Default for RootWaker {
    /// Woken: a new handler must be polled.
    fn default() -> Self {
        Self { woken: AtomicBool::new(true), execution: AtomicWaker::new() }
    }
}

impl RootWaker {
    /// Sets the waker of the task that polls the execution.
    pub(super) fn register(&self, execution: &Waker) {
        self.execution.register(execution);
    }

    /// Returns whether there was a wake since the last call.
    pub(super) fn take_woken(&self) -> bool {
        self.woken.swap(false, Ordering::AcqRel)
    }

    /// Waits for a wake, and does not take it.
    pub(super) fn poll_woken(&self, cx: &Context<'_>) -> Poll<()> {
        self.execution.register(cx.waker());
        match self.woken.load(Ordering::Acquire) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl Wake for RootWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.execution.wake();
    }
}
