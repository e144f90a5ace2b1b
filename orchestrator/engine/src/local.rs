//! Deliveries and wait queues in memory, for adapters that serve only one process.
//!
//! After the process has ended, its open deliveries are delivered again, and the slots that it held
//! are free. Nothing here is durable: an adapter that needs wakes and tickets after a restart must
//! also store them elsewhere.

mod messages;
mod wait_queue;
mod wait_queues;

pub use messages::{MAX_DELAY, QueueMessages};
pub use wait_queue::WaitQueue;
pub use wait_queues::{RemovedTickets, WaitQueues};
