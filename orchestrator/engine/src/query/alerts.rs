//! What is wrong with the runs now: too many fail, or they wait too long for their start.
//!
//! Which people learn of it, and how, is deliberately not decided here.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::EngineError;
use crate::ports::TrendQuery;
use crate::query::{ActivityKind, Query, TrendSpan};

/// When something counts as wrong.
#[derive(Clone, Copy, Debug)]
pub struct AlertLimits {
    /// The share of failed runs of a function in the last hour, from 0 to 1.
    pub failure_rate: f64,
    /// The minimum number of failed runs for that.
    pub failures: u64,
    /// How long a run may wait for its start.
    pub wait: Duration,
}

impl Default for AlertLimits {
    /// Counts as wrong: five failed runs of a function in an hour that are a fifth of its runs, and
    /// a wait of ten minutes.
    fn default() -> Self {
        Self { failure_rate: 0.2, failures: 5, wait: Duration::from_secs(600) }
    }
}

/// Something that is wrong with the runs of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunProblem {
    /// Many runs of the last hour failed.
    Failing {
        /// The id of the function.
        function: Arc<str>,
        /// The number of runs that failed.
        failed: u64,
        /// The number of runs that completed or failed.
        ended: u64,
    },
    /// A run has waited for a long time for its start. The function is not paused, and the start is
    /// not delayed.
    Waiting {
        /// The id of the function.
        function: Arc<str>,
        /// How long the oldest run has waited.
        waited: Duration,
        /// The number of runs that wait.
        runs: u64,
    },
}

impl Query {
    /// Returns what is wrong with the runs now, in the order of the functions. The list is empty if
    /// the store keeps no counts.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub async fn run_problems(&self, limits: &AlertLimits) -> Result<Vec<RunProblem>, EngineError> {
        let mut problems = Vec::new();
        let Some(trends) = self.trends(TrendSpan::Hour, None).await? else { return Ok(problems) };
        for (function, point) in trends.functions {
            let (failed, ended) = (point.failed, point.failed + point.completed);
            if failed >= limits.failures && failed as f64 >= limits.failure_rate * ended as f64 {
                problems.push(RunProblem::Failing { function, failed, ended });
            }
        }
        let now = self.runtime.now();
        let query = TrendQuery { function: None, from: trends.from, step: trends.step, steps: 0 };
        let unstarted = self.runtime.backend.trends(query).await?.unwrap_or_default().unstarted;
        let paused = self.functions.paused().await?;
        for waiting in unstarted.into_iter().filter(|waiting| !paused.contains_key(&waiting.function)) {
            let Some(state) = self.runs.state(waiting.oldest).await? else { continue };
            let waited = now.since(state.created_at);
            if waited < limits.wait || state.end.is_some() {
                continue;
            }
            if self.activity(&state, false, false).await?.kind() == ActivityKind::Queued {
                problems.push(RunProblem::Waiting { function: waiting.function, waited, runs: waiting.runs });
            }
        }
        Ok(problems)
    }
}
