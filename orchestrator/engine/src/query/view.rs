//! A run as people look at it: its steps, attempts and times, told from the journal.

use std::collections::HashMap;
use std::sync::Arc;

use stepladder_core::journal::{Fact, Failure, Origin, Outcome, Record, Seq, StepKind};
use stepladder_core::report::{HandlerLogLine, LogLine, Report};
use stepladder_core::signal::CallbackToken;
use stepladder_core::state::{RevealedOutcome, RunOutcome, RunState, StepState, WaitTarget};
use stepladder_core::{Entry, Event, EventId, Json, RunId, RunRow, Status, StepId, Timestamp, Usage};

/// One run in a listing.
#[derive(Clone, Debug)]
pub struct RunSummary {
    /// Which run.
    pub run: RunId,
    /// Of which function.
    pub function: Arc<str>,
    /// Started by which event.
    pub event: EventId,
    /// Its status now.
    pub status: Status,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its first step began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What the handler returned.
    pub output: Option<Json>,
    /// What it failed with, or why it was cancelled.
    pub error: Option<Failure>,
}

/// One run in full.
#[derive(Clone, Debug)]
pub struct RunDetail {
    /// What a listing shows.
    pub summary: RunSummary,
    /// What started it.
    pub origin: Origin,
    /// The event, in full.
    pub event: Event,
    /// The events that it began with besides, where its function collects them.
    pub joined: Vec<EventId>,
    /// Its steps in the order in which they were first heard of.
    pub steps: Vec<StepView>,
    /// Errors of the handler itself, outside its steps.
    pub handler_errors: Vec<(Timestamp, Failure)>,
    /// When the handler is run again after the last of them, while it waits for that.
    pub handler_due: Option<Timestamp>,
    /// Why it is not moving, in a sentence; `None` when it moves or is over.
    pub waiting: Option<String>,
    /// What it has said, in order.
    pub logs: Vec<LogView>,
    /// The version of its function that it goes on under, if that has one.
    pub version: Option<Arc<str>>,
}

/// One line of a run's log.
#[derive(Clone, Debug)]
pub struct LogView {
    /// When it was recorded.
    pub at: Timestamp,
    /// The step whose body said it; `None` for the function itself.
    pub step: Option<StepId>,
    /// In which attempt: of the step, or of the function.
    pub attempt: u32,
    /// The line.
    pub line: LogLine,
}

