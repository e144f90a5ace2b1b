//! What must hold of every run, checked by code that shares nothing with the engine's own judgement.
//!
//! [`check`] reads journals, whoever wrote them: the simulation's memory, a SQLite file after its server was killed,
//! a DynamoDB table behind a proxy that loses replies. The simulation ([`run_seed`]) looks for what does not hold: several
//! workers over one storage, the real handlers of the SDK, every interleaving, crash, lost reply, torn commit, frozen
//! worker and wrong clock by chance, and what must hold looked at after every action. `hostile` feeds the decoders and the
//! HTTP interface with bytes that nobody sends in good faith.

mod dice;
#[cfg(feature = "hostile")]
pub mod hostile;
mod journals;
mod one_run;
mod search;
mod simulation;

pub use journals::{Journal, check, unfinished};
pub use search::{Broken, Covered, Place, Site, has_bulk_requests, run_seed, run_seed_aimed};
