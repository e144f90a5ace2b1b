//! Deliveries and wait queues in memory, for adapters that serve only one process.
//!
//! When the process ends, its open deliveries are delivered again and its held slots are free.
//! Nothing here is durable: an adapter that needs wakes and tickets after a restart stores them
//! too.

mod messages;
mod wait_queue;
mod wait_queues;

pub use messages::{MAX_DELAY, Messages};
pub use wait_queue::WaitQueue;
pub use wait_queues::{RemovedTickets, WaitQueues};
