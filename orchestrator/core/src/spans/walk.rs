//! Finds the spans that end with a record.

use crate::journal::{Entry, Fact, Outcome, Record, StepKind};
use crate::report::AttemptReport;
use crate::spans::touched::TouchedSteps;
use crate::spans::{AttemptOutcome, Span, SpanDetail, StepEnd};
use crate::state::{RunEnd, RunState, Step, StepState};
use crate::trace::SpanOf;
use crate::{StepId, Timestamp};

/// Calls `visit` for each span that ends with a record. `before` is the state of the run before the
/// record.
pub fn walk(before: &RunState, record: &Record, visit: &mut dyn FnMut(Span<'_>)) {
    let mut walk =
        Walk { run: before, steps: TouchedSteps::new(before, &record.entries), last_at: before.last_at, visit };
    let mut has_started = before.first_run_at.is_some();
    for entry in &record.entries {
        if !has_started && entry.fact.starts_run() {
            has_started = true;
            let (start, end) = (before.ready_at().min(entry.at), entry.at);
            walk.emit(SpanOf::RunQueue, Some(SpanOf::Run), (start, end), SpanDetail::RunQueue);
        }
        walk.entry(entry, &record.entries);
        walk.steps.advance();
        walk.last_at = entry.at;
    }
}

struct Walk<'a, 'v> {
    run: &'a RunState,
    steps: TouchedSteps<'a>,
    /// The time of the entry before.
    last_at: Timestamp,
    visit: &'v mut dyn FnMut(Span<'_>),
}

/// The outcome of an attempt.
struct EndedAttempt<'e> {
    step: &'e StepId,
    number: u32,
    end: AttemptOutcome<'e>,
    report: Option<&'e AttemptReport>,
}

impl Walk<'_, '_> {
    fn emit(
        &mut self,
        of: SpanOf<'_>,
        parent: Option<SpanOf<'_>>,
        (start, end): (Timestamp, Timestamp),
        detail: SpanDetail<'_>,
    ) {
        // after a clock was set back, the end must not precede the start
        (self.visit)(Span { of, parent, start, end: end.max(start), detail });
    }

    fn entry(&mut self, entry: &Entry, record: &[Entry]) {
        let at = entry.at;
        match &entry.fact {
            Fact::StepStarted { step, attempt, .. } => self.start(step, *attempt, at),
            Fact::StepSucceeded { step, attempt, report, .. } => {
                let end = AttemptOutcome::Succeeded;
                self.end_attempt(at, EndedAttempt { step, number: *attempt, end, report: Some(report) });
                self.end_step(step, at, StepEnd::Succeeded);
            }
            Fact::StepFailed { step, attempt, error, retry_at, report } => {
                let end = match error.is_not_yet() {
                    true => AttemptOutcome::Checked,
                    false => AttemptOutcome::Failed(error, *retry_at),
                };
                self.end_attempt(at, EndedAttempt { step, number: *attempt, end, report: Some(report) });
                if retry_at.is_none() {
                    self.end_step(step, at, StepEnd::Failed(error));
                }
            }
            Fact::StepAbandoned { step, attempt, report } => {
                let end = AttemptOutcome::Abandoned;
                self.end_attempt(at, EndedAttempt { step, number: *attempt, end, report: Some(report) });
            }
            Fact::AttemptInterrupted { step, attempt } => {
                let end = AttemptOutcome::Interrupted;
                self.end_attempt(at, EndedAttempt { step, number: *attempt, end, report: None });
            }
            Fact::AttemptUnreachable { step, attempt, why, .. } => {
                let start = self.steps.get(step).map_or(at, |step| step.since);
                let detail =
                    SpanDetail::Attempt { number: *attempt, end: AttemptOutcome::Unreachable(why), report: None };
                // the next attempt has the same number
                self.emit(SpanOf::Unreachable(step, at), Some(SpanOf::Step(step)), (start, at), detail);
            }
            Fact::StepRefused { step, error, .. } => {
                self.interrupt(step, at);
                self.end_step(step, at, StepEnd::Failed(error));
            }
            Fact::SleepEnded { step } => self.end_step(step, at, StepEnd::Succeeded),
            Fact::SignalReceived { step, .. } if self.steps.get(step).is_some() => {
                self.end_step(step, at, StepEnd::Succeeded);
            }
            Fact::SignalFailed { step, error } if self.steps.get(step).is_some() => {
                self.end_step(step, at, StepEnd::Failed(error));
            }
            // the callback came before the step, which has its outcome as soon as it waits
            Fact::SignalReceived { .. } | Fact::SignalFailed { .. } => {}
            Fact::HeartbeatMissed { step, error } => self.end_step(step, at, StepEnd::Failed(error)),
            Fact::WaitExpired { step } => self.end_step(step, at, StepEnd::Expired),
            Fact::InvokeEnded { step, outcome } => {
                let end = match outcome {
                    Outcome::Value(_) => StepEnd::Succeeded,
                    Outcome::Failed(error) => StepEnd::Failed(error),
                };
                self.end_step(step, at, end);
            }
            Fact::EventDelivered { event, steps } => {
                steps.iter().for_each(|step| self.end_step(step, at, StepEnd::Received(event.id)));
            }
            Fact::EventsSent { step, ids } => {
                let detail = SpanDetail::Step { kind: StepKind::Send, end: StepEnd::Sent(ids.len()), called: None };
                self.emit(SpanOf::Step(step), Some(SpanOf::Run), (self.last_at, at), detail);
            }
            Fact::HandlerFailed { attempt, error, .. } => {
                self.emit(SpanOf::Handler(*attempt), Some(SpanOf::Run), (at, at), SpanDetail::Handler(error));
            }
            Fact::RunCompleted { .. }
            | Fact::RunFailed { .. }
            | Fact::RunCancelled { .. }
            | Fact::RunSkipped { .. } => {
                if let Some(end) = RunEnd::from(entry) {
                    self.end_run(&end, record);
                }
            }
            Fact::RunCreated(_)
            | Fact::EventJoined { .. }
            | Fact::CollectingEnded
            | Fact::RunDelayed { .. }
            | Fact::RunAdmitted
            | Fact::StepCarriedOver { .. }
            | Fact::StepsWoken { .. }
            | Fact::SleepStarted { .. }
            | Fact::InvokeStarted { .. }
            | Fact::EventAwaited { .. }
            | Fact::SignalAwaited { .. }
            | Fact::HeartbeatReceived { .. }
            | Fact::VersionChosen { .. }
            | Fact::LogWritten { .. }
            | Fact::LabelsAdded { .. }
            | Fact::WaitSkipped { .. }
            | Fact::CallStarted { .. }
            | Fact::CallEnded { .. }
            | Fact::ExecutorUnreachable { .. }
            | Fact::ExecutorReached => {}
        }
    }

