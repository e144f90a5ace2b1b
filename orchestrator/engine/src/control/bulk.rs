//! Bulk actions: cancels or reruns all runs that a filter finds. Each call handles one page, so
//! that no request takes long. The caller continues with the returned cursor.

use futures::stream::{self, StreamExt, TryStreamExt};

use crate::EngineError;
use crate::control::Control;
use crate::control::rerun::RerunOptions;
use crate::query::RunFilter;
use crate::query::view::RunSummary;
use stepladder_core::{RunId, Status};

/// The number of runs that are cancelled or created at the same time.
const PARALLEL_RUNS: usize = 16;

/// The result of a bulk action on one page of runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BulkResult {
    /// The cancelled runs, or the new runs of a rerun.
    pub done: Vec<RunId>,
    /// The last run of the page, where the next call continues; `None` after the last page.
    pub cursor: Option<RunId>,
}

impl Control {
    /// Cancels the runs of a page that have not ended.
    ///
    /// # Errors
    /// Those of [`Query::runs`](crate::Query::runs). After [`EngineError::Store`], some runs may be
    /// cancelled; the same call again cancels the others.
    pub async fn cancel_all(&self, filter: RunFilter, reason: &str) -> Result<BulkResult, EngineError> {
        let page = self.query.runs(RunFilter { live: true, ..filter }).await?;
        let live = page.runs.iter().filter(|run| !run.status.is_end());
        let cancel = |run: &RunSummary| {
            let run = run.run;
            async move {
                let status = self.runs.cancel(run, reason).await?;
                Ok::<_, EngineError>((status == Status::Cancelled).then_some(run))
            }
        };
        let each: Vec<_> = live.map(cancel).collect();
        let done: Vec<Option<RunId>> = stream::iter(each).buffered(PARALLEL_RUNS).try_collect().await?;
        Ok(BulkResult { done: done.into_iter().flatten().collect(), cursor: page.cursor })
    }

    /// Reruns the runs of a page that have ended.
    ///
    /// # Errors
    /// Those of [`Query::runs`](crate::Query::runs) and [`Control::rerun`]. After an error, some
    /// new runs may exist; the same call again creates them once more.
    pub async fn rerun_all(&self, filter: RunFilter, options: RerunOptions) -> Result<BulkResult, EngineError> {
        let page = self.query.runs(filter).await?;
        let ended = page.runs.iter().filter(|run| run.status.is_end());
        let each: Vec<_> = ended.map(|run| self.rerun(run.run, options.clone())).collect();
        let done = stream::iter(each).buffered(PARALLEL_RUNS).try_collect().await?;
        Ok(BulkResult { done, cursor: page.cursor })
    }
}
