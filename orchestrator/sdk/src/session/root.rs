//! The waker at the root of a handler: remembers that something moved, and tells whoever polls the session.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;

pub(super) struct Root {
    woken: AtomicBool,
    parent: AtomicWaker,
}

impl Default for Root {
    /// Woken: a new handler is to be polled.
    fn default() -> Self {
        Self { woken: AtomicBool::new(true), parent: AtomicWaker::new() }
    }
}

impl Root {
    /// Whom to tell of the next wake.
    pub(super) fn tell(&self, parent: &Waker) {
        self.parent.register(parent);
    }

    /// Whether there was a wake since the last time; forgets it.
    pub(super) fn was_woken(&self) -> bool {
        self.woken.swap(false, Ordering::AcqRel)
    }

    /// Waits for a wake, and leaves it to be seen.
    pub(super) fn poll_woken(&self, cx: &Context<'_>) -> Poll<()> {
        self.parent.register(cx.waker());
        match self.woken.load(Ordering::Acquire) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl Wake for Root {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.parent.wake();
    }
}