    /// Reports what came before the start of an attempt: an attempt whose worker died, the delay of
    /// a retry, and the queue.
    fn start(&mut self, step: &StepId, attempt: u32, at: Timestamp) {
        self.interrupt(step, at);
        let mut wait = None;
        let due = match self.steps.get(step).as_deref().map(|step| (step.since, &step.state)) {
            Some((since, StepState::Retrying { retry_at, .. })) => {
                let due = (*retry_at).min(at).max(since);
                wait = Some((since, due)).filter(|_| due > since);
                due
            }
            Some((since, StepState::Wanted)) => since,
            // the step has been wanted since the outcome before, at the earliest
            None if self.run.first_run_at.is_some() => self.last_at,
            _ => at,
        };
        if let Some(times) = wait {
            self.emit(SpanOf::Wait(step, attempt), Some(SpanOf::Step(step)), times, SpanDetail::Wait);
        }
        if due < at {
            self.emit(SpanOf::Queue(step, attempt), Some(SpanOf::Step(step)), (due, at), SpanDetail::Queue);
        }
    }

    /// Reports a running attempt of the step as interrupted.
    fn interrupt(&mut self, step: &StepId, at: Timestamp) {
        let running = self.steps.get(step).filter(|step| matches!(step.state, StepState::Running { .. }));
        if let Some(number) = running.map(|running| running.attempt) {
            let end = AttemptOutcome::Interrupted;
            self.end_attempt(at, EndedAttempt { step, number, end, report: None });
        }
    }

    fn end_attempt(&mut self, at: Timestamp, ended: EndedAttempt<'_>) {
        let EndedAttempt { step, number, end, report } = ended;
        let start = self.steps.get(step).map_or(at, |step| step.since);
        let detail = SpanDetail::Attempt { number, end, report };
        self.emit(SpanOf::Attempt(step, number), Some(SpanOf::Step(step)), (start, at), detail);
    }

    fn end_step(&mut self, id: &StepId, at: Timestamp, end: StepEnd<'_>) {
        let (start, kind, called) = match self.steps.get(id) {
            Some(step) => (step.first_at, step.kind, called_run(&step)),
            None => (at, StepKind::Run, None),
        };
        self.emit(SpanOf::Step(id), Some(SpanOf::Run), (start, at), SpanDetail::Step { kind, end, called });
    }

    /// Reports the end of the run, and of all that was open in it.
    fn end_run(&mut self, end: &RunEnd, record: &[Entry]) {
        let run = self.run;
        let new = record.iter().filter_map(|entry| entry.fact.step());
        let mut seen = Vec::new();
        for id in new.filter(|id| !run.steps.contains_key(*id)) {
            if !seen.contains(&id) {
                seen.push(id);
                self.abandon(id, end.at);
            }
        }
        run.steps.keys().for_each(|id| self.abandon(id, end.at));
        self.emit(SpanOf::Run, None, (run.created_at, end.at), SpanDetail::Run(&end.how));
    }

    /// Reports a step without an outcome as abandoned.
    fn abandon(&mut self, id: &StepId, at: Timestamp) {
        let Some(step) = self.steps.get(id) else { return };
        let (since, number, mut running, mut at) = (step.since, step.attempt, false, at);
        match step.state {
            StepState::Done => return,
            StepState::Running { .. } => running = true,
            StepState::Abandoned => at = since,
            StepState::Wanted
            | StepState::Retrying { .. }
            | StepState::Sleeping { .. }
            | StepState::Invoking { .. }
            | StepState::Awaiting { .. } => {}
        }
        drop(step);
        if running {
            self.end_attempt(at, EndedAttempt { step: id, number, end: AttemptOutcome::Abandoned, report: None });
        }
        self.end_step(id, at, StepEnd::Abandoned);
    }
}

fn called_run(step: &Step) -> Option<crate::RunId> {
    match &step.state {
        StepState::Invoking { child, .. } => Some(*child),
        StepState::Wanted
        | StepState::Running { .. }
        | StepState::Retrying { .. }
        | StepState::Sleeping { .. }
        | StepState::Awaiting { .. }
        | StepState::Done
        | StepState::Abandoned => None,
    }
}