impl RunDetail {
    /// From a run's state, what its journal tells, and why it is not moving.
    pub(crate) fn of(state: &RunState, story: RunStory, waiting: Option<String>) -> Self {
        let RunStory { steps, handler_errors, logs, .. } = story;
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

/// One step.
#[derive(Clone, Debug)]
pub struct StepView {
    /// Its id.
    pub id: StepId,
    /// What kind of step.
    pub kind: StepKind,
    /// Where it stands.
    pub status: StepStatus,
    /// Its attempts, first to last.
    pub attempts: Vec<AttemptView>,
    /// What it returned.
    pub output: Option<Json>,
    /// What it failed with.
    pub error: Option<Failure>,
    /// When it was first heard of.
    pub started_at: Timestamp,
    /// When it had its outcome.
    pub ended_at: Option<Timestamp>,
    /// When it goes on: a sleep's end, the next attempt.
    pub due: Option<Timestamp>,
    /// The run that it invoked.
    pub child: Option<RunId>,
    /// What it waits for, while it does: "event `a/b` where `data.id` is 7", "a signal".
    pub awaits: Option<String>,
    /// What its signal is to be posted to, while it waits for one.
    pub token: Option<String>,
    /// What all its attempts used of models that are paid for, one for each model.
    pub usage: Vec<Usage>,
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepStatus {
    /// Sent a wake; nothing has begun.
    Scheduled,
    /// An attempt runs.
    Running,
    /// A failed attempt is repeated later.
    Retrying,
    /// A timer runs.
    Sleeping,
    /// Another run is to end first.
    Invoking,
    /// An event or a signal is to arrive.
    Awaiting,
    /// It has a value.
    Completed,
    /// It failed for good.
    Failed,
    /// The handler dropped it.
    Abandoned,
}

impl StepStatus {
    /// The word for it.
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
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What it failed with.
    pub error: Option<Failure>,
    /// Whether its worker was lost.
    pub interrupted: bool,
    /// What it used of models that are paid for, one for each model.
    pub usage: Vec<Usage>,
}

/// A page of a journal.
#[derive(Clone, Debug)]
pub struct JournalPage {
    /// Entries with their numbers, in order.
    pub entries: Vec<(Seq, Entry)>,
    /// The number to ask for next; `None` at the end.
    pub next: Option<Seq>,
}

impl RunSummary {
    /// Of a run whose journal is at hand.
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

    /// Of a run of which only the row is at hand.
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

/// What a journal tells of a run beside its state.
#[derive(Default)]
pub(crate) struct RunStory {
    pub(crate) steps: Vec<StepView>,
    index: HashMap<StepId, usize>,
    pub(crate) handler_errors: Vec<(Timestamp, Failure)>,
    pub(crate) logs: Vec<LogView>,
}

/// The steps of a run as its journal tells them, the errors of its handler, and what it said.
pub(crate) fn tell_story(state: &RunState, records: &[Record]) -> RunStory {
    let mut story = RunStory::default();
    records.iter().flat_map(|record| &record.entries).for_each(|entry| story.apply(entry));
    for view in story.steps.iter_mut().filter(|_| state.end.is_none()) {
        let waiting = state.steps.get(&view.id).map(|step| &step.state);
        if let Some(StepState::Awaiting { what: WaitTarget::Signal, .. }) = waiting {
            view.token = Some(CallbackToken::new(state.run, state.secret, &view.id).to_string());
        }
    }
    story
}

impl RunStory {
    fn step(&mut self, id: &StepId, kind: StepKind, at: Timestamp) -> &mut StepView {
        let index = *self.index.entry(id.clone()).or_insert_with(|| {
            self.steps.push(StepView {
                id: id.clone(),
                kind,
                status: StepStatus::Scheduled,
                attempts: Vec::new(),
                output: None,
                error: None,
                started_at: at,
                ended_at: None,
                due: None,
                child: None,
                awaits: None,
                token: None,
                usage: Vec::new(),
            });
            self.steps.len() - 1
        });
        &mut self.steps[index]
    }

    /// What a body said.
    fn add_logs(&mut self, step: &StepId, attempt: u32, report: &Report, at: Timestamp) {
        let view = |line: &LogLine| LogView { at, step: Some(step.clone()), attempt, line: line.clone() };
        self.logs.extend(report.lines.iter().map(view));
    }

    fn apply(&mut self, entry: &Entry) {
        let at = entry.at;
        match &entry.fact {
            Fact::StepStarted { step, attempt, .. } => {
                let view = self.step(step, StepKind::Run, at);
                if view.status == StepStatus::Running {
                    view.close_attempt(at, None, true);
                }
                view.status = StepStatus::Running;
                view.due = None;
                view.attempts.push(AttemptView {
                    attempt: *attempt,
                    started_at: at,
                    ended_at: None,
                    error: None,
                    interrupted: false,
                    usage: Vec::new(),
                });
            }
            Fact::StepSucceeded { step, attempt, output, report } => {
                let view = self.step(step, StepKind::Run, at);
                view.close_attempt(at, None, false);
                view.add_usage(report);
                view.settle(at, &Outcome::Value(output.clone()));
                self.add_logs(step, *attempt, report, at);
            }
            Fact::StepFailed { step, attempt, error, retry_at, report } => {
                let view = self.step(step, StepKind::Run, at);
                // a check that found that it is not time yet has not failed
                view.close_attempt(at, Some(error.clone()).filter(|error| !error.is_not_yet()), false);
                match retry_at {
                    Some(due) => (view.status, view.due) = (StepStatus::Retrying, Some(*due)),
                    None => view.settle(at, &Outcome::Failed(error.clone())),
                }
                view.add_usage(report);
                self.add_logs(step, *attempt, report, at);
            }
            Fact::AttemptInterrupted { step, .. } => {
                let view = self.step(step, StepKind::Run, at);
                view.close_attempt(at, None, true);
                (view.status, view.due) = (StepStatus::Retrying, Some(at));
            }
            Fact::StepAbandoned { step, attempt, report } => {
                let view = self.step(step, StepKind::Run, at);
                view.close_attempt(at, None, false);
                view.add_usage(report);
                (view.status, view.ended_at) = (StepStatus::Abandoned, Some(at));
                self.add_logs(step, *attempt, report, at);
            }
            Fact::LogWritten { attempt, lines } => {
                let view = |HandlerLogLine { line, .. }: &HandlerLogLine| LogView {
                    at,
                    step: None,
                    attempt: *attempt,
                    line: line.clone(),
                };
                self.logs.extend(lines.iter().map(view));
            }
            Fact::StepRefused { step, error, kind } => {
                self.step(step, kind.unwrap_or(StepKind::Run), at).settle(at, &Outcome::Failed(error.clone()));
            }
            Fact::StepCarriedOver { step, kind, outcome } => self.step(step, *kind, at).settle(at, outcome),
            Fact::StepsWoken { steps } => steps.iter().for_each(|id| {
                self.step(id, StepKind::Run, at);
            }),
            Fact::SleepStarted { step, until } => {
                let view = self.step(step, StepKind::Sleep, at);
                (view.status, view.due) = (StepStatus::Sleeping, Some(*until));
            }
            Fact::SleepEnded { step } => {
                let view = self.step(step, StepKind::Sleep, at);
                (view.status, view.ended_at, view.due) = (StepStatus::Completed, Some(at), None);
            }
            Fact::EventsSent { step, ids } => {
                let view = self.step(step, StepKind::Send, at);
                (view.status, view.ended_at) = (StepStatus::Completed, Some(at));
                view.output = stepladder_core::json::to_json(ids).ok();
            }
            Fact::InvokeStarted { step, child, .. } => {
                let view = self.step(step, StepKind::Invoke, at);
                (view.status, view.child) = (StepStatus::Invoking, Some(*child));
            }
            Fact::InvokeEnded { step, outcome } => self.step(step, StepKind::Invoke, at).settle(at, outcome),
            Fact::EventAwaited { step, wait, until } => {
                let view = self.step(step, StepKind::Event, at);
                (view.status, view.due, view.awaits) = (StepStatus::Awaiting, Some(*until), Some(wait.to_string()));
            }
            Fact::SignalAwaited { step, until } => {
                let view = self.step(step, StepKind::Signal, at);
                (view.status, view.due, view.awaits) = (StepStatus::Awaiting, Some(*until), Some("a signal".into()));
            }
            Fact::EventDelivered { .. } => {
                for RevealedOutcome { step, outcome, .. } in RevealedOutcome::each(entry) {
                    self.step(&step, StepKind::Event, at).settle(at, &outcome);
                }
            }
            Fact::SignalReceived { step, data } => {
                self.step(step, StepKind::Signal, at).settle(at, &Outcome::Value(data.clone()));
            }
            Fact::WaitSkipped { step } => {
                if let Some(index) = step.as_ref().and_then(|step| self.index.get(step)) {
                    self.steps[*index].due = Some(at);
                }
            }
            Fact::WaitExpired { step } => {
                let view = self.step(step, StepKind::Event, at);
                (view.status, view.ended_at, view.due, view.awaits) = (StepStatus::Completed, Some(at), None, None);
            }
            Fact::HandlerFailed { error, .. } => self.handler_errors.push((at, error.clone())),
            Fact::RunCreated(_)
            | Fact::EventJoined { .. }
            | Fact::VersionChosen { .. }
            | Fact::CollectingEnded
            | Fact::RunDelayed { .. }
            | Fact::RunAdmitted
            | Fact::RunCompleted { .. }
            | Fact::RunFailed { .. }
            | Fact::RunCancelled { .. }
            | Fact::RunSkipped { .. } => {}
        }
    }
}

impl StepView {
    fn add_usage(&mut self, report: &Report) {
        for used in &report.usage {
            used.clone().add_to(&mut self.usage);
        }
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.usage.clone_from(&report.usage);
        }
    }

    fn close_attempt(&mut self, at: Timestamp, error: Option<Failure>, interrupted: bool) {
        if let Some(attempt) = self.attempts.last_mut() {
            (attempt.ended_at, attempt.error, attempt.interrupted) = (Some(at), error, interrupted);
        }
    }

    fn settle(&mut self, at: Timestamp, outcome: &Outcome) {
        (self.ended_at, self.due, self.awaits) = (Some(at), None, None);
        match outcome {
            Outcome::Value(value) => (self.status, self.output) = (StepStatus::Completed, Some(value.clone())),
            Outcome::Failed(error) => (self.status, self.error) = (StepStatus::Failed, Some(error.clone())),
        }
    }
}
