//! Runs, briefly and in full, and the responses to requests that change them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use stepladder_core::journal;
use stepladder_core::report;
use stepladder_core::{EventId, Json, RunId, Status, StepId, headline};

use crate::{Event, Step, Time};

/// A run in a listing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// The id of the run.
    pub run_id: RunId,
    /// The id of the run's function.
    pub function_id: Arc<str>,
    /// The status of the run.
    pub status: Status,
    /// The id of the event that started the run.
    pub event_id: EventId,
    /// When the run was created.
    pub created_at: Time,
    /// When the first step of the run started. Until then, this is the time at which the run was
    /// created, because clients of Inngest expect a time here.
    pub run_started_at: Time,
    /// When the run ended; `None` while it is live.
    pub ended_at: Option<Time>,
    /// The value that the run's handler returned.
    pub output: Option<Json>,
    /// The error of a failed run, or the reason why the run was cancelled or skipped.
    pub error: Option<Failure>,
    /// The labels of the run: keys and values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
}

/// A run in full. The first fields are those of [`Run`]. They are repeated here, because serde
/// cannot flatten JSON that is kept as text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunDetail {
    /// The id of the run.
    pub run_id: RunId,
    /// The id of the run's function.
    pub function_id: Arc<str>,
    /// The status of the run.
    pub status: Status,
    /// The id of the event that started the run.
    pub event_id: EventId,
    /// When the run was created.
    pub created_at: Time,
    /// When the first step of the run started. Until then, this is the time at which the run was
    /// created.
    pub run_started_at: Time,
    /// When the run ended; `None` while it is live.
    pub ended_at: Option<Time>,
    /// The value that the run's handler returned.
    pub output: Option<Json>,
    /// The error of a failed run, or the reason why the run was cancelled or skipped.
    pub error: Option<Failure>,
    /// The labels of the run: keys and values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// What started the run.
    pub origin: RunOrigin,
    /// The event that started the run, in full.
    pub event: Event,
    /// Why the run does not continue at the moment, as a sentence; `None` if it is executing or has
    /// ended.
    pub waiting: Option<String>,
    /// Errors that the handler returned outside its steps.
    #[serde(default)]
    pub handler_errors: Vec<HandlerError>,
    /// The version of the function that the run uses, if the function has versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Arc<str>>,
    /// The steps of the run, in the order in which they first appear in the journal.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// The log of the run, in order.
    #[serde(default)]
    pub logs: Vec<LogLine>,
}

/// What started a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the variants are explained; their fields are named by what they hold")]
pub enum RunOrigin {
    /// An event that matches a trigger of the function.
    Event,
    /// A step of another run, which waits for the end of this run.
    Invoke { parent: RunId, step: StepId },
    /// The failure of another run, which this run handles.
    Failure { of: RunId },
    /// A request to rerun another run.
    Rerun { of: RunId },
    /// A cron schedule of the function.
    Cron,
}

impl From<&journal::RunOrigin> for RunOrigin {
    fn from(origin: &journal::RunOrigin) -> Self {
        match origin {
            journal::RunOrigin::Event => Self::Event,
            journal::RunOrigin::Invoke { parent, step } => Self::Invoke { parent: *parent, step: step.clone() },
            journal::RunOrigin::Failure { of } => Self::Failure { of: *of },
            journal::RunOrigin::Rerun { of } => Self::Rerun { of: *of },
            journal::RunOrigin::Cron => Self::Cron,
        }
    }
}

/// The error of a run, a step or an attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// One sentence; causes follow after colons.
    pub message: String,
    /// A code for programs to branch on, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The name of the error's type, such as `TypeError`, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// The stack trace, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<Arc<str>>,
    /// Further fields of the error, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Json>,
}

impl Failure {
    /// Returns the message after the name of the error, such as `TypeError: x is undefined`.
    pub fn headline(&self) -> Cow<'_, str> {
        headline(self.name.as_deref(), &self.message)
    }
}

impl From<&journal::Failure> for Failure {
    fn from(failure: &journal::Failure) -> Self {
        let journal::Failure { message, name, stack, data, .. } = failure.clone();
        Self { message, code: failure.code().map(str::to_owned), name, stack, data }
    }
}

/// An error that a handler returned outside its steps.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HandlerError {
    /// When the error was recorded.
    pub at: Time,
    /// The error.
    pub error: Failure,
}

/// A line of a run's log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LogLine {
    /// When the line was recorded.
    pub at: Time,
    /// The severity of the line.
    pub level: LogLevel,
    /// The message.
    pub message: Arc<str>,
    /// Values that belong to the message: a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Json>,
    /// The step that wrote the line in its body; `None` if the handler wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepId>,
    /// The number of the step's or the handler's attempt that wrote the line, from 1.
    pub attempt: u32,
}

/// The severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// A normal event.
    Info,
    /// An event that may need attention.
    Warn,
    /// An error.
    Error,
    /// A level that only a newer server knows.
    #[serde(other)]
    Unknown,
}

impl LogLevel {
    /// Returns the name of the level, as in JSON.
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

/// A run that a request created or changed.
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
    /// The status of the run now. A run that had already ended keeps its status.
    pub status: Status,
}

/// The response to a callback, which completes a wait for a signal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SignalCompleted {
    /// The run that waits, or will wait, for the signal.
    pub run_id: RunId,
    /// The step that waits for the signal.
    pub step: StepId,
    /// Whether an earlier request had already completed the signal with the same data or failure.
    pub before: bool,
}

/// The response to a heartbeat of the holder of a callback token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SignalHeartbeat {
    /// The run that waits, or will wait, for the signal.
    pub run_id: RunId,
    /// The step that waits for the signal.
    pub step: StepId,
    /// What the heartbeat did.
    pub effect: HeartbeatEffect,
    /// The time before which the next heartbeat must be posted; `None` if none is needed now.
    pub next_before: Option<Time>,
}

/// What a heartbeat did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeartbeatEffect {
    /// It was recorded.
    Recorded,
    /// It counts, but was not recorded, because another one was recorded just before.
    Recent,
    /// It does not count, because the wait has not started.
    Early,
    /// It does not count, because the wait asks for no heartbeats.
    Unneeded,
    /// An effect that only a newer server knows.
    #[serde(other)]
    Unknown,
}
