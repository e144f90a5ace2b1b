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
    /// What it does.
    pub kind: StepKind,
    /// The status of the step.
    pub status: StepStatus,
    /// What it returned.
    pub output: Option<Json>,
    /// What it failed with, after its last attempt.
    pub error: Option<Failure>,
    /// When it first appears in the journal.
    pub started_at: Time,
    /// When its outcome was recorded.
    pub ended_at: Option<Time>,
    /// When it continues: the end of its sleep or its wait, or its next attempt.
    pub due: Option<Time>,
    /// The run that it invoked.
    pub child: Option<RunId>,
    /// What it waits for, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaits: Option<String>,
    /// The callback token that completes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// What all its attempts used of paid models, one item for each model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub usage: Vec<Usage>,
    /// Its attempts, first to last.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
}

/// One attempt at a step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number, from 1.
    pub attempt: u32,
    /// When it started.
    pub started_at: Time,
    /// When it ended.
    pub ended_at: Option<Time>,
    /// What it failed with.
    pub error: Option<Failure>,
    /// Whether its worker died.
    #[serde(default)]
    pub interrupted: bool,
    /// What it used of paid models, one item for each model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub usage: Vec<Usage>,
}

/// What a step used of one paid model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The name of the model, as its service gives it.
    pub model: Arc<str>,
    /// Tokens that the model read, including those from a cache.
    pub input_tokens: u64,
    /// Tokens that the model read from a cache.
    pub cached_input_tokens: u64,
    /// Tokens that the model wrote.
    pub output_tokens: u64,
    /// The price in millionths of a US dollar; `None` where the model's price is not known.
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
    /// Waits for a run of another function.
    Invoke,
    /// Waits for an event.
    Event,
    /// Waits for a callback.
    Signal,
    /// Something that a newer server knows.
    #[serde(other)]
    Unknown,
}

impl StepKind {
    /// The word that JSON has for it.
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
    /// Its wake was sent; no attempt has started.
    Scheduled,
    /// An attempt is running.
    Running,
    /// An attempt failed, and the next one is due later.
    Retrying,
    /// It sleeps.
    Sleeping,
    /// It waits for a run of another function.
    Invoking,
    /// It waits for an event or a callback.
    Awaiting,
    /// It succeeded.
    Completed,
    /// It failed and is not retried.
    Failed,
    /// The handler dropped it.
    Abandoned,
    /// A status that a newer server knows.
    #[serde(other)]
    Unknown,
}

impl StepStatus {
    /// The word that JSON has for it.
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
