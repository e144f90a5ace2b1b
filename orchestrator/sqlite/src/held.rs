//! What is kept in memory because it is void once the process ends: deliveries that are out, and slots that are held.
//! The wakes and places themselves are rows too; memory follows the rows, after their commit.

mod ends;

use std::sync::{Mutex, MutexGuard, PoisonError};

use stepladder_engine::local::{Messages, WaitQueues};
use tokio::sync::Notify;

/// Queue and lines.
pub(crate) struct Held {
    messages: Mutex<Messages>,
    lines: Mutex<WaitQueues>,
    pub(crate) ends: ends::Ends,
    /// Told when a wake is added.
    pub(crate) arrivals: Notify,
}

impl Held {
    pub(crate) fn new(messages: Messages, lines: WaitQueues) -> Self {
        Self {
            messages: Mutex::new(messages),
            lines: Mutex::new(lines),
            ends: ends::Ends::default(),
            arrivals: Notify::new(),
        }
    }

    pub(crate) fn messages(&self) -> MutexGuard<'_, Messages> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lines(&self) -> MutexGuard<'_, WaitQueues> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
