//! Handles what a function requests, and how it ends.

use std::collections::HashSet;

use crate::decide::{self, Want};
use crate::hop::active::{ActiveHop, ActivePhase, Turn};
use crate::hop::effect::{Effect, LogEvent};
use crate::hop::ending::{EndWrites, needs_finishing_work};
use crate::hop::executed::ExecutedSteps;
use crate::hop::input::{AdvisedFailure, PollResult, Polled};
use crate::hop::registering::Registering;
use crate::hop::retrying::FailedTry;
use crate::hop::writing::{Ack, Draft, Next};
use crate::journal::{Entry, Fact, Failure};
use crate::limits::{NAME_CHARS, OUTCOME_BYTES};
use crate::report::AttemptReport;
use crate::sentence::shortened;
use crate::state::RunEnd;
use crate::{ErrorCode, Json, StepId, Timestamp, WakeCause};

impl ActiveHop {
    /// Continues the open execution, unless the run has ended in the meantime.
    pub(super) fn advance(&mut self, turn: &mut Turn<'_>) -> ActivePhase {
        if self.run.end.is_some() {
            return self.drain(turn);
        }
        if self.must_check_inbox() {
            turn.emit(Effect::ReadInbox);
            return ActivePhase::Inbox { is_open: true };
        }
        let entries = if self.function.executes_in_poll { self.ended_sleeps(turn.now()) } else { Vec::new() };
        self.poll(Draft::of(entries), turn)
    }

    /// Polls the function, and reveals outcomes: those of the draft before they are written, or
    /// those that were added to the journal.
    pub(super) fn poll(&mut self, ahead: Draft, turn: &mut Turn<'_>) -> ActivePhase {
        match self.function.executes_in_poll {
            // the outcomes are written with the start of the call
            true => self.admit_call(ahead, turn),
            false => self.emit_poll(ahead, turn),
        }
    }

    pub(super) fn emit_poll(&mut self, ahead: Draft, turn: &mut Turn<'_>) -> ActivePhase {
        let mut revealed = self.run.outcomes[self.execution.shown.min(self.run.outcomes.len())..].to_vec();
        self.execution.shown = self.run.outcomes.len();
        revealed.extend(ahead.entries.iter().flat_map(crate::state::RevealedOutcome::from_entry));
        turn.emit(Effect::Poll(revealed));
        ActivePhase::Polling(ahead)
    }

    /// Handles the result of a poll. `draft` contains the outcomes that the function saw before
    /// they were written.
    pub(super) fn on_polled(&mut self, polled: Polled, mut draft: Draft, turn: &mut Turn<'_>) -> ActivePhase {
        let Polled { result, dropped, lines, labels, orphans, executed, .. } = polled;
        let call = self.execution.call;
        self.end_call(&mut draft, turn);
        let mut executed = self.add_executed(executed, call, &mut draft, turn);
        self.execution.log.extend(lines);
        self.execution.log.add_labels(labels);
        draft.after.extend(self.debts.take_releases());
        self.execution.dropped.extend(dropped);
        self.abandon_dropped(&mut draft, turn);
        draft.entries.extend(self.reached(turn.now()));
        match result {
            PollResult::Ended(result) => {
                self.abandon_rest(&mut draft, turn);
                if !orphans.is_empty() {
                    turn.log(LogEvent::Orphans(orphans));
                }
                match executed.fault.take() {
                    Some(error) => self.fail_run(error, draft, turn),
                    None => self.end(result, draft, turn),
                }
            }
            PollResult::Wanted(wants) => self.decide(wants, executed, draft, turn),
        }
    }

    /// Decides what happens to the steps that the function waits for.
    fn decide(
        &mut self,
        mut wants: Vec<Want>,
        executed: ExecutedSteps,
        draft: Draft,
        turn: &mut Turn<'_>,
    ) -> ActivePhase {
        let ExecutedSteps { recorded, open, has_outcome, fault, .. } = executed;
        let fault = fault.or_else(|| wants.iter().find_map(name_fault));
        if let Some(error) = fault.or_else(|| repeated_step(&wants)) {
            return self.fail_run(error, draft, turn);
        }
        let has_outcome = has_outcome || (self.function.executes_in_poll && self.has_news(&wants));
        if has_outcome && wants.iter().all(|want| self.run.steps.contains_key(&want.step)) {
            // the function may want something else once it sees the outcomes
            return self.poll(draft, turn);
        }
        let missing: Vec<Want> = open.into_iter().filter(|want| wants.iter().all(|w| w.step != want.step)).collect();
        wants.extend(missing);
        // the journal does not contain the entries of the draft, so their steps are decided later
        let unrecorded = wants.iter().filter(|want| !recorded.contains(&want.step));
        let plan = decide::plan(&self.run, unrecorded, self.situation(&draft.entries, turn.now()));
        self.notice(&plan, turn.now());
        let wants = if self.function.executes_in_poll { wants } else { Vec::new() };
        self.register(Registering::of(plan, draft, wants), turn)
    }

    /// Decides about these steps again, without another poll. Polls if the function may see
    /// something new.
    pub(super) fn decide_again(&mut self, wants: Vec<Want>, turn: &mut Turn<'_>) -> ActivePhase {
        if self.must_check_inbox() || wants.iter().any(|want| self.has_become_due(want, turn.now())) {
            return self.advance(turn);
        }
        self.decide(wants, ExecutedSteps::default(), Draft::default(), turn)
    }

