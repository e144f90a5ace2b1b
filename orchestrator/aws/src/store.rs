//! The ports over the table, one file each.

mod commits;
mod events;
mod holders;
mod journals;
mod keep;
pub(crate) mod kinds;
mod listings;
mod notes;
mod places;
mod slots;
mod starts;
mod timers;
mod waiters;
