//! What people do to runs from outside: cancel, rerun, skip a wait; one run, or all that a filter
//! finds.

mod bulk;
mod rerun;
mod skip_wait;

use std::sync::Arc;

use stepladder_core::{RunId, Status};

pub use bulk::BulkResult;
pub use rerun::Rerun;

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
    /// Cancels a run. A body that runs ends, but its outcome is refused. A finished run stays as it
    /// is; its finishing work is done again (rule 28).
    ///
    /// # Errors
    /// [`EngineError::NotFound`] for an unknown run; [`EngineError::Store`].
    pub async fn cancel(&self, run: RunId, reason: &str) -> Result<Status, EngineError> {
        self.runs.cancel(run, reason).await
    }
}
