//! The documents hold: links lead somewhere, the files and tests that they name exist, and the reference tables agree with
//! the code.
//!
//! What is deliberately not here: the commands of the runbook, which `runbook.rs` types, and the figures of
//! `infra/COST.md`, which `aws_budget` counts.

mod cli;
mod codes;
mod environment;
mod http;
mod limits;
mod links;
mod named;
mod pages;
