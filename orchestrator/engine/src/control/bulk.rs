//! Bulk actions: cancel or rerun all runs that match a filter. Each call handles one page of runs,
//! so that no request takes long. The caller continues with the returned cursor.

use futures::stream::{self, StreamExt, TryStreamExt};

use crate::EngineError;
use crate::control::RunControl;
use crate::control::rerun::RerunOptions;
use crate::query::RunFilter;
use crate::query::view::RunSummary;
use stepladder_core::RunId;

/// The number of runs that are handled concurrently.
const PARALLEL_RUNS: usize = 16;

/// The result of a bulk action on one page of runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BulkResult {
    /// The runs that were cancelled, or the new runs that a rerun created.
    pub done: Vec<RunId>,
    /// The last run of the page, from which the next call continues; `None` after the last page.
    pub cursor: Option<RunId>,
}

impl RunControl {
    /// Cancels the live runs on a page.
    ///
    /// # Errors
    /// The same as those of [`Query::runs`](crate::Query::runs). After [`EngineError::Store`], some
    /// runs may be cancelled; repeating the call cancels the others.
    pub async fn cancel_all(&self, filter: RunFilter, reason: &str) -> Result<BulkResult, EngineError> {
        let page = self.query.runs(RunFilter { live: true, ..filter }).await?;
        let live = page.runs.iter().filter(|run| !run.status.is_end());
        let cancel = |run: &RunSummary| {
            let run = run.run;
            async move {
                let cancelled = self.runs.cancel(run, reason).await?;
                Ok::<_, EngineError>(cancelled.is_new.then_some(run))
            }
        };
        let each: Vec<_> = live.map(cancel).collect();
        let done: Vec<Option<RunId>> = stream::iter(each).buffered(PARALLEL_RUNS).try_collect().await?;
        Ok(BulkResult { done: done.into_iter().flatten().collect(), cursor: page.cursor })
    }

    /// Reruns the ended runs on a page.
    ///
    /// # Errors
    /// The same as those of [`Query::runs`](crate::Query::runs) and [`RunControl::rerun`]. After an
    /// error, some new runs may exist; repeating the call creates them a second time.
    pub async fn rerun_all(&self, filter: RunFilter, options: RerunOptions) -> Result<BulkResult, EngineError> {
        let page = self.query.runs(filter).await?;
        let ended = page.runs.iter().filter(|run| run.status.is_end());
        let each: Vec<_> = ended.map(|run| self.rerun(run.run, options.clone())).collect();
        let done = stream::iter(each).buffered(PARALLEL_RUNS).try_collect().await?;
        Ok(BulkResult { done, cursor: page.cursor })
    }
}
