//! What must hold of every run, checked by code that shares nothing with the engine's own judgement.
//!
//! [`check`] reads journals, whoever wrote them: the simulation's memory, a SQLite file after its server was killed,
//! a DynamoDB table behind a proxy that loses replies. [`hostile`] feeds the decoders and the HTTP interface with bytes
//! that nobody sends in good faith.

pub mod hostile;
mod journals;
mod one_run;

pub use journals::{Journal, check, unfinished};
