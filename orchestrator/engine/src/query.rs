//! Read models for people: runs, events, limits, and the health of the engine. Queries change
//! nothing.

mod activity;
mod alerts;
mod costs;
mod events;
mod health;
mod listing;
mod run;
mod trends;
pub mod view;
mod wait_queues;
mod waiting;

use std::sync::Arc;

use stepladder_core::RunRow;

use crate::engine::EngineError;
use crate::functions::FunctionControl;
use crate::hop::RunningBodies;
use crate::ports::Backlog;
use crate::runs::Runs;
use crate::runtime::Runtime;
use view::RunSummary;

pub use activity::{ActivityKind, RunActivity};
pub use alerts::{AlertLimits, RunProblem};
pub use costs::{CostPoint, CostSpan, CostSums};
pub use events::EventDetail;
pub use health::{Health, Load, MAX_TIMERS};
pub use listing::{
    COUNTED_LIVE_RUNS, ListingDepth, MAX_ROWS_READ, RunFilter, RunPage, SEARCHED_REMOTE_RUNS, SEARCHED_RUNS,
    StatusCounts,
};
pub use run::RunAtEntry;
pub use trends::{TrendPoint, TrendSpan, Trends};
pub use wait_queues::{MAX_TICKETS, WaitQueueView};
pub use waiting::ordinal;

/// Answers queries about runs, events, limits and health.
pub struct Query {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) runs: Arc<Runs>,
    pub(crate) functions: Arc<FunctionControl>,
    pub(crate) bodies: RunningBodies,
}

impl Query {
    /// Returns the amount of work that waits in this process; `None` if the queue is a separate
    /// service. Reads no storage.
    pub fn backlog(&self) -> Option<Backlog> {
        self.runtime.backend.backlog()
    }

    /// Returns whether the store and the queue are in this process, so that reads cost nothing.
    pub fn is_local(&self) -> bool {
        self.backlog().is_some()
    }

    /// Returns the summary of a run. This reads the journal, because the row of a run contains no
    /// output and does not say whether a live run has started.
    pub(crate) async fn summary(&self, row: &RunRow) -> Result<RunSummary, EngineError> {
        Ok(match self.runs.state(row.run).await? {
            Some(state) => RunSummary::of(&state),
            None => RunSummary::of_row(row),
        })
    }
}
