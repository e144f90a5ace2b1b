//! Many runs at a time: cancel, or run again, all that a filter finds. A page at a time, so that no
//! request lasts long; who asks goes on with the cursor.

use futures::stream::{self, StreamExt, TryStreamExt};

use crate::EngineError;
use crate::control::Control;
use crate::control::rerun::Rerun;
use crate::query::RunFilter;
use crate::query::view::RunSummary;
use stepladder_core::{RunId, Status};

/// Runs that are cancelled, or begun, at a time.
const AT_ONCE: usize = 16;

/// What became of a page of runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BulkResult {
    /// Those that were cancelled, or the new runs.
    pub done: Vec<RunId>,
    /// Where the page ended; `None` at the end.
    pub cursor: Option<RunId>,
}

impl Control {
    /// Cancels the runs of a page that have not ended.
    ///
    /// # Errors
    /// As [`Query::runs`](crate::Query::runs); [`EngineError::Store`]: some may be cancelled, and asking again goes on
    /// with the others.
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
        let done: Vec<Option<RunId>> = stream::iter(each).buffered(AT_ONCE).try_collect().await?;
        Ok(BulkResult { done: done.into_iter().flatten().collect(), cursor: page.cursor })
    }

    /// Runs those of a page again that have ended.
    ///
    /// # Errors
    /// As [`Query::runs`](crate::Query::runs) and [`Control::rerun`]; where some were begun by then, asking again
    /// begins them once more.
    pub async fn rerun_all(&self, filter: RunFilter, how: Rerun) -> Result<BulkResult, EngineError> {
        let page = self.query.runs(filter).await?;
        let ended = page.runs.iter().filter(|run| run.status.is_end());
        let each: Vec<_> = ended.map(|run| self.rerun(run.run, how.clone())).collect();
        let done = stream::iter(each).buffered(AT_ONCE).try_collect().await?;
        Ok(BulkResult { done, cursor: page.cursor })
    }
}
