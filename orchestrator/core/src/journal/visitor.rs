//! A visitor of facts, for code that only reads them: views, lists, costs.
//!
//! [`Entry::visit`] groups facts into a few kinds and calls one method for each kind. A new fact of
//! an existing kind needs no change in any reader. The rules (`state`, `admits`, `bounds`) do not
//! use the visitor: they match on every [`Fact`].

use std::time::Duration;

use super::{Entry, Fact, Failure, NewRun, Outcome, StepKind};
use crate::report::{AttemptReport, HandlerLogLine};
use crate::state::RunEnd;
use crate::waiting::EventWait;
use crate::{Event, EventId, Json, Label, RunId, StepId, Timestamp};

/// A reader of journal entries. Each method receives the time of the entry, and does nothing by
/// default.
pub trait FactVisitor {
    /// Reads entry 0, which creates the run.
    fn run_created(&mut self, _at: Timestamp, _run: &NewRun) {}
    /// Reads a change of the run's start.
    fn start_changed(&mut self, _at: Timestamp, _change: StartChange<'_>) {}
    /// Reads the end of the run.
    fn run_ended(&mut self, _end: &RunEnd) {}

    /// Reads log lines that the handler wrote in an attempt.
    fn handler_logged(&mut self, _at: Timestamp, _attempt: u32, _lines: &[HandlerLogLine]) {}
    /// Reads labels that the handler added to the run.
    fn labels_added(&mut self, _at: Timestamp, _labels: &[Label]) {}
    /// Reads a failure of the handler outside a step.
    fn handler_failed(&mut self, _at: Timestamp, _attempt: u32, _error: &Failure, _retry_at: Timestamp) {}

    /// Reads why the executor of the function cannot be reached, or that it is reachable again
    /// (`None`).
    fn executor_changed(&mut self, _at: Timestamp, _unreachable: Option<&str>) {}

    /// Reads that the executor is being called (`None`), or that a call ended (`Some`: whether its
    /// worker died).
    fn executor_called(&mut self, _at: Timestamp, _call: u32, _interrupted: Option<bool>) {}

    /// Reads the start of an attempt of a step.
    fn attempt_started(&mut self, _at: Timestamp, _step: &StepId, _attempt: u32, _lease_until: Timestamp) {}
    /// Reads the end of an attempt of a step.
    fn attempt_ended(&mut self, _at: Timestamp, _step: &StepId, _attempt: u32, _end: AttemptEnd<'_>) {}
    /// Reads that each of these steps was sent a wake.
    fn steps_woken(&mut self, _at: Timestamp, _steps: &[StepId]) {}
    /// Reads the outcome of a step that had neither an attempt nor a wait.
    fn step_settled(&mut self, _at: Timestamp, _step: &StepId, _outcome: DirectOutcome<'_>) {}

    /// Reads the start of a step's wait.
    fn wait_started(&mut self, _at: Timestamp, _step: &StepId, _wait: Wait<'_>) {}
    /// Reads that a user skipped the wait of a step, or of the handler.
    fn wait_skipped(&mut self, _at: Timestamp, _step: Option<&StepId>) {}
    /// Reads a heartbeat, which keeps a step's wait for a callback open.
    fn wait_kept_open(&mut self, _at: Timestamp, _step: &StepId) {}
    /// Reads the end of a step's wait.
    fn wait_ended(&mut self, _at: Timestamp, _step: &StepId, _end: WaitEnd<'_>) {}
    /// Reads an event that ended the waits of these steps.
    fn event_delivered(&mut self, _at: Timestamp, _event: &Event, _steps: &[StepId]) {}
}

/// A change to a run that is recorded before the run starts.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "fields as in the fact of the same name")]
pub enum StartChange<'a> {
    /// An event joined a run that collects events ([`Fact::EventJoined`]).
    EventJoined { event: &'a Event, replaces: bool, begins_at: Option<Timestamp>, closes: bool },
    /// The run stopped collecting events ([`Fact::CollectingEnded`]).
    CollectingEnded,
    /// The start of the run was delayed ([`Fact::RunDelayed`]).
    Delayed { begins_at: Timestamp },
    /// Flow control admitted the run ([`Fact::RunAdmitted`]).
    Admitted,
    /// The run uses this version of its function ([`Fact::VersionChosen`]).
    VersionChosen { version: &'a str },
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "fields as in the fact of the same name")]
pub enum AttemptEnd<'a> {
    /// The attempt returned a value ([`Fact::StepSucceeded`]).
    Succeeded { output: &'a Json, report: &'a AttemptReport },
    /// The attempt failed ([`Fact::StepFailed`]).
    Failed { error: &'a Failure, retry_at: Option<Timestamp>, report: &'a AttemptReport },
    /// The worker of the attempt died ([`Fact::AttemptInterrupted`]).
    Interrupted,
    /// The executor could not be reached for the attempt ([`Fact::AttemptUnreachable`]).
    Unreachable { why: &'a str, retry_at: Timestamp },
    /// The handler dropped the step ([`Fact::StepAbandoned`]).
    Abandoned { report: &'a AttemptReport },
}

impl<'a> AttemptEnd<'a> {
    /// Returns the report of the attempt, if there is one.
    pub fn report(self) -> Option<&'a AttemptReport> {
        match self {
            Self::Succeeded { report, .. } | Self::Failed { report, .. } | Self::Abandoned { report } => Some(report),
            Self::Interrupted | Self::Unreachable { .. } => None,
        }
    }
}

/// An outcome without an attempt and without a wait.
#[derive(Clone, Copy, Debug)]
pub enum DirectOutcome<'a> {
    /// The step failed without another attempt ([`Fact::StepRefused`]).
    Refused(StepKind, &'a Failure),
    /// The outcome was copied from the original run ([`Fact::StepCarriedOver`]).
    CarriedOver(StepKind, &'a Outcome),
    /// The step sent events with these ids ([`Fact::EventsSent`]).
    EventsSent(&'a [EventId]),
}

/// What a step waits for.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "fields as in the fact of the same name")]
pub enum Wait<'a> {
    /// The step sleeps ([`Fact::SleepStarted`]).
    Sleep { until: Timestamp },
    /// The step waits for an event ([`Fact::EventAwaited`]).
    Event { wait: &'a EventWait, until: Timestamp },
    /// The step waits for a callback ([`Fact::SignalAwaited`]).
    Signal { until: Timestamp, heartbeat: Option<Duration> },
    /// The step waits for a called run ([`Fact::InvokeStarted`]).
    Run { function: &'a str, child: RunId, until: Option<Timestamp> },
}

/// How a wait ended.
#[derive(Clone, Copy, Debug)]
pub enum WaitEnd<'a> {
    /// A sleep is over ([`Fact::SleepEnded`]).
    SleepOver,
    /// A callback arrived ([`Fact::SignalReceived`]).
    Signal(&'a Json),
    /// The holder of the callback token reported a failure ([`Fact::SignalFailed`]).
    SignalFailed(&'a Failure),
    /// No heartbeat came in time ([`Fact::HeartbeatMissed`]).
    HeartbeatMissed(&'a Failure),
    /// The wait timed out ([`Fact::WaitExpired`]).
    Expired,
    /// A called run ended ([`Fact::InvokeEnded`]).
    Run(&'a Outcome),
}

impl Entry {
    /// Calls the method of the visitor for this entry.
    pub fn visit(&self, visitor: &mut impl FactVisitor) {
        let at = self.at;
        match &self.fact {
            Fact::RunCreated(run) => visitor.run_created(at, run),
            Fact::EventJoined { event, replaces, begins_at, closes } => {
                let (replaces, begins_at, closes) = (*replaces, *begins_at, *closes);
                visitor.start_changed(at, StartChange::EventJoined { event, replaces, begins_at, closes });
            }
            Fact::CollectingEnded => visitor.start_changed(at, StartChange::CollectingEnded),
            Fact::RunDelayed { begins_at } => {
                visitor.start_changed(at, StartChange::Delayed { begins_at: *begins_at });
            }
            Fact::RunAdmitted => visitor.start_changed(at, StartChange::Admitted),
            Fact::VersionChosen { version } => visitor.start_changed(at, StartChange::VersionChosen { version }),
            Fact::RunCompleted { .. }
            | Fact::RunFailed { .. }
            | Fact::RunCancelled { .. }
            | Fact::RunSkipped { .. } => {
                if let Some(end) = RunEnd::from(self) {
                    visitor.run_ended(&end);
                }
            }
            Fact::LogWritten { attempt, lines } => visitor.handler_logged(at, *attempt, lines),
            Fact::LabelsAdded { labels } => visitor.labels_added(at, labels),
            Fact::HandlerFailed { attempt, error, retry_at } => {
                visitor.handler_failed(at, *attempt, error, *retry_at);
            }
            Fact::StepStarted { step, attempt, lease_until, .. } => {
                visitor.attempt_started(at, step, *attempt, *lease_until);
            }
            Fact::StepSucceeded { step, attempt, output, report } => {
                visitor.attempt_ended(at, step, *attempt, AttemptEnd::Succeeded { output, report });
            }
            Fact::StepFailed { step, attempt, error, retry_at, report } => {
                let retry_at = *retry_at;
                visitor.attempt_ended(at, step, *attempt, AttemptEnd::Failed { error, retry_at, report });
            }
            Fact::AttemptInterrupted { step, attempt } => {
                visitor.attempt_ended(at, step, *attempt, AttemptEnd::Interrupted);
            }
            Fact::AttemptUnreachable { step, attempt, why, retry_at, .. } => {
                let end = AttemptEnd::Unreachable { why, retry_at: *retry_at };
                visitor.attempt_ended(at, step, *attempt, end);
            }
            Fact::ExecutorUnreachable { why } => visitor.executor_changed(at, Some(why)),
            Fact::ExecutorReached => visitor.executor_changed(at, None),
            Fact::CallStarted { call, .. } => visitor.executor_called(at, *call, None),
            Fact::CallEnded { call, interrupted } => visitor.executor_called(at, *call, Some(*interrupted)),
            Fact::StepAbandoned { step, attempt, report } => {
                visitor.attempt_ended(at, step, *attempt, AttemptEnd::Abandoned { report });
            }
            Fact::StepsWoken { steps, .. } => visitor.steps_woken(at, steps),
            Fact::StepRefused { step, error, kind } => {
                visitor.step_settled(at, step, DirectOutcome::Refused(kind.unwrap_or(StepKind::Run), error));
            }
            Fact::StepCarriedOver { step, kind, outcome } => {
                visitor.step_settled(at, step, DirectOutcome::CarriedOver(*kind, outcome));
            }
            Fact::EventsSent { step, ids } => visitor.step_settled(at, step, DirectOutcome::EventsSent(ids)),
            Fact::SleepStarted { step, until } => visitor.wait_started(at, step, Wait::Sleep { until: *until }),
            Fact::EventAwaited { step, wait, until } => {
                visitor.wait_started(at, step, Wait::Event { wait, until: *until });
            }
            Fact::SignalAwaited { step, until, heartbeat_ms } => {
                let heartbeat = heartbeat_ms.map(Duration::from_millis);
                visitor.wait_started(at, step, Wait::Signal { until: *until, heartbeat });
            }
            Fact::HeartbeatReceived { step } => visitor.wait_kept_open(at, step),
            Fact::HeartbeatMissed { step, error } => visitor.wait_ended(at, step, WaitEnd::HeartbeatMissed(error)),
            Fact::InvokeStarted { step, function, child, until, .. } => {
                visitor.wait_started(at, step, Wait::Run { function, child: *child, until: *until });
            }
            Fact::WaitSkipped { step } => visitor.wait_skipped(at, step.as_ref()),
            Fact::SleepEnded { step } => visitor.wait_ended(at, step, WaitEnd::SleepOver),
            Fact::SignalReceived { step, data } => visitor.wait_ended(at, step, WaitEnd::Signal(data)),
            Fact::SignalFailed { step, error } => visitor.wait_ended(at, step, WaitEnd::SignalFailed(error)),
            Fact::WaitExpired { step } => visitor.wait_ended(at, step, WaitEnd::Expired),
            Fact::InvokeEnded { step, outcome } => visitor.wait_ended(at, step, WaitEnd::Run(outcome)),
            Fact::EventDelivered { event, steps } => visitor.event_delivered(at, event, steps),
        }
    }
}
