//! A run as people look at it: a row of a listing, or its steps, attempts and log.

mod step;
mod timeline;

use std::sync::Arc;

use stepladder_core::journal::{Failure, Origin, Seq};
use stepladder_core::report::LogLine;
use stepladder_core::state::{RunOutcome, RunState};
use stepladder_core::{Entry, Event, EventId, Json, RunId, RunRow, Status, StepId, Timestamp};

pub use step::{AttemptView, StepStatus, StepView};
pub(crate) use timeline::RunTimeline;

/// One run in a listing.
#[derive(Clone, Debug)]
pub struct RunSummary {
    /// The id of the run.
    pub run: RunId,
    /// The id of its function.
    pub function: Arc<str>,
    /// The event that started it.
    pub event: EventId,
    /// The status of the run now.
    pub status: Status,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its first step started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The value that the handler returned.
    pub output: Option<Json>,
    /// Why it failed, was cancelled or was skipped.
    pub error: Option<Failure>,
}

impl RunSummary {
    /// Creates the summary of a run from its journal.
    pub fn of(state: &RunState) -> Self {
        let (output, error) = match state.end.as_ref().map(|end| &end.how) {
            None => (None, None),
            Some(RunOutcome::Completed(output)) => (Some(output.clone()), None),
            Some(RunOutcome::Failed(error)) => (None, Some(error.clone())),
            Some(RunOutcome::Cancelled(reason)) => (None, Some(Failure::new(format!("cancelled: {reason}")))),
            Some(RunOutcome::Skipped(reason)) => (None, Some(Failure::new(format!("skipped: {reason}")))),
        };
        Self {
            run: state.run,
            function: state.created.function.clone(),
            event: state.created.event.id,
            status: state.status(),
            created_at: state.created_at,
            started_at: state.started_at,
            ended_at: state.end.as_ref().map(|end| end.at),
            output,
            error,
        }
    }

    /// Creates the summary of a run from its row, without its journal: it has no output and no
    /// error, and a live run counts as scheduled.
    pub fn of_row(row: &RunRow) -> Self {
        Self {
            run: row.run,
            function: row.function.clone(),
            event: row.event,
            status: row.ended.map_or(Status::Scheduled, |(_, status)| status),
            created_at: row.created_at,
            started_at: None,
            ended_at: row.ended.map(|(at, _)| at),
            output: None,
            error: None,
        }
    }
}

/// One run in full.
#[derive(Clone, Debug)]
pub struct RunDetail {
    /// The run as a listing shows it, with its output.
    pub summary: RunSummary,
    /// What created it.
    pub origin: Origin,
    /// The event that started it, in full.
    pub event: Event,
    /// The events that joined it before it started.
    pub joined: Vec<EventId>,
    /// Its steps, in the order of their first entries.
    pub steps: Vec<StepView>,
    /// Errors of the handler outside its steps.
    pub handler_errors: Vec<(Timestamp, Failure)>,
    /// When the handler is retried, while the run waits for that.
    pub handler_due: Option<Timestamp>,
    /// What the run waits for, in a sentence; `None` while it executes and after its end.
    pub waiting: Option<String>,
    /// Its log, in order.
    pub logs: Vec<LogView>,
    /// The version of its function that it uses, if the function has versions.
    pub version: Option<Arc<str>>,
}

impl RunDetail {
    pub(crate) fn of(state: &RunState, timeline: RunTimeline, waiting: Option<String>) -> Self {
        let RunTimeline { steps, handler_errors, logs, .. } = timeline;
        Self {
            summary: RunSummary::of(state),
            origin: state.created.origin.clone(),
            event: state.created.event.clone(),
            joined: state.joined.iter().map(|event| event.id).collect(),
            steps,
            handler_errors,
            handler_due: state.handler_retry_at.filter(|_| state.end.is_none()),
            waiting,
            logs,
            version: state.version.clone(),
        }
    }
}

/// One line of a run's log.
#[derive(Clone, Debug)]
pub struct LogView {
    /// When it was recorded.
    pub at: Timestamp,
    /// The step that wrote it in its body; `None` for the handler.
    pub step: Option<StepId>,
    /// The attempt that wrote it: of the step, or of the handler.
    pub attempt: u32,
    /// The line.
    pub line: LogLine,
}

/// A page of a journal.
#[derive(Clone, Debug)]
pub struct JournalPage {
    /// Entries with their numbers, in order.
    pub entries: Vec<(Seq, Entry)>,
    /// The number to ask for next; `None` at the end.
    pub next: Option<Seq>,
}
