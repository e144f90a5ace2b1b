//! Steps and their attempts.

use std::fmt::{self, Display};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use stepladder_core::{Json, RunId, StepId, journal};

use crate::{Failure, Time};

/// A step of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    /// The id of the step within the run.
    pub id: StepId,
    /// What the step does.
    pub kind: StepKind,
    /// The status of the step.
    pub status: StepStatus,
    /// The value that the step returned.
    pub output: Option<Json>,
    /// The error of the step, if its last attempt failed.
    pub error: Option<Failure>,
    /// When the step first appeared in the journal.
    pub started_at: Time,
    /// When the outcome of the step was recorded.
    pub ended_at: Option<Time>,
    /// When the step continues: the end of its sleep or its wait, or the time of its next attempt.
    pub due: Option<Time>,
    /// The run that the step called.
    pub child: Option<RunId>,
    /// What the step waits for, as a phrase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaits: Option<String>,
    /// The callback token of the step. A post to this token completes the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The usage of paid models by all attempts together, one item per model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub usage: Vec<Usage>,
    /// The attempts of the step, from first to last.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
}

/// One attempt of a step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Attempt {
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// When the attempt started.
    pub started_at: Time,
    /// When the attempt ended.
    pub ended_at: Option<Time>,
    /// The error of the attempt, if it failed.
    pub error: Option<Failure>,
    /// Whether the worker of the attempt died.
    #[serde(default)]
    pub interrupted: bool,
    /// Whether the attempt was dropped: the function or the run ended, or went on, without it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dropped: bool,
    /// The usage of paid models by the attempt, one item per model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub usage: Vec<Usage>,
}

/// The usage of one paid model by a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The model's name, as the model's service reports it.
    pub model: Arc<str>,
    /// The number of tokens that the model read, including tokens from a cache.
    pub input_tokens: u64,
    /// The number of tokens that the model read from a cache.
    pub cached_input_tokens: u64,
    /// The number of tokens that the model wrote.
    pub output_tokens: u64,
    /// The cost in micro-dollars (millionths of a US dollar); `None` if the model's price is
    /// unknown.
    pub micro_dollars: Option<u64>,
}

impl From<&stepladder_core::Usage> for Usage {
    fn from(usage: &stepladder_core::Usage) -> Self {
        let stepladder_core::Usage { model, input_tokens, cached_input_tokens, output_tokens, micro_dollars, .. } =
            usage;
        Self {
            model: model.clone(),
            input_tokens: *input_tokens,
            cached_input_tokens: *cached_input_tokens,
            output_tokens: *output_tokens,
            micro_dollars: *micro_dollars,
        }
    }
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepKind {
    /// Executes a body.
    Run,
    /// Sleeps.
    Sleep,
    /// Sends events.
    Send,
    /// Calls another function, and waits for the end of its run.
    Invoke,
    /// Waits for an event.
    Event,
    /// Waits for a callback.
    Signal,
    /// A kind that only a newer server knows.
    #[serde(other)]
    Unknown,
}

impl StepKind {
    /// Returns the name of the kind, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Sleep => "sleep",
            Self::Send => "send",
            Self::Invoke => "invoke",
            Self::Event => "event",
            Self::Signal => "signal",
            Self::Unknown => "unknown",
        }
    }
}

impl Display for StepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<journal::StepKind> for StepKind {
    fn from(kind: journal::StepKind) -> Self {
        match kind {
            journal::StepKind::Run => Self::Run,
            journal::StepKind::Sleep => Self::Sleep,
            journal::StepKind::Send => Self::Send,
            journal::StepKind::Invoke => Self::Invoke,
            journal::StepKind::Event => Self::Event,
            journal::StepKind::Signal => Self::Signal,
        }
    }
}

/// The status of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StepStatus {
    /// A wake was sent for the step, but no attempt has started.
    Scheduled,
    /// An attempt is being executed.
    Running,
    /// An attempt failed, and the next attempt is due later.
    Retrying,
    /// The step sleeps.
    Sleeping,
    /// The step waits for the end of a run that it called.
    Invoking,
    /// The step waits for an event or a callback.
    Awaiting,
    /// The step succeeded.
    Completed,
    /// The step failed and is not retried.
    Failed,
    /// The handler dropped the step.
    Abandoned,
    /// A status that only a newer server knows.
    #[serde(other)]
    Unknown,
}

impl StepStatus {
    /// Returns the name of the status, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "Scheduled",
            Self::Running => "Running",
            Self::Retrying => "Retrying",
            Self::Sleeping => "Sleeping",
            Self::Invoking => "Invoking",
            Self::Awaiting => "Awaiting",
            Self::Completed => "Completed",
            Self::Failed => "Failed",
            Self::Abandoned => "Abandoned",
            Self::Unknown => "Unknown",
        }
    }
}

impl Display for StepStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
