//! The implementations of the engine's ports, one file each.

mod commits;
mod events;
mod holders;
mod journals;
mod keep;
mod listings;
mod notes;
mod slots;
mod starts;
pub(crate) mod subscription_index;
mod tickets;
mod timers;
mod waiters;
