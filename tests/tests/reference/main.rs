//! Checks the documents: links work, the files and tests that they name exist, and the reference
//! tables agree with the code. Also checks the shape of source files.
//!
//! Two checks are elsewhere: `runbook.rs` executes the commands of the runbook, and `aws_budget`
//! computes the figures of `infra/COST.md`.

mod cli;
mod codes;
mod environment;
mod http;
mod limits;
mod links;
mod named;
mod pages;
mod sources;
