//! Checks of the invariants of every run. They share no code with the engine's own checks.
//!
//! - [`check`] checks journals from any store: the simulation's memory, a SQLite file after its
//!   server was killed, or a DynamoDB table behind a proxy that loses replies.
//! - The simulation ([`run_seed`]) searches for violations. It runs several workers on one store,
//!   with the real handlers of the SDK, under a randomized scheduler. It injects crashes, lost
//!   replies, torn commits, frozen workers and wrong clocks, and checks the invariants after every
//!   action.
//! - `hostile` feeds hostile bytes to the decoders and to the HTTP interface.

mod dice;
#[cfg(feature = "hostile")]
pub mod hostile;
mod journals;
mod one_run;
mod search;
mod simulation;

pub use journals::{RunJournal, check, unfinished};
pub use search::{CallCoverage, CallPlace, CountedPlace, FailedSeed, has_bulk_requests, run_seed, run_seed_aimed};
