//! Steps as people see them, with their attempts.

use stepladder_core::journal::{Failure, Outcome, StepKind};
use stepladder_core::report::AttemptReport;
use stepladder_core::waiting::EventWait;
use stepladder_core::{Json, RunId, StepId, Timestamp, Usage};

/// A step of a run.
#[derive(Clone, Debug)]
pub struct StepView {
    /// The id of the step.
    pub id: StepId,
    /// The kind of the step.
    pub kind: StepKind,
    /// The status of the step.
    pub status: StepStatus,
    /// The attempts of the step, first to last.
    pub attempts: Vec<AttemptView>,
    /// The value that the step returned.
    pub output: Option<Json>,
    /// Why the step failed permanently.
    pub error: Option<Failure>,
    /// When the step could have started: when its wake was sent, or when the entry before its first
    /// one was written.
    pub ready_at: Timestamp,
    /// When the first entry of the step was written.
    pub started_at: Timestamp,
    /// When the outcome of the step was written.
    pub ended_at: Option<Timestamp>,
    /// When the step continues by itself: at the end of its sleep, or with its next attempt.
    pub due: Option<Timestamp>,
    /// The run that the step called.
    pub child: Option<RunId>,
    /// What the step is waiting for, such as "event `a/b` where `data.id` is 7" or "a signal".
    pub awaits: Option<String>,
    /// The wait of the step, while it waits for an event.
    pub event_wait: Option<EventWait>,
    /// The callback token of the step, while it waits for a callback.
    pub token: Option<String>,
    /// The usage of paid models by all attempts together, one item per model.
    pub usage: Vec<Usage>,
}

/// The status of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepStatus {
    /// A wake was sent for the step, but no attempt has started.
    Scheduled,
    /// An attempt is being executed.
    Running,
    /// An attempt failed, and the next attempt starts later.
    Retrying,
    /// The step sleeps.
    Sleeping,
    /// The step waits for the end of a called run.
    Invoking,
    /// The step waits for an event or a callback.
    Awaiting,
    /// The step succeeded.
    Completed,
    /// The step failed permanently.
    Failed,
    /// The handler dropped the step, or the run ended before the step.
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

/// An attempt of a step.
#[derive(Clone, Debug)]
pub struct AttemptView {
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// When the attempt started.
    pub started_at: Timestamp,
    /// When the attempt ended.
    pub ended_at: Option<Timestamp>,
    /// Why the attempt failed.
    pub error: Option<Failure>,
    /// Whether the worker of the attempt died.
    pub interrupted: bool,
    /// Whether the attempt was dropped: the handler or the run ended, or went on, without it.
    pub dropped: bool,
    /// The usage of paid models by the attempt, one item per model.
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
            event_wait: None,
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
            dropped: false,
            usage: Vec::new(),
        });
    }

    pub(super) fn close_attempt(&mut self, at: Timestamp, error: Option<Failure>, interrupted: bool) {
        if let Some(attempt) = self.attempts.last_mut() {
            (attempt.ended_at, attempt.error, attempt.interrupted) = (Some(at), error, interrupted);
        }
    }

    pub(super) fn add_usage(&mut self, report: &AttemptReport) {
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

    /// Ends the step because its run has ended. Nothing of an ended run executes, waits or
    /// continues.
    pub(super) fn stop_with_run(&mut self, at: Timestamp) {
        if self.ended_at.is_some() {
            return;
        }
        self.abandon(at);
    }

    /// Ends the step without an outcome.
    pub(super) fn abandon(&mut self, at: Timestamp) {
        if let Some(attempt) = self.attempts.last_mut().filter(|attempt| attempt.ended_at.is_none()) {
            (attempt.ended_at, attempt.dropped) = (Some(at), true);
        }
        self.end(at, StepStatus::Abandoned);
    }

    pub(super) fn end(&mut self, at: Timestamp, status: StepStatus) {
        (self.status, self.ended_at, self.due, self.awaits) = (status, Some(at), None, None);
        self.event_wait = None;
    }
}
