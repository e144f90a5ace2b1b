//! Sums of what ended runs would cost on AWS, by function and in slots of an hour.
//!
//! A store with transactions adds the cost of a run in the transaction that ends it, so the sums
//! contain each run once. Concurrency limits are not part of the sums, because only the catalog
//! knows how many a function has.

use std::sync::Arc;
use std::time::Duration;

use stepladder_core::Timestamp;
pub use stepladder_cost::{RunCost, RunCostCounter};

/// The length of a slot.
pub const COST_SLOT: Duration = Duration::from_secs(3_600);

/// Selects sums.
#[derive(Clone, Debug)]
pub struct CostQuery {
    /// If set, sums only runs of this function.
    pub function: Option<String>,
    /// The number of the first slot, as [`CostQuery::slot_of`] returns it.
    pub first: i64,
    /// The number of slots in a step.
    pub slots_per_step: i64,
    /// The number of steps.
    pub steps: usize,
}

impl CostQuery {
    /// Returns the number of the slot that contains a time.
    pub fn slot_of(at: Timestamp) -> i64 {
        at.as_millis().div_euclid(COST_SLOT.as_millis() as i64)
    }

    /// Returns the step that contains a time; `None` if the query does not select the time.
    pub fn step_of(&self, at: Timestamp) -> Option<usize> {
        let step = (Self::slot_of(at) - self.first).div_euclid(self.slots_per_step);
        usize::try_from(step).ok().filter(|step| *step < self.steps)
    }
}

/// The cost of the runs of a function that ended in one step of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CostSum {
    /// The number of the step, from 0.
    pub step: usize,
    /// The id of the function.
    pub function: Arc<str>,
    /// The number of runs.
    pub runs: u64,
    /// Their cost, without concurrency limits.
    pub cost: RunCost,
}
