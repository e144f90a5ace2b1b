//! Reads the steps, the handler errors and the log of a run from its journal.

use std::collections::HashMap;

use stepladder_core::journal::{
    AttemptEnd, DirectOutcome, FactVisitor, Failure, Outcome, Record, StepKind, Wait, WaitEnd,
};
use stepladder_core::report::{HandlerLogLine, LogLine};
use stepladder_core::signal::CallbackToken;
use stepladder_core::state::{RunState, StepState, WaitTarget, invoke_timeout};
use stepladder_core::{Entry, Event, Fact, StepId, Timestamp, json};

use super::{LogView, StepStatus, StepView};

/// What the journal of a run contains besides the state of the run.
#[derive(Default)]
pub(crate) struct RunTimeline {
    pub(crate) steps: Vec<StepView>,
    /// The index of each step in `steps`.
    index: HashMap<StepId, usize>,
    pub(crate) handler_errors: Vec<(Timestamp, Failure)>,
    pub(crate) logs: Vec<LogView>,
    /// The time of the entry before the one that is being read.
    previous: Option<Timestamp>,
}

impl RunTimeline {
    /// Reads a journal.
    pub(crate) fn from_records(state: &RunState, records: &[Record]) -> Self {
        let mut timeline = Self::default();
        for entry in records.iter().flat_map(|record| &record.entries) {
            entry.visit(&mut timeline);
            timeline.previous = Some(entry.at);
        }
        timeline.order_carried_steps(records);
        if let Some(end) = &state.end {
            timeline.steps.iter_mut().for_each(|step| step.stop_with_run(end.at));
        }
        for view in timeline.steps.iter_mut().filter(|_| state.end.is_none()) {
            let waiting = state.steps.get(&view.id).map(|step| &step.state);
            if let Some(StepState::Awaiting { what: WaitTarget::Signal(_), .. }) = waiting {
                view.token = Some(CallbackToken::new(state.run, state.secret, &view.id).to_string());
            }
        }
        timeline
    }

    /// Orders the steps that a rerun kept, which are its first ones: those of one name follow each
    /// other, by number. The journal has them in the order of their outcomes.
    fn order_carried_steps(&mut self, records: &[Record]) {
        let is_carried = |entry: &&Entry| matches!(entry.fact, Fact::StepCarriedOver { .. });
        let carried = records.iter().flat_map(|record| &record.entries).filter(is_carried).count();
        let count = carried.min(self.steps.len());
        let carried = &mut self.steps[..count];
        let mut places: HashMap<String, usize> = HashMap::new();
        for (place, step) in carried.iter().enumerate() {
            places.entry(name_and_number(&step.id).0.to_owned()).or_insert(place);
        }
        carried.sort_by_key(|step| {
            let (name, number) = name_and_number(&step.id);
            (places.get(name).copied(), number)
        });
    }

    /// Returns a step. Creates it when its first entry is read.
    fn step(&mut self, id: &StepId, kind: StepKind, at: Timestamp) -> &mut StepView {
        self.step_ready_at(id, kind, at, self.previous.unwrap_or(at))
    }

    fn step_ready_at(&mut self, id: &StepId, kind: StepKind, at: Timestamp, ready_at: Timestamp) -> &mut StepView {
        let index = *self.index.entry(id.clone()).or_insert_with(|| {
            self.steps.push(StepView::new(id.clone(), kind, ready_at, at));
            self.steps.len() - 1
        });
        &mut self.steps[index]
    }

    fn add_log(&mut self, at: Timestamp, step: Option<&StepId>, attempt: u32, line: &LogLine) {
        self.logs.push(LogView { at, step: step.cloned(), attempt, line: line.clone() });
    }
}

/// Returns the name of a step and its number among the steps of this name, from 0.
fn name_and_number(id: &StepId) -> (&str, u32) {
    let numbered = id.rsplit_once(':').and_then(|(name, number)| Some((name, number.parse().ok()?)));
    numbered.unwrap_or((id, 0))
}

impl FactVisitor for RunTimeline {
    fn handler_logged(&mut self, at: Timestamp, attempt: u32, lines: &[HandlerLogLine]) {
        lines.iter().for_each(|placed| self.add_log(at, None, attempt, &placed.line));
    }

    fn handler_failed(&mut self, at: Timestamp, _: u32, error: &Failure, _: Timestamp) {
        self.handler_errors.push((at, error.clone()));
    }

    fn attempt_started(&mut self, at: Timestamp, step: &StepId, attempt: u32, _: Timestamp) {
        self.step(step, StepKind::Run, at).start_attempt(at, attempt);
    }

