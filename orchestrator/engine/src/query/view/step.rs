//! A step as people look at it, with its attempts.

use stepladder_core::journal::{Failure, Outcome, StepKind};
use stepladder_core::report::Report;
use stepladder_core::{Json, RunId, StepId, Timestamp, Usage};

/// One step.
#[derive(Clone, Debug)]
pub struct StepView {
    /// The id of the step.
    pub id: StepId,
    /// The kind of the step.
    pub kind: StepKind,
    /// The status of the step.
    pub status: StepStatus,
    /// Its attempts, first to last.
    pub attempts: Vec<AttemptView>,
    /// The value of the step.
    pub output: Option<Json>,
    /// Why it failed for good.
    pub error: Option<Failure>,
    /// When it could have started: when its wake was sent, or when the entry before its first one
    /// was written.
    pub ready_at: Timestamp,
    /// When its first entry was written.
    pub started_at: Timestamp,
    /// When its outcome was written.
    pub ended_at: Option<Timestamp>,
    /// When the step continues without an event: at the end of a sleep, or with the next attempt.
    pub due: Option<Timestamp>,
    /// The run that it invoked.
    pub child: Option<RunId>,
    /// What it waits for, while it waits: "event `a/b` where `data.id` is 7", "a signal".
    pub awaits: Option<String>,
    /// The callback token, while it waits for a callback.
    pub token: Option<String>,
    /// What all its attempts used of models, one item for each model.
    pub usage: Vec<Usage>,
}

/// The status of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepStatus {
    /// It was sent a wake, and no attempt has started.
    Scheduled,
    /// An attempt executes.
    Running,
    /// An attempt failed, and the next one starts later.
    Retrying,
    /// It waits for a time.
    Sleeping,
    /// It waits for the end of another run.
    Invoking,
    /// It waits for an event or a callback.
    Awaiting,
    /// It has a value.
    Completed,
    /// It failed for good.
    Failed,
    /// The handler dropped it.
    Abandoned,
}

impl StepStatus {
    /// Returns the name of the status, such as `Running`.
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
        }
    }
}

/// One attempt at a step.
#[derive(Clone, Debug)]
pub struct AttemptView {
    /// Its number, from 1.
    pub attempt: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why it failed.
    pub error: Option<Failure>,
    /// Whether its worker died.
    pub interrupted: bool,
    /// What it used of models, one item for each model.
    pub usage: Vec<Usage>,
}

impl StepView {
    /// Creates a step without attempts.
    pub(super) fn new(id: StepId, kind: StepKind, ready_at: Timestamp, started_at: Timestamp) -> Self {
        Self {
            id,
            kind,
            status: StepStatus::Scheduled,
            attempts: Vec::new(),
            output: None,
            error: None,
            ready_at,
            started_at,
            ended_at: None,
            due: None,
            child: None,
            awaits: None,
            token: None,
            usage: Vec::new(),
        }
    }

    pub(super) fn start_attempt(&mut self, at: Timestamp, attempt: u32) {
        if self.status == StepStatus::Running {
            self.close_attempt(at, None, true);
        }
        (self.status, self.due) = (StepStatus::Running, None);
        self.attempts.push(AttemptView {
            attempt,
            started_at: at,
            ended_at: None,
            error: None,
            interrupted: false,
            usage: Vec::new(),
        });
    }

    pub(super) fn close_attempt(&mut self, at: Timestamp, error: Option<Failure>, interrupted: bool) {
        if let Some(attempt) = self.attempts.last_mut() {
            (attempt.ended_at, attempt.error, attempt.interrupted) = (Some(at), error, interrupted);
        }
    }

    pub(super) fn add_usage(&mut self, report: &Report) {
        for used in &report.usage {
            used.clone().add_to(&mut self.usage);
        }
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.usage.clone_from(&report.usage);
        }
    }

    /// Ends the step with an outcome.
    pub(super) fn settle(&mut self, at: Timestamp, outcome: &Outcome) {
        match outcome {
            Outcome::Value(value) => self.complete(at, Some(value.clone())),
            Outcome::Failed(error) => {
                self.end(at, StepStatus::Failed);
                self.error = Some(error.clone());
            }
        }
    }

    pub(super) fn complete(&mut self, at: Timestamp, output: Option<Json>) {
        self.end(at, StepStatus::Completed);
        self.output = output;
    }

    pub(super) fn end(&mut self, at: Timestamp, status: StepStatus) {
        (self.status, self.ended_at, self.due, self.awaits) = (status, Some(at), None, None);
    }
}