    /// Returns whether a retry has become due since this hop last called the executor. Such a retry
    /// belongs to the executor: another hop may call it meanwhile, and it would execute a step that
    /// this hop has started. A retry that was due before is one that the executor has listed.
    fn has_become_due(&self, want: &Want, now: Timestamp) -> bool {
        let Some(step) = self.run.steps.get(&want.step) else { return false };
        step.is_retry_due(now) && self.progress.due_at_call.get(&want.step) != Some(&step.attempt)
    }

    /// Notes which retries are due at the start of a call.
    pub(super) fn note_due_retries(&mut self, now: Timestamp) {
        let due = self.run.steps.iter().filter(|(_, step)| step.is_retry_due(now));
        self.progress.due_at_call = due.map(|(id, step)| (id.clone(), step.attempt)).collect();
    }

    fn fail_run(&mut self, error: Failure, mut draft: Draft, turn: &mut Turn<'_>) -> ActivePhase {
        draft.entries.push(Fact::RunFailed { error }.into_entry(turn.now()));
        self.write(draft, Ack::Later, Next::Show, turn)
    }

    /// Abandons attempts that the function dropped while they were executing (`select!`).
    pub(super) fn abandon_dropped(&mut self, draft: &mut Draft, turn: &mut Turn<'_>) {
        for (step, report) in std::mem::take(&mut self.execution.dropped) {
            self.abandon(step, report, draft, turn);
        }
    }

    /// Abandons the attempts of a function that has ended, because it has not seen their outcomes.
    fn abandon_rest(&mut self, draft: &mut Draft, turn: &mut Turn<'_>) {
        let rest: Vec<StepId> = self.execution.bodies.keys().cloned().collect();
        rest.into_iter().for_each(|step| self.abandon(step, AttemptReport::default(), draft, turn));
    }

    fn abandon(&mut self, step: StepId, report: AttemptReport, draft: &mut Draft, turn: &mut Turn<'_>) {
        let Some(body) = self.execution.bodies.remove(&step) else { return };
        let attempt = body.ready.attempt;
        draft.after.extend(self.releases_of(&step, attempt));
        draft.entries.push(Fact::StepAbandoned { step, attempt, report }.into_entry(turn.now()));
    }

    /// Writes the end of the run, or schedules the handler's next attempt.
    fn end(&mut self, result: Result<Json, AdvisedFailure>, mut draft: Draft, turn: &mut Turn<'_>) -> ActivePhase {
        let last = self.last_fact(result, &mut draft, turn);
        let last: Entry = last.into_entry(turn.now());
        let end = RunEnd::from(&last);
        draft.entries.push(last);
        let Some(end) = end else { return self.write(draft, Ack::Now, Next::LeaveOrKeep, turn) };
        // if the end needs more than this write, a later write marks the row as ended and
        // acknowledges the wake, because the watchdog ignores a run with a row that shows the end
        if needs_finishing_work(self, &end) {
            return self.write(draft, Ack::Later, Next::RoundOrKeep, turn);
        }
        let EndWrites { after, wakes } = EndWrites::of(&self.run, &end, &self.catalog);
        draft.after.extend(after);
        draft.wakes.extend(wakes);
        self.write(draft, Ack::Now, Next::LeaveOrKeep, turn)
    }

    fn last_fact(&mut self, result: Result<Json, AdvisedFailure>, draft: &mut Draft, turn: &mut Turn<'_>) -> Fact {
        let error = match result {
            Ok(output) if output.get().len() > OUTCOME_BYTES => {
                let message = format!(
                    "the function returned {} bytes; at most {OUTCOME_BYTES} are allowed, return a reference to them",
                    output.get().len()
                );
                return Fact::RunFailed { error: Failure::with_code(message, ErrorCode::TooLarge) };
            }
            Ok(output) => return Fact::RunCompleted { output },
            Err(failure) => failure,
        };
        let attempt = self.run.handler_attempt();
        let policy = &self.spec().retry;
        let failed = FailedTry { step: None, attempt, failures: attempt, policy, error: &error };
        match self.retry_at(failed, turn.now()) {
            None => Fact::RunFailed { error: error.failure.bounded() },
            Some(retry_at) => {
                draft.before.push(self.wake_at(WakeCause::Due, retry_at, turn.now()));
                Fact::HandlerFailed { attempt, error: error.failure.bounded(), retry_at }
            }
        }
    }
}

/// Returns a failure if the id of a step is too long. An id may consist of a name and a number. The
/// core checks this for every front end, not only for the SDK.
pub(super) fn name_fault(want: &Want) -> Option<Failure> {
    let most = NAME_CHARS + 16;
    let is_too_long = want.step.chars().nth(most).is_some();
    let message = || format!("the step `{}` has too long a name", shortened(&want.step));
    is_too_long.then(|| Failure::with_code(message(), ErrorCode::BadStepName))
}

/// Returns a failure if a step is wanted twice at once. Its entries would contradict each other,
/// and the run would be decided again without end.
fn repeated_step(wants: &[Want]) -> Option<Failure> {
    if wants.len() < 2 {
        return None;
    }
    let mut steps = HashSet::with_capacity(wants.len());
    let repeated = wants.iter().find(|want| !steps.insert(&want.step))?;
    let message = format!("nondeterminism: the code asks for {repeated} twice at once; give each step its own id");
    Some(Failure::with_code(message, ErrorCode::Nondeterminism))
}