    fn attempt_ended(&mut self, at: Timestamp, step: &StepId, attempt: u32, end: AttemptEnd<'_>) {
        let view = self.step(step, StepKind::Run, at);
        match end {
            AttemptEnd::Succeeded { output, .. } => {
                view.close_attempt(at, None, false);
                view.complete(at, Some(output.clone()));
            }
            AttemptEnd::Failed { error, retry_at, .. } => {
                // if a poll has no value yet, its check does not count as failed
                view.close_attempt(at, Some(error.clone()).filter(|error| !error.is_not_yet()), false);
                match retry_at {
                    Some(due) => (view.status, view.due) = (StepStatus::Retrying, Some(due)),
                    None => view.settle(at, &Outcome::Failed(error.clone())),
                }
            }
            // the attempt was not executed, so the next attempt has the same number
            AttemptEnd::Unreachable { retry_at, .. } => {
                view.attempts.pop();
                (view.status, view.due) = (StepStatus::Retrying, Some(retry_at));
            }
            AttemptEnd::Interrupted => {
                view.close_attempt(at, None, true);
                (view.status, view.due) = (StepStatus::Retrying, Some(at));
            }
            AttemptEnd::Abandoned { .. } => view.abandon(at),
        }
        if let Some(report) = end.report() {
            view.add_usage(report);
            report.lines.iter().for_each(|line| self.add_log(at, Some(step), attempt, line));
        }
    }

    fn steps_woken(&mut self, at: Timestamp, steps: &[StepId]) {
        for step in steps {
            self.step_ready_at(step, StepKind::Run, at, at);
        }
    }

    fn step_settled(&mut self, at: Timestamp, step: &StepId, outcome: DirectOutcome<'_>) {
        match outcome {
            DirectOutcome::Refused(kind, error) => {
                self.step(step, kind, at).settle(at, &Outcome::Failed(error.clone()));
            }
            DirectOutcome::CarriedOver(kind, outcome) => self.step(step, kind, at).settle(at, outcome),
            DirectOutcome::EventsSent(ids) => {
                self.step(step, StepKind::Send, at).complete(at, json::to_json(ids).ok());
            }
        }
    }

    fn wait_started(&mut self, at: Timestamp, step: &StepId, wait: Wait<'_>) {
        let kind = match wait {
            Wait::Sleep { .. } => StepKind::Sleep,
            Wait::Event { .. } => StepKind::Event,
            Wait::Signal { .. } => StepKind::Signal,
            Wait::Run { .. } => StepKind::Invoke,
        };
        let view = self.step(step, kind, at);
        (view.status, view.due, view.awaits, view.child) = match wait {
            Wait::Sleep { until } => (StepStatus::Sleeping, Some(until), None, None),
            Wait::Event { wait, until } => (StepStatus::Awaiting, Some(until), Some(wait.to_string()), None),
            Wait::Signal { until, heartbeat } => {
                let heartbeat = heartbeat.map(|every| format!(", with a heartbeat every {every:?}"));
                let awaits = format!("a signal{}", heartbeat.unwrap_or_default());
                (StepStatus::Awaiting, Some(until), Some(awaits), None)
            }
            Wait::Run { child, until, .. } => (StepStatus::Invoking, until, None, Some(child)),
        };
        if let Wait::Event { wait, .. } = wait {
            view.event_wait = Some(wait.clone());
        }
    }

    fn wait_skipped(&mut self, at: Timestamp, step: Option<&StepId>) {
        if let Some(index) = step.and_then(|step| self.index.get(step)) {
            self.steps[*index].due = Some(at);
        }
    }

    fn wait_ended(&mut self, at: Timestamp, step: &StepId, end: WaitEnd<'_>) {
        match end {
            WaitEnd::SleepOver => self.step(step, StepKind::Sleep, at).complete(at, None),
            WaitEnd::Signal(data) => self.step(step, StepKind::Signal, at).complete(at, Some(data.clone())),
            WaitEnd::SignalFailed(error) | WaitEnd::HeartbeatMissed(error) => {
                self.step(step, StepKind::Signal, at).settle(at, &Outcome::Failed(error.clone()));
            }
            WaitEnd::Expired => {
                let view = self.step(step, StepKind::Event, at);
                match view.kind == StepKind::Invoke {
                    true => view.settle(at, &Outcome::Failed(invoke_timeout(step))),
                    false => view.complete(at, None),
                }
            }
            WaitEnd::Run(outcome) => self.step(step, StepKind::Invoke, at).settle(at, outcome),
        }
    }

    fn event_delivered(&mut self, at: Timestamp, event: &Event, steps: &[StepId]) {
        let event = json::to_json(event).unwrap_or_else(|_| json::null());
        steps.iter().for_each(|step| self.step(step, StepKind::Event, at).complete(at, Some(event.clone())));
    }
}
