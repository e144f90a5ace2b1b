//! State that is only in memory, because it is no longer valid once the process ends: deliveries to
//! workers, and slots that steps hold. Wakes and tickets are in memory and in rows; after each
//! commit, memory is updated to match the rows.

mod journal_ends;
mod run_costs;

use parking_lot::{Mutex, MutexGuard};
use stepladder_engine::local::{QueueMessages, WaitQueues};
use tokio::sync::Notify;

use journal_ends::JournalEnds;
use run_costs::RunCosts;

/// The queue of wakes, the wait queues of the limits, and the ends and costs of journals.
pub(crate) struct MemoryState {
    messages: Mutex<QueueMessages>,
    wait_queues: Mutex<WaitQueues>,
    pub(crate) journal_ends: JournalEnds,
    pub(crate) run_costs: RunCosts,
    /// Notifies receivers when a wake is added.
    pub(crate) arrivals: Notify,
}

impl MemoryState {
    pub(crate) fn new(messages: QueueMessages, wait_queues: WaitQueues) -> Self {
        Self {
            messages: Mutex::new(messages),
            wait_queues: Mutex::new(wait_queues),
            journal_ends: JournalEnds::default(),
            run_costs: RunCosts::default(),
            arrivals: Notify::new(),
        }
    }

    pub(crate) fn messages(&self) -> MutexGuard<'_, QueueMessages> {
        self.messages.lock()
    }

    pub(crate) fn wait_queues(&self) -> MutexGuard<'_, WaitQueues> {
        self.wait_queues.lock()
    }
}
