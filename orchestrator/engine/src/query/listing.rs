//! Listings of runs, newest first.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::future::try_join_all;
use futures::stream::{self, StreamExt, TryStreamExt};
use stepladder_core::{Fact, Label, RunId, RunRow, Status};

use crate::engine::EngineError;
use crate::ports::{RunQuery, RunStatusFilter, StoreError};
use crate::query::view::RunSummary;
use crate::query::{ActivityKind, Query};

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
    /// If true, lists only runs that have ended. Both `status` and `live` take precedence.
    pub ended: bool,
    /// If set, lists only runs with this label.
    pub label: Option<Label>,
    /// If set, lists only live runs that do this.
    pub activity: Option<ActivityKind>,
    /// Whether the listing says what live runs do.
    pub activities: bool,
    /// Whether the listing contains the inputs of runs. A store in another place returns the inputs
    /// of those runs only whose journals are read in any case.
    pub inputs: bool,
}

impl RunFilter {
    fn wants_live(&self) -> bool {
        self.live || self.activity.is_some()
    }
}

/// The numbers of runs by status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusCounts {
    /// The number of runs with each status. Live runs count as [`Status::Running`].
    pub by_status: Vec<(Status, usize)>,
    /// The number of live runs that do each thing, of the newest [`COUNTED_LIVE_RUNS`].
    pub by_activity: Vec<(ActivityKind, usize)>,
    /// The number of the newest runs that were counted, if there are more.
    pub newest: Option<usize>,
}

