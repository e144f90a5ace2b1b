//! Listings of runs, newest first.

use futures::future::try_join_all;
use futures::stream::{self, StreamExt, TryStreamExt};
use stepladder_core::{RunId, RunRow, Status};

use crate::engine::EngineError;
use crate::ports::{RunQuery, RunStatusFilter, StoreError};
use crate::query::Query;
use crate::query::view::RunSummary;

/// Runs of a page by default.
const DEFAULT_RUNS: usize = 50;
/// Maximum number of runs of a page.
const MAX_RUNS: usize = 500;
/// Maximum number of rows of each function that a quick listing reads for one page.
pub const MAX_ROWS_READ: usize = 200;
/// Journals that are read at the same time.
const READS: usize = 16;

/// Which runs to list, and how many.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Only runs of this status.
    pub status: Option<Status>,
    /// Only runs that have not ended. A `status` takes precedence.
    pub live: bool,
    /// Only runs of these functions; of all functions if it is empty.
    pub functions: Vec<String>,
    /// Only runs with this id or a higher one. A run's id begins with the time of its event.
    pub from: Option<RunId>,
    /// Only runs with an id below this one.
    pub before: Option<RunId>,
    /// Where the previous page ended.
    pub cursor: Option<RunId>,
    /// Runs of the page: 1 to 500, by default 50.
    pub limit: Option<usize>,
    /// How much is read for it.
    pub depth: ListingDepth,
}

/// How much a listing reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListingDepth {
    /// The journal of each run. A page is full unless it is the last one.
    #[default]
    Full,
    /// Only the journals of live runs, for their status, and of failed runs, for their error. It
    /// reads at most [`MAX_ROWS_READ`] rows of each function. A page may therefore be short, or
    /// empty, and still have a cursor.
    Quick,
}

/// A page of runs.
#[derive(Clone, Debug)]
pub struct RunPage {
    /// The runs, newest first. They have no output, because 500 outputs may be 2 GiB.
    pub runs: Vec<RunSummary>,
    /// The cursor of the next page; `None` at the end.
    pub cursor: Option<RunId>,
}

impl Query {
    /// Lists a page of runs, newest first.
    ///
    /// # Errors
    /// - [`EngineError::Invalid`] if the limit is not within 1 to 500
    /// - [`EngineError::Store`]
    pub async fn runs(&self, filter: RunFilter) -> Result<RunPage, EngineError> {
        let limit = filter.limit.unwrap_or(DEFAULT_RUNS);
        if !(1..=MAX_RUNS).contains(&limit) {
            return Err(EngineError::Invalid(format!("`limit` is {limit}; use 1 to {MAX_RUNS}")));
        }
        let mut page = RunPage { runs: Vec::new(), cursor: filter.cursor };
        let mut rows_read = 0;
        loop {
            let rows = self.rows(&filter, page.cursor, limit).await?;
            let is_last = rows.len() < limit;
            rows_read += rows.len();
            let reads: Vec<_> = rows.iter().map(|row| self.listed(row, filter.depth)).collect();
            let mut summaries = stream::iter(reads).buffered(READS);
            while let Some(summary) = summaries.try_next().await? {
                page.cursor = Some(summary.run);
                if filter.status.is_none_or(|status| status == summary.status) {
                    page.runs.push(summary);
                }
                if page.runs.len() == limit {
                    return Ok(page);
                }
            }
            if is_last {
                page.cursor = None;
                return Ok(page);
            }
            if filter.depth == ListingDepth::Quick && rows_read >= MAX_ROWS_READ {
                return Ok(page);
            }
        }
    }

    /// Reads the next rows after the cursor.
    async fn rows(&self, filter: &RunFilter, cursor: Option<RunId>, limit: usize) -> Result<Vec<RunRow>, StoreError> {
        // which live runs have started is in their journals
        let status = match filter.status {
            None if filter.live => RunStatusFilter::Live,
            None => RunStatusFilter::All,
            Some(status) if status.is_end() => RunStatusFilter::Ended(status),
            Some(_) => RunStatusFilter::Live,
        };
        let before = cursor.into_iter().chain(filter.before).min();
        let rows_of = |function: Option<String>| {
            self.runtime.backend.runs(RunQuery { function, status, before, from: filter.from, limit })
        };
        match &filter.functions[..] {
            [] => rows_of(None).await,
            functions => {
                let each = functions.iter().map(|function| rows_of(Some(function.clone())));
                let mut rows = try_join_all(each).await?.concat();
                rows.sort_by_key(|row| std::cmp::Reverse(row.run));
                rows.truncate(limit);
                Ok(rows)
            }
        }
    }

    /// Returns what a listing shows of a run.
    async fn listed(&self, row: &RunRow, depth: ListingDepth) -> Result<RunSummary, EngineError> {
        match (depth, row.ended) {
            (ListingDepth::Quick, Some((_, Status::Completed | Status::Cancelled | Status::Skipped))) => {
                Ok(RunSummary::of_row(row))
            }
            (ListingDepth::Quick, Some((_, Status::Failed | Status::Scheduled | Status::Running)) | None)
            | (ListingDepth::Full, _) => Ok(RunSummary { output: None, ..self.summary(row).await? }),
        }
    }

    /// Returns one run as a quick listing shows it; `None` if it does not exist.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub async fn listed_run(&self, run: RunId) -> Result<Option<RunSummary>, EngineError> {
        match self.runtime.backend.row(run).await? {
            Some(row) => self.listed(&row, ListingDepth::Quick).await.map(Some),
            None => Ok(None),
        }
    }

    /// Returns the rows of the newest runs of a function, without their journals.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub async fn newest_rows(&self, function: &str, limit: usize) -> Result<Vec<RunRow>, EngineError> {
        let query = RunQuery { function: Some(function.to_owned()), limit, ..RunQuery::default() };
        Ok(self.runtime.backend.runs(query).await?)
    }
}
