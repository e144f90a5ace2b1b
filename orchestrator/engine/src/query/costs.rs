//! What runs would cost on AWS, summed over time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use stepladder_core::Timestamp;

use crate::engine::EngineError;
use crate::ports::{COST_SLOT, CostQuery, RunCost};
use crate::query::Query;

/// A time span of costs: the latest one, in steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CostSpan {
    /// A day in steps of an hour.
    Day,
    /// A week in steps of six hours.
    Week,
    /// Thirty days in steps of a day, each of which begins at midnight in UTC.
    Month,
}

impl CostSpan {
    /// Returns the number of slots in a step, and the number of steps.
    fn steps(self) -> (i64, usize) {
        match self {
            Self::Day => (1, 24),
            Self::Week => (6, 28),
            Self::Month => (24, 30),
        }
    }

    /// Returns the begin of the span that contains `now` in its last step.
    pub fn from(self, now: Timestamp) -> Timestamp {
        let (slots, steps) = self.steps();
        let last = CostQuery::slot_of(now).div_euclid(slots) * slots;
        Timestamp::from_millis((last - slots * (steps as i64 - 1)) * COST_SLOT.as_millis() as i64)
    }
}

/// The cost of the runs that ended in a time span.
#[derive(Clone, Debug)]
pub struct CostSums {
    /// The begin of the first step.
    pub from: Timestamp,
    /// The length of a step.
    pub step: Duration,
    /// All functions together: one item per step.
    pub points: Vec<CostPoint>,
    /// All steps together, by function.
    pub functions: Vec<(Arc<str>, CostPoint)>,
    /// All steps and functions together.
    pub total: CostPoint,
}

/// The number of runs that ended in a time span, and their cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CostPoint {
    /// The number of runs.
    pub runs: u64,
    /// The cost of these runs.
    pub cost: RunCost,
}

impl CostPoint {
    /// Adds runs and their cost.
    pub fn add(&mut self, runs: u64, cost: RunCost) {
        self.runs += runs;
        self.cost += cost;
    }
}

impl Query {
    /// Returns the cost of the runs that ended in the latest span, of all functions or of one. The
    /// last step contains the present. Returns `None` if the store keeps no sums.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub async fn costs(&self, span: CostSpan, function: Option<&str>) -> Result<Option<CostSums>, EngineError> {
        let (slots_per_step, steps) = span.steps();
        let from = span.from(self.runtime.now());
        let (function, first) = (function.map(str::to_owned), CostQuery::slot_of(from));
        let query = CostQuery { function, first, slots_per_step, steps };
        let Some(sums) = self.runtime.backend.costs(query).await? else { return Ok(None) };
        let (mut points, mut total) = (vec![CostPoint::default(); steps], CostPoint::default());
        let mut functions: BTreeMap<Arc<str>, CostPoint> = BTreeMap::new();
        let catalog = self.functions.snapshot();
        for sum in sums {
            let limits = catalog.spec(&sum.function).map_or(0, |spec| spec.concurrency.len());
            let cost = sum.cost.with_limits(sum.runs, limits);
            if let Some(point) = points.get_mut(sum.step) {
                point.add(sum.runs, cost);
            }
            total.add(sum.runs, cost);
            functions.entry(sum.function).or_default().add(sum.runs, cost);
        }
        let step = COST_SLOT * u32::try_from(slots_per_step).unwrap_or(1);
        Ok(Some(CostSums { from, step, points, functions: functions.into_iter().collect(), total }))
    }
}
