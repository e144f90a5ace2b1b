//! Runs as people see them: a row in a listing, or a run with its steps, attempts and log.

mod step;
mod timeline;

use std::sync::Arc;

use stepladder_core::journal::{Failure, RunOrigin, Seq};
use stepladder_core::report::LogLine;
use stepladder_core::state::{RunOutcome, RunState};
use stepladder_core::{Entry, Event, EventId, Json, Label, RunId, RunRow, Status, StepId, Timestamp};

use super::RunActivity;

pub use step::{AttemptView, StepStatus, StepView};
pub(crate) use timeline::RunTimeline;

/// One run in a listing.
#[derive(Clone, Debug)]
pub struct RunSummary {
    /// The id of the run.
    pub run: RunId,
    /// The id of the run's function.
    pub function: Arc<str>,
    /// The id of the event that started the run.
    pub event: EventId,
    /// The current status of the run.
    pub status: Status,
    /// When the run was created.
    pub created_at: Timestamp,
    /// When the first step of the run started.
    pub started_at: Option<Timestamp>,
    /// When the run ended; `None` while it is live.
    pub ended_at: Option<Timestamp>,
    /// The value that the run's handler returned.
    pub output: Option<Json>,
    /// Why the run failed, was cancelled or was skipped.
    pub error: Option<Failure>,
    /// The data of the event that started the run; `None` if it was not read.
    pub input: Option<Json>,
    /// The labels of the run; empty if they were not read.
    pub labels: Vec<Label>,
    /// What the run is doing or waiting for; `None` if it has ended, or if it was not read.
    pub activity: Option<RunActivity>,
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
            input: Some(state.created.event.data.clone()),
            labels: state.labels.clone(),
            activity: None,
        }
    }

    /// Creates the summary of a run from its row, without reading its journal. Such a summary has
    /// no output and no error, and a live run counts as scheduled.
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
            input: None,
            labels: Vec::new(),
            activity: None,
        }
    }
}

/// A run in full.
#[derive(Clone, Debug)]
pub struct RunDetail {
    /// The summary of the run, with its output.
    pub summary: RunSummary,
    /// What created the run.
    pub origin: RunOrigin,
    /// The event that started the run, in full.
    pub event: Event,
    /// The events that joined the run before it started.
    pub joined: Vec<EventId>,
    /// The steps of the run, in the order of their first entries.
    pub steps: Vec<StepView>,
    /// Errors that the handler returned outside its steps, with their times.
    pub handler_errors: Vec<(Timestamp, Failure)>,
    /// When the handler is retried, if the run waits for that.
    pub handler_due: Option<Timestamp>,
    /// What the run waits for, as a sentence; `None` if it is executing or has ended.
    pub waiting: Option<String>,
    /// Whether the run waits in a step, and not for its start, a slot or an executor.
    pub waits_in_step: bool,
    /// The log of the run, in order.
    pub logs: Vec<LogView>,
    /// The version of the function that the run uses, if the function has versions.
    pub version: Option<Arc<str>>,
}

impl RunDetail {
    pub(crate) fn of(state: &RunState, timeline: RunTimeline, waiting: Option<RunWait>) -> Self {
        let RunTimeline { steps, handler_errors, logs, .. } = timeline;
        Self {
            summary: RunSummary::of(state),
            origin: state.created.origin.clone(),
            event: state.created.event.clone(),
            joined: state.joined.iter().map(|event| event.id).collect(),
            steps,
            handler_errors,
            handler_due: state.handler_retry_at.filter(|_| state.end.is_none()),
            waits_in_step: waiting.as_ref().is_some_and(|wait| wait.is_in_step),
            waiting: waiting.map(|wait| wait.sentence),
            logs,
            version: state.version.clone(),
        }
    }
}

/// What a live run waits for.
pub(crate) struct RunWait {
    pub(crate) sentence: String,
    /// Whether the run waits in a step.
    pub(crate) is_in_step: bool,
}

/// A line of a run's log.
#[derive(Clone, Debug)]
pub struct LogView {
    /// When the line was recorded.
    pub at: Timestamp,
    /// The step that wrote it in its body; `None` for the handler.
    pub step: Option<StepId>,
    /// The number of the step's or the handler's attempt that wrote the line.
    pub attempt: u32,
    /// The log line itself.
    pub line: LogLine,
}

/// A page of a journal.
#[derive(Clone, Debug)]
pub struct JournalPage {
    /// The entries with their numbers, in order.
    pub entries: Vec<(Seq, Entry)>,
    /// The number from which the next page starts; `None` on the last page.
    pub next: Option<Seq>,
}
