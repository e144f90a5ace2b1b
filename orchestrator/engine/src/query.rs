//! Questions and wishes from outside: look at runs, cancel one. To run one again is `rerun`'s.

mod events;
mod health;
mod listing;
pub mod view;
mod wait_queues;

use std::sync::Arc;

use stepladder_core::journal::Seq;
use stepladder_core::slot::Limit;
use stepladder_core::state::{RunState, StepState, WaitTarget};
use stepladder_core::{Event, EventId, RunId, RunRow, Status, Timestamp};

use crate::engine::{EngineError, no_such_run};
use crate::ports::{Backlog, RunQuery, RunStatusFilter, StoreError};
pub use events::EventDetail;
pub use health::{Health, MAX_TIMERS};
pub use listing::{MAX_ROWS_READ, RunAtEntry, RunSearch, RunSearchPage};
pub use wait_queues::{MAX_TICKETS, WaitQueueView};

use crate::functions::Functions;
use crate::hop::RunningBodies;
use crate::runs::Runs;
use crate::runtime::Runtime;
use view::{JournalPage, RunDetail, RunSummary, RunTimeline};

/// Runs in a page of a listing, at most.
const MOST_RUNS: usize = 500;

/// Answers questions about runs, events, limits and health.
pub struct Query {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) runs: Arc<Runs>,
    pub(crate) functions: Arc<Functions>,
    pub(crate) bodies: RunningBodies,
}

/// Which runs to list.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// With this status.
    pub status: Option<Status>,
    /// Of this function.
    pub function: Option<String>,
    /// At most so many: 1 to 500, 50 unless told otherwise.
    pub limit: Option<usize>,
    /// Where the page before ended.
    pub cursor: Option<RunId>,
    /// Only those that have not ended.
    pub live: bool,
    /// Only those that were created then or later; a called run counts as its caller does.
    pub since: Option<Timestamp>,
    /// Only those that were created before.
    pub until: Option<Timestamp>,
}

/// A page of runs.
#[derive(Clone, Debug)]
pub struct RunPage {
    /// Newest first.
    pub runs: Vec<RunSummary>,
    /// To ask for the next page with; `None` at the end.
    pub cursor: Option<RunId>,
}

impl Query {
    /// What waits in this process to be served; `None` if the queue is a service of its own. Reads
    /// no storage.
    pub fn backlog(&self) -> Option<Backlog> {
        self.runtime.backend.backlog()
    }

    /// An event, by its id or by the id that its sender gave it.
    ///
    /// # Errors
    /// [`EngineError::NotFound`]; [`EngineError::Store`].
    pub async fn event(&self, id: &str) -> Result<Event, EngineError> {
        let unknown = || EngineError::NotFound(format!("there is no event `{id}`"));
        if let Ok(known) = id.parse::<EventId>()
            && let Some(event) = self.runtime.backend.event(known).await?
        {
            return Ok(event);
        }
        let known = self.runtime.backend.resolve(id).await?.ok_or_else(unknown)?;
        self.runtime.backend.event(known).await?.ok_or_else(unknown)
    }

    /// The runs that an event started, with their outputs, oldest first.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] for an unknown event; [`EngineError::Store`].
    pub async fn runs_of_event(&self, id: &str) -> Result<Vec<RunSummary>, EngineError> {
        let event = self.event(id).await?;
        let mut runs = Vec::new();
        for row in self.runtime.backend.runs_of(event.id).await? {
            runs.push(self.summary(&row).await?);
        }
        Ok(runs)
    }

    /// A page of runs, newest first. Outputs are left out: 500 of them may be 2 GiB. A run that is
    /// asked for by itself, or with its event, has its own.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for a limit that is none; [`EngineError::Store`].
    pub async fn runs(&self, filter: RunFilter) -> Result<RunPage, EngineError> {
        let limit = filter.limit.unwrap_or(50);
        if !(1..=MOST_RUNS).contains(&limit) {
            return Err(EngineError::Invalid(format!("`limit` is {limit}; use 1 to {MOST_RUNS}")));
        }
        let shown = match filter.status {
            None if filter.live => RunStatusFilter::Live,
            None => RunStatusFilter::All,
            Some(status) if status.is_end() => RunStatusFilter::Ended(status),
            Some(_) => RunStatusFilter::Live,
        };
        let mut page = RunPage { runs: Vec::new(), cursor: filter.cursor };
        let (from, until) = (filter.since.map(|at| RunId::new(at, 0)), filter.until.map(|at| RunId::new(at, 0)));
        loop {
            let before = page.cursor.into_iter().chain(until).min();
            let query = RunQuery { function: filter.function.clone(), status: shown, before, from, limit };
            let rows = self.runtime.backend.runs(query).await?;
            let last = rows.len() < limit;
            for row in rows {
                page.cursor = Some(row.run);
                let summary = RunSummary { output: None, ..self.summary(&row).await? };
                if filter.status.is_none_or(|wanted| wanted == summary.status) {
                    page.runs.push(summary);
                }
                if page.runs.len() == limit {
                    return Ok(page);
                }
            }
            if last {
                page.cursor = None;
                return Ok(page);
            }
        }
    }

