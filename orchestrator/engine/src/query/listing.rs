//! What a page asks: a stretch of the listing with a bound on what is read for it, a run as it
//! stood at an entry, and whether anything has changed since.

use futures::future::try_join_all;
use stepladder_core::journal::{Record, Seq};
use stepladder_core::state::RunState;
use stepladder_core::{Entry, RunId, RunRow, Status};

use crate::engine::{EngineError, no_such_run};
use crate::ports::{RunQuery, RunStatusFilter, StoreError};
use crate::query::Query;
use crate::query::view::{RunDetail, RunSummary, RunTimeline};

/// Rows that are looked at for one page, at most: a status that only journals tell may be rare
/// among them.
pub const MAX_ROWS_READ: usize = 200;

/// Which stretch of the listing.
#[derive(Clone, Debug, Default)]
pub struct RunSearch {
    /// With this status.
    pub status: Option<Status>,
    /// Of one of these functions; of any when there is none here.
    pub functions: Vec<String>,
    /// Not older than this.
    pub from: Option<RunId>,
    /// Older than this.
    pub before: Option<RunId>,
    /// Maximum number of runs; values above [`MAX_ROWS_READ`] count as that.
    pub limit: usize,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct RunSearchPage {
    /// Newest first; without outputs.
    pub runs: Vec<RunSummary>,
    /// Where to go on; `None` at the end.
    pub cursor: Option<RunId>,
}

/// A run, and its journal up to where it is looked at.
#[derive(Clone, Debug)]
pub struct RunAtEntry {
    /// The run as it stood then.
    pub detail: RunDetail,
    /// The entries up to then, with their numbers from 0.
    pub entries: Vec<(Seq, Entry)>,
    /// How many entries there are by now.
    pub total: Seq,
}

impl Query {
    /// Runs, newest first. Reads the journals of those only whose row does not say all: live ones,
    /// and failed ones for their error. At most [`MAX_ROWS_READ`] rows a function are looked at; a
    /// page may therefore be short, or empty, and still have a cursor.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub async fn search(&self, search: &RunSearch) -> Result<RunSearchPage, EngineError> {
        let shown = match search.status {
            None => RunStatusFilter::All,
            Some(status) if status.is_end() => RunStatusFilter::Ended(status),
            Some(_) => RunStatusFilter::Live,
        };
        let limit = search.limit.clamp(1, MAX_ROWS_READ);
        let mut found = RunSearchPage { runs: Vec::new(), cursor: search.before };
        let mut looked_at = 0;
        loop {
            let rows = self.rows(search, shown, found.cursor, limit).await?;
            let last = rows.len() < limit;
            looked_at += rows.len();
            let summaries = try_join_all(rows.iter().map(|row| self.listing_summary(row))).await?;
            for summary in summaries {
                found.cursor = Some(summary.run);
                if search.status.is_none_or(|wanted| wanted == summary.status) {
                    found.runs.push(summary);
                }
                if found.runs.len() == limit {
                    return Ok(found);
                }
            }
            if last {
                found.cursor = None;
                return Ok(found);
            }
            if looked_at >= MAX_ROWS_READ {
                return Ok(found);
            }
        }
    }

    async fn rows(
        &self,
        search: &RunSearch,
        shown: RunStatusFilter,
        before: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<RunRow>, StoreError> {
        let of = |function: Option<String>| {
            self.runtime.backend.runs(RunQuery { function, status: shown, before, from: search.from, limit })
        };
        match &search.functions[..] {
            [] => of(None).await,
            functions => {
                let each = functions.iter().map(|function| of(Some(function.clone())));
                let mut rows = try_join_all(each).await?.concat();
                rows.sort_by_key(|row| std::cmp::Reverse(row.run));
                rows.truncate(limit);
                Ok(rows)
            }
        }
    }

    /// What a listing shows of a run.
    async fn listing_summary(&self, row: &RunRow) -> Result<RunSummary, EngineError> {
        match row.ended {
            Some((_, Status::Completed | Status::Cancelled | Status::Skipped)) => Ok(RunSummary::of_row(row)),
            Some((_, Status::Failed | Status::Scheduled | Status::Running)) | None => {
                Ok(RunSummary { output: None, ..self.summary(row).await? })
            }
        }
    }

    /// One run for a listing; `None` when there is none of this id.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub async fn summary_of(&self, run: RunId) -> Result<Option<RunSummary>, EngineError> {
        match self.runtime.backend.row(run).await? {
            Some(row) => self.listing_summary(&row).await.map(Some),
            None => Ok(None),
        }
    }

    /// A run as it stood after its first `at` entries, or as it is. One that is looked at in the
    /// past waits for nothing.
    ///
    /// # Errors
    /// [`EngineError::NotFound`]; [`EngineError::Store`].
    pub async fn run_at(&self, run: RunId, at: Option<Seq>) -> Result<RunAtEntry, EngineError> {
        let mut records = self.runtime.backend.read(run, 0).await?;
        let total = records.last().ok_or_else(|| no_such_run(run))?.next();
        let past = at.filter(|at| *at < total);
        if let Some(at) = past {
            truncate(&mut records, at.max(1));
        }
        let state = RunState::fold(run, &records).map_err(|e| StoreError::Unreadable(e.to_string()))?;
        let mut timeline = RunTimeline::of(&state, &records);
        let waiting = match past {
            Some(_) => None,
            None => self.waiting(&state).await?,
        };
        if past.is_some() {
            // a signal that was waited for then may be over by now
            timeline.steps.iter_mut().for_each(|step| step.token = None);
        }
        let detail = RunDetail::of(&state, timeline, waiting);
        let entries = records.into_iter().flat_map(|record| (record.seq..).zip(record.entries)).collect();
        Ok(RunAtEntry { detail, entries, total })
    }

    /// Returns the number of entries of a run. The caller knows the first `from` entries; for an
    /// unknown run, `from` is returned.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub async fn entries_since(&self, run: RunId, from: Seq) -> Result<Seq, EngineError> {
        Ok(self.runtime.backend.read(run, from).await?.last().map_or(from, Record::next))
    }
}

/// Keeps the first `n` entries.
fn truncate(records: &mut Vec<Record>, n: Seq) {
    records.retain(|record| record.seq < n);
    if let Some(last) = records.last_mut() {
        last.entries.truncate(usize::try_from(n - last.seq).unwrap_or(usize::MAX));
    }
}