/// The number of newest runs that a search for a text reads.
pub const SEARCHED_RUNS: usize = 300;
/// The number of newest runs that a search for a text reads if the store is in another place.
pub const SEARCHED_REMOTE_RUNS: usize = 50;
/// The maximum number of runs that are counted.
const COUNTED_RUNS: usize = 5_000;
/// The maximum number of live runs that are counted by what they do.
pub const COUNTED_LIVE_RUNS: usize = 100;

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
        let paused = match filter.activities || filter.activity.is_some() {
            true => Some(self.functions.paused().await?.into_keys().collect::<HashSet<_>>()),
            false => None,
        };
        loop {
            let rows = self.read_rows(&filter, page.cursor, limit).await?;
            let is_last = rows.len() < limit;
            rows_read += rows.len();
            let reads: Vec<_> =
                rows.iter().map(|row| self.summary_at_depth(row, filter.depth, paused.as_ref())).collect();
            let mut summaries = stream::iter(reads).buffered(READS);
            while let Some(summary) = summaries.try_next().await? {
                page.cursor = Some(summary.run);
                let does = |kind| summary.activity.as_ref().is_some_and(|activity| activity.kind() == kind);
                if filter.status.is_none_or(|status| status == summary.status)
                    && filter.activity.is_none_or(does)
                    && (!filter.ended || summary.status.is_end())
                {
                    page.runs.push(summary);
                }
                if page.runs.len() == limit {
                    return self.with_inputs(page, &filter).await;
                }
            }
            if is_last {
                page.cursor = None;
                return self.with_inputs(page, &filter).await;
            }
            if filter.depth == ListingDepth::Quick && rows_read >= MAX_ROWS_READ {
                return self.with_inputs(page, &filter).await;
            }
        }
    }

    /// Adds the inputs of the runs, if the filter wants them, and the store returns them at once.
    async fn with_inputs(&self, mut page: RunPage, filter: &RunFilter) -> Result<RunPage, EngineError> {
        let missing: Vec<RunId> = page.runs.iter().filter(|run| run.input.is_none()).map(|run| run.run).collect();
        if !filter.inputs || missing.is_empty() {
            return Ok(page);
        }
        let Some(records) = self.runtime.backend.first_records(missing.clone()).await? else { return Ok(page) };
        let records: HashMap<_, _> = records.into_iter().collect();
        let mut labels: HashMap<RunId, Vec<Label>> = HashMap::new();
        for (run, label) in self.runtime.backend.labels_of(missing).await?.unwrap_or_default() {
            labels.entry(run).or_default().push(label);
        }
        for run in page.runs.iter_mut().filter(|run| run.input.is_none()) {
            let first = records.get(&run.run).and_then(|record| record.entries.first());
            if let Some(Fact::RunCreated(created)) = first.map(|entry| &entry.fact) {
                run.input = Some(created.event.data.clone());
                // those of the function first, in its order
                let added = labels.remove(&run.run).unwrap_or_default();
                run.labels.clone_from(&created.labels);
                run.labels.extend(added.into_iter().filter(|label| !created.labels.contains(label)));
            }
        }
        Ok(page)
    }

    /// Returns the runs of a filter with a text in their input or their error. Searches the newest
    /// [`SEARCHED_RUNS`] of the filter, or [`SEARCHED_REMOTE_RUNS`] of a store in another place.
    /// Upper and lower case are the same. The cursor of the page leads to older runs that were not
    /// searched. Also returns how many runs were searched.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub async fn runs_with_text(&self, filter: RunFilter, text: &str) -> Result<(RunPage, usize), EngineError> {
        let (limit, depth) = match self.is_local() {
            true => (SEARCHED_RUNS, ListingDepth::Quick),
            false => (SEARCHED_REMOTE_RUNS, ListingDepth::Full),
        };
        let mut page = self.runs(RunFilter { limit: Some(limit), depth, inputs: true, ..filter }).await?;
        let (searched, text) = (page.runs.len(), text.to_lowercase());
        let has = |part: &str| part.to_lowercase().contains(&text);
        page.runs.retain(|run| {
            run.input.as_ref().is_some_and(|input| has(input.get()))
                || run
                    .error
                    .as_ref()
                    .is_some_and(|error| has(&error.headline()) || error.code.iter().any(|code| has(&code.to_string())))
        });
        Ok((page, searched))
    }

    /// Counts the runs of a filter by status, among the newest 5,000. The filter's status, activity
    /// and page have no effect. Returns `None` if the store cannot count at a bounded cost.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub async fn status_counts(&self, filter: &RunFilter) -> Result<Option<StatusCounts>, EngineError> {
        if !self.is_local() || filter.functions.len() > 1 {
            return Ok(None);
        }
        let query = RunQuery {
            function: filter.functions.first().cloned(),
            status: RunStatusFilter::All,
            before: filter.before,
            from: filter.from,
            label: filter.label.clone(),
            limit: COUNTED_RUNS,
        };
        let Some(counted) = self.runtime.backend.count_runs(query).await? else { return Ok(None) };
        let all: usize = counted.iter().map(|(_, n)| n).sum();
        let by_status = counted.into_iter().map(|(status, n)| (status.unwrap_or(Status::Running), n)).collect();
        let live = RunFilter { live: true, status: None, activity: None, cursor: None, ..filter.clone() };
        let rows = self.read_rows(&live, None, COUNTED_LIVE_RUNS).await?;
        let paused = self.functions.paused().await?;
        let mut by_activity: Vec<(ActivityKind, usize)> = Vec::new();
        for row in rows {
            let Some(state) = self.runs.state(row.run).await?.filter(|state| state.end.is_none()) else { continue };
            let is_paused = paused.contains_key(&state.created.function);
            let kind = self.activity(&state, is_paused, false).await?.kind();
            match by_activity.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, n)) => *n += 1,
                None => by_activity.push((kind, 1)),
            }
        }
        by_activity.sort_unstable();
        Ok(Some(StatusCounts { by_status, by_activity, newest: (all >= COUNTED_RUNS).then_some(COUNTED_RUNS) }))
    }

    /// Counts the runs that match a filter, up to `most`. Journals are not read: runs that are
    /// `Scheduled`, `Running` or do something count together.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub async fn count(&self, filter: &RunFilter, most: usize) -> Result<usize, EngineError> {
        let (mut counted, mut cursor) = (0, filter.cursor);
        while counted < most {
            let rows = self.read_rows(filter, cursor, MAX_RUNS).await?;
            cursor = rows.last().map(|row| row.run);
            counted += rows.iter().filter(|row| !filter.ended || row.ended.is_some()).count();
            if rows.len() < MAX_RUNS {
                break;
            }
        }
        Ok(counted.min(most))
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
            None if filter.wants_live() => RunStatusFilter::Live,
            None => RunStatusFilter::All,
            Some(status) if status.is_end() => RunStatusFilter::Ended(status),
            Some(_) => RunStatusFilter::Live,
        };
        let before = cursor.into_iter().chain(filter.before).min();
        let rows_of = |function: Option<String>| {
            self.runtime.backend.runs(RunQuery {
                function,
                status,
                before,
                from: filter.from,
                label: filter.label.clone(),
                limit,
            })
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

    /// Returns the summary of a run. With the `paused` functions, it says what a live run is doing.
    async fn summary_at_depth(
        &self,
        row: &RunRow,
        depth: ListingDepth,
        paused: Option<&HashSet<Arc<str>>>,
    ) -> Result<RunSummary, EngineError> {
        if let (Some(paused), None) = (paused, row.ended) {
            let Some(state) = self.runs.state(row.run).await? else { return Ok(RunSummary::of_row(row)) };
            let mut summary = RunSummary { output: None, ..RunSummary::of(&state) };
            if state.end.is_none() {
                let is_paused = paused.contains(&state.created.function);
                summary.activity = Some(self.activity(&state, is_paused, true).await?);
            }
            return Ok(summary);
        }
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
            Some(row) => {
                let paused = self.functions.paused().await?.into_keys().collect();
                self.summary_at_depth(&row, ListingDepth::Quick, Some(&paused)).await.map(Some)
            }
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
