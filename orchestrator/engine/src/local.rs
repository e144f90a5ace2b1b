//! State that an adapter can keep in memory when its process is the only one: open deliveries and
//! held slots.
//!
//! Both are void once the process ends: open deliveries are delivered again, and holders are dead.
//! Nothing here is durable. An adapter that needs wakes and tickets after a restart stores them
//! too.

mod line;
mod lines;
mod messages;

pub use line::WaitQueue;
pub use lines::{LeftTickets, WaitQueues};
pub use messages::Messages;
