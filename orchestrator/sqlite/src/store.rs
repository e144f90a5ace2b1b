//! The implementations of the engine's ports, one file each.

mod commits;
mod events;
mod journals;
mod listings;
mod notes;
mod queue;
mod slots;
mod starts;
mod timers;
mod waiters;
