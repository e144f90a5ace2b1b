//! The implementations of the engine's ports, one file per port.

mod commits;
pub(crate) mod costs;
mod events;
mod flow_states;
mod intake;
mod journals;
mod listings;
mod queue;
mod registrations;
mod slots;
mod starts;
mod subscriptions;
mod timers;
pub(crate) mod trends;
