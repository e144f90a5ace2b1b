//! Runs: in a listing, in full, and the responses to what is done with them.

use std::fmt::{self, Display};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use stepladder_core::journal;
use stepladder_core::report;
use stepladder_core::{EventId, Json, RunId, Status, StepId};

use crate::{Event, Step, Time};

/// A run in a listing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// The id of the run.
    pub run_id: RunId,
    /// The id of its function.
    pub function_id: Arc<str>,
    /// The status of the run.
    pub status: Status,
    /// The event that started it.
    pub event_id: EventId,
    /// When it was created.
    pub created_at: Time,
    /// When its first step started; before that, when it was created, because clients of Inngest
    /// expect a time here.
    pub run_started_at: Time,
    /// When it ended.
    pub ended_at: Option<Time>,
    /// What its handler returned.
    pub output: Option<Json>,
    /// What it failed with, or why it was cancelled or skipped.
    pub error: Option<Failure>,
}

/// A run in full. The first fields are those of [`Run`]; they are repeated here because serde
/// cannot flatten JSON that is kept as text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunDetail {
    /// The id of the run.
    pub run_id: RunId,
    /// The id of its function.
    pub function_id: Arc<str>,
    /// The status of the run.
    pub status: Status,
    /// The event that started it.
    pub event_id: EventId,
    /// When it was created.
    pub created_at: Time,
    /// When its first step started; before that, when it was created.
    pub run_started_at: Time,
    /// When it ended.
    pub ended_at: Option<Time>,
    /// What its handler returned.
    pub output: Option<Json>,
    /// What it failed with, or why it was cancelled or skipped.
    pub error: Option<Failure>,
    /// What started it.
    pub origin: Origin,
    /// The event, in full.
    pub event: Event,
    /// Why it is not moving, as a sentence; `None` while it moves and after its end.
    pub waiting: Option<String>,
    /// Errors of its handler outside its steps.
    #[serde(default)]
    pub handler_errors: Vec<HandlerError>,
    /// The version of its function that it continues under, where the function has versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Arc<str>>,
    /// Its steps, in the order in which they first appear in the journal.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// Its log, in order.
    #[serde(default)]
    pub logs: Vec<LogLine>,
}

/// What started a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the variants are explained; their fields are named by what they hold")]
pub enum Origin {
    /// An event that a trigger of the function matches.
    Event,
    /// A step of another run, which waits for the end of this one.
    Invoke { parent: RunId, step: StepId },
    /// The failure of another run.
    Failure { of: RunId },
    /// A request to rerun another run.
    Rerun { of: RunId },
    /// A cron schedule of the function.
    Cron,
}

impl From<&journal::Origin> for Origin {
    fn from(origin: &journal::Origin) -> Self {
        match origin {
            journal::Origin::Event => Self::Event,
            journal::Origin::Invoke { parent, step } => Self::Invoke { parent: *parent, step: step.clone() },
            journal::Origin::Failure { of } => Self::Failure { of: *of },
            journal::Origin::Rerun { of } => Self::Rerun { of: *of },
            journal::Origin::Cron => Self::Cron,
        }
    }
}

/// What a run, a step or an attempt failed with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// One sentence; causes follow after colons.
    pub message: String,
    /// A short word for programs to branch on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

impl From<&journal::Failure> for Failure {
    fn from(failure: &journal::Failure) -> Self {
        Self { message: failure.message.clone(), code: failure.code().map(str::to_owned) }
    }
}

/// An error that a handler returned outside its steps.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HandlerError {
    /// When it was recorded.
    pub at: Time,
    /// The error.
    pub error: Failure,
}

/// A line of a run's log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was recorded.
    pub at: Time,
    /// How much it matters.
    pub level: LogLevel,
    /// The text.
    pub message: Arc<str>,
    /// Values that belong to it: a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Json>,
    /// The step whose body wrote it; `None` for the handler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepId>,
    /// The attempt of that step or of the handler, from 1.
    pub attempt: u32,
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Something happened.
    Info,
    /// Something may need attention.
    Warn,
    /// Something went wrong.
    Error,
    /// A level that a newer server knows.
    #[serde(other)]
    Unknown,
}

impl LogLevel {
    /// The word that JSON has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Unknown => "unknown",
        }
    }
}

impl Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<report::LogLevel> for LogLevel {
    fn from(level: report::LogLevel) -> Self {
        match level {
            report::LogLevel::Info => Self::Info,
            report::LogLevel::Warn => Self::Warn,
            report::LogLevel::Error => Self::Error,
        }
    }
}

/// A run that a request created, or one of those that it changed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct RunRef {
    /// The id of the run.
    pub run_id: RunId,
}

/// The response to the cancellation of one run.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct RunCancelled {
    /// The id of the run.
    pub run_id: RunId,
    /// Its status now: a run that had ended keeps its status.
    pub status: Status,
}

/// The response to a completed signal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SignalCompleted {
    /// The run that waits, or will wait, for the signal.
    pub run_id: RunId,
    /// The step that waits for it.
    pub step: StepId,
    /// Whether it had been completed before, with the same data.
    pub before: bool,
}
