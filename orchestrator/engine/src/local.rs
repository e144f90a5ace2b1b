//! What an adapter can keep in memory when its process is the only one: which deliveries are out,
//! and who holds slots.
//!
//! Both are void once the process ends: what was delivered is delivered again, and whoever held a
//! slot is dead. Nothing here is durable; an adapter that must find wakes and lines again after a
//! restart writes them down beside this.

mod line;
mod lines;
mod messages;

pub use line::WaitQueue;
pub use lines::{LeftTickets, WaitQueues};
pub use messages::Messages;
