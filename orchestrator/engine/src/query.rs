//! Read models for people: runs, events, limits, and the health of the engine. Nothing here changes
//! anything.

mod events;
mod health;
mod listing;
mod run;
pub mod view;
mod wait_queues;
mod waiting;

use std::sync::Arc;

use stepladder_core::RunRow;

use crate::engine::EngineError;
use crate::functions::Functions;
use crate::hop::RunningBodies;
use crate::ports::Backlog;
use crate::runs::Runs;
use crate::runtime::Runtime;
use view::RunSummary;

pub use events::EventDetail;
pub use health::{Health, MAX_TIMERS};
pub use listing::{ListingDepth, MAX_ROWS_READ, RunFilter, RunPage};
pub use run::RunAtEntry;
pub use wait_queues::{MAX_TICKETS, WaitQueueView};

/// Answers questions about runs, events, limits and health.
pub struct Query {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) runs: Arc<Runs>,
    pub(crate) functions: Arc<Functions>,
    pub(crate) bodies: RunningBodies,
}

impl Query {
    /// Returns what waits in this process to be processed; `None` if the queue is a service of its
    /// own. Reads no storage.
    pub fn backlog(&self) -> Option<Backlog> {
        self.runtime.backend.backlog()
    }

    /// Returns the summary of a run. This method reads the journal: a row does not say whether a
    /// live run has started, nor any output.
    pub(crate) async fn summary(&self, row: &RunRow) -> Result<RunSummary, EngineError> {
        Ok(match self.runs.state(row.run).await? {
            Some(state) => RunSummary::of(&state),
            None => RunSummary::of_row(row),
        })
    }
}
