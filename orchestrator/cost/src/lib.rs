//! What a run costs at the list prices of AWS, and how much was saved because finished steps were
//! not repeated.
//!
//! [`RunCost::of_journal`] computes the cost from the run's journal, by the model of
//! `infra/COST.md`: one step per invocation, warm workers, uncompressed values. The test
//! `aws_budget` compares the request counts of that model with those of the adapters.
//!
//! Bills, discounts and free tiers are deliberately not included, nor is anything that is not
//! billed per request.

mod model;
pub mod prices;

pub use model::{RunCost, RunCostCounter};
