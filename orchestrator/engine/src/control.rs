//! Actions that people request: cancel a run, rerun a run, skip a wait. Cancel and rerun can also
//! be applied to all runs that match a filter.

mod bulk;
mod checkpoint;
mod own_call;
mod rerun;
mod skip_wait;

use std::sync::Arc;

use stepladder_core::{RunId, Status};

pub use bulk::BulkResult;
pub use checkpoint::CheckpointReceipt;
pub use own_call::OwnRun;
pub use rerun::RerunOptions;

use crate::EngineError;
use crate::intake::Intake;
use crate::query::Query;
use crate::runs::Runs;
use crate::runtime::Runtime;

/// Cancels and reruns runs, and skips their waits.
pub struct RunControl {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) runs: Arc<Runs>,
    pub(crate) intake: Arc<Intake>,
    pub(crate) query: Arc<Query>,
}

/// The result of cancelling a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancellation {
    /// The status of the run now.
    pub status: Status,
    /// Whether this call has cancelled the run. Otherwise the run had already ended.
    pub is_new: bool,
}

impl RunControl {
    /// Cancels a run. If a body is executing, it continues, but its outcome
    /// is not recorded. If the run has already ended, it is not changed, but the work that follows
    /// the end of a run is repeated (rule 28).
    ///
    /// # Errors
    /// [`EngineError::NotFound`] for an unknown run; [`EngineError::Store`].
    pub async fn cancel(&self, run: RunId, reason: &str) -> Result<Cancellation, EngineError> {
        self.runs.cancel(run, reason).await
    }
}