    /// The row's summary; what a row does not know (whether a live run has begun, an output) comes
    /// from the journal.
    pub(crate) async fn summary(&self, row: &RunRow) -> Result<RunSummary, EngineError> {
        Ok(match self.runs.state(row.run).await? {
            Some(state) => RunSummary::of(&state),
            None => RunSummary::of_row(row),
        })
    }

    /// One run in full.
    ///
    /// # Errors
    /// [`EngineError::NotFound`]; [`EngineError::Store`].
    pub async fn run(&self, run: RunId) -> Result<RunDetail, EngineError> {
        let records = self.runtime.backend.read(run, 0).await?;
        if records.is_empty() {
            return Err(no_such_run(run));
        }
        let state = RunState::fold(run, &records).map_err(|e| StoreError::Unreadable(e.to_string()))?;
        Ok(RunDetail::of(&state, RunTimeline::of(&state, &records), self.waiting(&state).await?))
    }

    /// Why a run is not moving.
    pub(crate) async fn waiting(&self, state: &RunState) -> Result<Option<String>, EngineError> {
        if state.end.is_some() || state.steps.values().any(|s| matches!(s.state, StepState::Running { .. })) {
            return Ok(None);
        }
        let Some(program) = self.runtime.program(&state.created.function) else {
            return Ok(Some(format!("waits for the function `{}` to be registered", state.created.function)));
        };
        if let Some(at) = state.begins_at().filter(|at| *at > self.runtime.now()) {
            return Ok(Some(match state.collecting {
                true => format!("collects events until {at}; it has {}", state.next),
                false if state.created.event.starts_not_before() != Some(at) => {
                    format!("begins at {at}, when its throttle or rate limit has room")
                }
                false => format!("begins at {at}, the `ts` of its event"),
            }));
        }
        if state.first_run_at.is_none() && self.functions.paused_since(&state.created.function).await?.is_some() {
            return Ok(Some(format!("waits to begin: function `{}` is paused", state.created.function)));
        }
        let scope = &mut stepladder_core::spec::LazyScope::new(&state.created.event);
        let (of_runs, of_steps) = (program.spec().run_limits(scope), program.spec().limits(scope));
        for limit in of_runs.into_iter().chain(of_steps).flatten() {
            if let Some(ahead) = self.runtime.backend.position(&limit, state.run).await? {
                let Limit { key, slots } = limit;
                return Ok(Some(format!("number {} in line for a slot of `{key}` (limit {slots})", ahead + 1)));
            }
        }
        if let Some(due) = state.handler_retry_at.filter(|due| *due > self.runtime.now()) {
            return Ok(Some(format!("runs the function again at {due}")));
        }
        let soonest: Option<(Timestamp, String)> = state
            .steps
            .iter()
            .filter_map(|(id, step)| match &step.state {
                StepState::Sleeping { until } => Some((*until, format!("sleeps in `{id}` until {until}"))),
                StepState::Retrying { retry_at, .. } => {
                    let next = step.attempt.saturating_add(1);
                    Some((*retry_at, format!("tries step `{id}` again at {retry_at} (attempt {next})")))
                }
                StepState::Invoking { child, function, .. } => {
                    Some((Timestamp::MAX, format!("waits in `{id}` for run {child} of `{function}`")))
                }
                StepState::Awaiting { what: WaitTarget::Event(wait), until } => {
                    Some((*until, format!("waits in `{id}` for {wait} until {until}")))
                }
                StepState::Awaiting { what: WaitTarget::Signal, until } => {
                    Some((*until, format!("waits in `{id}` for a signal until {until}")))
                }
                StepState::Wanted | StepState::Running { .. } | StepState::Done | StepState::Abandoned => None,
            })
            .min();
        Ok(soonest.map(|(_, sentence)| sentence))
    }

    /// A page of a run's journal.
    ///
    /// # Errors
    /// [`EngineError::NotFound`]; [`EngineError::Store`].
    pub async fn journal(&self, run: RunId, from: Seq, limit: usize) -> Result<JournalPage, EngineError> {
        // a record may begin before `from` and reach past it
        let records = self.runtime.backend.read(run, 0).await?;
        if records.is_empty() {
            return Err(no_such_run(run));
        }
        let mut entries: Vec<_> = records
            .iter()
            .filter(|record| record.next() > from)
            .flat_map(|record| (record.seq..).zip(record.entries.iter().cloned()))
            .filter(|(seq, _)| *seq >= from)
            .take(limit.saturating_add(1))
            .collect();
        let next = (entries.len() > limit).then(|| entries[limit].0);
        entries.truncate(limit);
        Ok(JournalPage { entries, next })
    }
}
