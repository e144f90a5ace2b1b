//! Actions of people on runs: cancel, rerun, skip a wait. Cancel and rerun also act on all runs
//! that a filter finds.

mod bulk;
mod rerun;
mod skip_wait;

use std::sync::Arc;

use stepladder_core::{RunId, Status};

pub use bulk::BulkResult;
pub use rerun::RerunOptions;

use crate::EngineError;
use crate::intake::Intake;
use crate::query::Query;
use crate::runs::Runs;
use crate::runtime::Runtime;

/// Cancels and reruns runs, and skips their waits.
pub struct Control {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) runs: Arc<Runs>,
    pub(crate) intake: Arc<Intake>,
    pub(crate) query: Arc<Query>,
}

impl Control {
    /// Cancels a run and returns its status. A body that is executing continues, but its outcome is
    /// not recorded. A run that has ended is left unchanged, and its finishing work is repeated
    /// (rule 28).
    ///
    /// # Errors
    /// [`EngineError::NotFound`] for an unknown run; [`EngineError::Store`].
    pub async fn cancel(&self, run: RunId, reason: &str) -> Result<Status, EngineError> {
        self.runs.cancel(run, reason).await
    }
}
