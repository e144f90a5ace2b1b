//! What a run costs at the list prices of AWS, and what remembering its steps saved.
//!
//! [`RunCost::of`] counts from the run's journal, by the model of `infra/COST.md`: one step an
//! invocation, warm workers, values uncompressed. The test `aws_budget` counts the requests of that
//! model against the adapters.
//!
//! What is deliberately not here: bills, discounts and free tiers, and everything that is not paid
//! by the request.

mod model;
pub mod prices;

pub use model::RunCost;
