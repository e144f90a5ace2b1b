//! Listings of runs, newest first.

use futures::future::try_join_all;
use futures::stream::{self, StreamExt, TryStreamExt};
use stepladder_core::{RunId, RunRow, Status};

use crate::engine::EngineError;
use crate::ports::{RunQuery, RunStatusFilter, StoreError};
use crate::query::Query;
use crate::query::view::RunSummary;

/// The default number of runs on a page.
const DEFAULT_RUNS: usize = 50;
/// The maximum number of runs on a page.
const MAX_RUNS: usize = 500;
/// The maximum number of rows per function that a quick listing reads for one page.
pub const MAX_ROWS_READ: usize = 200;
/// The number of journals that are read concurrently.
const READS: usize = 16;

/// Which runs to list, and how many.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// If set, lists only runs with this status.
    pub status: Option<Status>,
    /// If true, lists only live runs. A `status` takes precedence.
    pub live: bool,
    /// Lists only runs of these functions; if empty, runs of all functions.
    pub functions: Vec<String>,
    /// If set, lists only runs with this id or a greater one. A run's id starts with the time of
    /// its event.
    pub from: Option<RunId>,
    /// If set, lists only runs with an id less than this one.
    pub before: Option<RunId>,
    /// The cursor of the previous page; `None` for the first page.
    pub cursor: Option<RunId>,
    /// The number of runs on the page, between 1 and 500; by default 50.
    pub limit: Option<usize>,
    /// How much is read for the listing.
    pub depth: ListingDepth,
}

/// How much a listing reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListingDepth {
    /// Reads the journal of each run. A page is full unless it is the last one.
    #[default]
    Full,
    /// Reads only the journals of live runs (for the status) and of failed runs (for the error).
    /// Reads at most [`MAX_ROWS_READ`] rows per function. Therefore a page may be short or empty,
    /// and still have a cursor.
    Quick,
}

/// A page of runs.
#[derive(Clone, Debug)]
pub struct RunPage {
    /// The runs, newest first. Outputs are not included, because 500 outputs may take 2 GiB.
    pub runs: Vec<RunSummary>,
    /// The cursor of the next page; `None` on the last page.
    pub cursor: Option<RunId>,
}

impl Query {
    /// Lists a page of runs, newest first.
    ///
    /// # Errors
    /// - [`EngineError::Invalid`] if the limit is not between 1 and 500
    /// - [`EngineError::Store`]
    pub async fn runs(&self, filter: RunFilter) -> Result<RunPage, EngineError> {
        let limit = filter.limit.unwrap_or(DEFAULT_RUNS);
        if !(1..=MAX_RUNS).contains(&limit) {
            return Err(EngineError::Invalid(format!("`limit` is {limit}; use 1 to {MAX_RUNS}")));
        }
        let mut page = RunPage { runs: Vec::new(), cursor: filter.cursor };
        let mut rows_read = 0;
        loop {
            let rows = self.read_rows(&filter, page.cursor, limit).await?;
            let is_last = rows.len() < limit;
            rows_read += rows.len();
            let reads: Vec<_> = rows.iter().map(|row| self.summary_at_depth(row, filter.depth)).collect();
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

    /// Reads the rows after the cursor.
    async fn read_rows(
        &self,
        filter: &RunFilter,
        cursor: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<RunRow>, StoreError> {
        // only the journals say which live runs have started
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

    async fn summary_at_depth(&self, row: &RunRow, depth: ListingDepth) -> Result<RunSummary, EngineError> {
        match (depth, row.ended) {
            (ListingDepth::Quick, Some((_, Status::Completed | Status::Cancelled | Status::Skipped))) => {
                Ok(RunSummary::of_row(row))
            }
            (ListingDepth::Quick, Some((_, Status::Failed | Status::Scheduled | Status::Running)) | None)
            | (ListingDepth::Full, _) => Ok(RunSummary { output: None, ..self.summary(row).await? }),
        }
    }

    /// Returns the summary of one run for a quick listing; `None` if the run does not exist.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub async fn listed_run(&self, run: RunId) -> Result<Option<RunSummary>, EngineError> {
        match self.runtime.backend.row(run).await? {
            Some(row) => self.summary_at_depth(&row, ListingDepth::Quick).await.map(Some),
            None => Ok(None),
        }
    }

    /// Returns the rows of a function's newest runs, without reading their journals.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub async fn newest_rows(&self, function: &str, limit: usize) -> Result<Vec<RunRow>, EngineError> {
        let query = RunQuery { function: Some(function.to_owned()), limit, ..RunQuery::default() };
        Ok(self.runtime.backend.runs(query).await?)
    }
}
