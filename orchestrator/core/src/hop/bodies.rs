//! Executing attempts: their timeouts, and how their results are handled.

use std::time::Duration;

use crate::bounds;
use crate::decide::ReadyStep;
use crate::hop::active::{ActiveHop, ActivePhase, Turn};
use crate::hop::effect::Effect;
use crate::hop::input::{AdvisedFailure, AttemptError, StepResult};
use crate::hop::progress::Body;
use crate::hop::retrying::{FailedTry, unknown_outcome};
use crate::hop::writing::{Ack, Draft, Next};
use crate::journal::{Entry, Fact, Failure};
use crate::retry::RetryAdvice;
use crate::state::RevealedOutcome;
use crate::{ErrorCode, Timestamp, WakeCause};

impl ActiveHop {
    /// Waits until an attempt ends, a timeout passes, or the time `due` is reached, at which a
    /// sleep may win a `select!`.
    pub(super) fn await_bodies(&mut self, due: Option<Timestamp>, turn: &mut Turn<'_>) -> ActivePhase {
        if due.is_some_and(|due| due <= turn.now()) {
            self.stop_expired(turn);
            return self.advance(turn);
        }
        self.await_bodies_in(ActivePhase::Running(due), due, turn)
    }

    /// Waits for attempts, in the given phase.
    pub(super) fn await_bodies_in(
        &mut self,
        phase: ActivePhase,
        due: Option<Timestamp>,
        turn: &mut Turn<'_>,
    ) -> ActivePhase {
        self.stop_expired(turn);
        let until = due.into_iter().chain(self.execution.no_expiry_before).min().unwrap_or(Timestamp::MAX);
        turn.emit(Effect::AwaitAttempts(until));
        phase
    }

    /// Stops the attempts that have reached their timeout. The attempts are searched only if one of
    /// them may have reached it, so that the end of each of many attempts costs the same.
    fn stop_expired(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now();
        if self.execution.no_expiry_before.is_none_or(|earliest| now < earliest) {
            return;
        }
        for (step, body) in &mut self.execution.bodies {
            if body.expires <= now && !body.is_stopped {
                body.is_stopped = true;
                turn.emit(Effect::Stop { step: step.clone(), timeout: body.ready.timeout });
            }
        }
        let live = self.execution.bodies.values().filter(|body| !body.is_stopped);
        self.execution.no_expiry_before = live.map(|body| body.expires).min();
    }

    /// Handles ended attempts.
    ///
    /// If no other attempt is executing here and each outcome is final, the function sees the
    /// outcomes before they are written. Then whatever follows from them (the start of the next
    /// step, the end of the run) is part of the same write. A conflict loses nothing: the execution
    /// is dropped, and the function is replayed from the journal.
    pub(super) fn outcomes(&mut self, results: Vec<StepResult>, turn: &mut Turn<'_>) -> ActivePhase {
        let mut draft = self.draft_of(results, turn);
        // this comes before the function sees the outcomes; each outcome is also checked against
        // the earlier ones in this write
        draft.entries = bounds::fit_entries(&self.run, draft.entries);
        if draft.entries.is_empty() {
            // no attempt ended, but the function made progress by itself
            return self.advance(turn);
        }
        let is_final = |entry: &Entry| RevealedOutcome::from(entry).is_some();
        if self.execution.bodies.is_empty() && draft.entries.iter().all(is_final) {
            return self.poll(draft, turn);
        }
        // if there are only failures with a later retry, their wakes are written and this wake is
        // acknowledged; but while an attempt of another process is running, its lease must still be
        // watched (rule 10)
        let alone = self.execution.bodies.is_empty() && self.running_attempts() == draft.entries.len();
        let ack = match alone && !self.is_early() && !draft.entries.iter().any(is_final) {
            true => Ack::Now,
            false => Ack::Later,
        };
        self.write(draft, ack, Next::Outcomes(ack), turn)
    }

    /// Returns the entries of ended attempts, with the releases of their slots and the wakes of
    /// their retries.
    pub(super) fn draft_of(&mut self, results: Vec<StepResult>, turn: &mut Turn<'_>) -> Draft {
        let mut draft = Draft { after: self.debts.take_releases(), ..Draft::default() };
        for result in results {
            let Some(body) = self.execution.bodies.remove(&result.step) else { continue };
            draft.after.extend(self.releases_of(&result.step, body.ready.attempt));
            self.execution.took.insert(result.step.clone(), turn.now().since(body.began));
            let entry = self.outcome(*body, result, turn.now(), &mut draft);
            draft.entries.push(entry);
        }
        draft
    }

    /// Returns the entry for a result. Adds the wake of its retry to the draft (rule 11).
    pub(super) fn outcome(&self, body: Body, result: StepResult, now: Timestamp, draft: &mut Draft) -> Entry {
        let StepResult { step, result, report } = result;
        let error = match result {
            Ok(output) => {
                return Fact::StepSucceeded { step, attempt: body.ready.attempt, output, report }.into_entry(now);
            }
            Err(error) => match unknown_outcome(&body, &error).ok_or(error) {
                Ok(unknown) => AdvisedFailure { failure: unknown, retry: RetryAdvice::Never },
                Err(AttemptError::Unreachable(why) | AttemptError::Lost(why)) => {
                    return self.take_back(&body, &why, now, draft);
                }
                Err(AttemptError::Failed(failure)) => failure,
            },
        };
        let ReadyStep { attempt, failures, poll, policy, woken, .. } = body.ready;
        let seed = self.seed(&step, attempt);
        let (failure, retry_at) = match poll {
            Some((poll, checks, began)) if error.failure.is_not_yet() => {
                let checks = checks.saturating_add(1);
                match poll.next_check(checks, began, now, seed) {
                    // a configured retry delay must not move this attempt beyond its due time
                    Some(due) => (error.failure, Some((now + self.retry_wait(due.since(now))).min(due))),
                    None => (timed_out(&step, poll.timeout, checks), None),
                }
            }
            Some(_) | None => {
                let (step, failures) = (Some(&*step), failures + 1);
                let retry_at =
                    self.retry_at(FailedTry { step, attempt, failures, policy: &policy, error: &error }, now);
                (error.failure, retry_at)
            }
        };
        if let Some(due) = retry_at {
            let cause = if woken { WakeCause::Step(step.clone()) } else { WakeCause::Due };
            draft.before.push(self.wake_at(cause, due, now));
        }
        Fact::StepFailed { step, attempt, error: failure, retry_at, report }.into_entry(now)
    }
}

fn timed_out(step: &str, timeout: Duration, checks: u32) -> Failure {
    Failure::with_code(
        format!("step `{step}` waited in vain: {checks} checks within {timeout:?} found that it is not time yet"),
        ErrorCode::PollTimeout,
    )
}
