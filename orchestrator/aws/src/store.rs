//! The implementations of the engine's ports, one file per port.

mod commits;
mod events;
mod flow_states;
mod holders;
mod journals;
mod listings;
mod registrations;
mod retention;
mod slots;
mod starts;
pub(crate) mod subscription_index;
mod subscriptions;
mod tickets;
mod timers;
