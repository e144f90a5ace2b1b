//! Fails a body that does not stop at its timeout (rule 29). A supervisor on a separate thread does
//! this in place of the hop, because the thread of the hop may be blocked.

use crate::decide::{ReadyStep, outcome_unknown};
use crate::hop::effect::{LateWrite, Write};
use crate::hop::{Worker, later};
use crate::journal::{Fact, Failure};
use crate::report::AttemptReport;
use crate::retry::{FailedAttempt, RetryAdvice};
use crate::slot::{Holder, Limit};
use crate::state::{RunState, StepState};
use crate::{ErrorCode, Timestamp, Wake, WakeCause};

/// An attempt with a body that has not stopped at its timeout.
#[derive(Clone, Copy, Debug)]
pub struct OverdueAttempt<'a> {
    /// The step with its attempt, its failures so far and its retries.
    pub ready: &'a ReadyStep,
    /// The holder of the attempt's slots.
    pub holder: &'a Holder,
    /// The limits on the steps of the run.
    pub limits: &'a [Limit],
    /// The worker that executes the attempt.
    pub worker: &'a Worker,
    /// The end of the attempt's lease, as the journal records it.
    pub lease_until: Timestamp,
}

impl OverdueAttempt<'_> {
    /// Returns the write that fails the attempt; `None` if the attempt is no longer the running
    /// one. The write contains the failure, the release of the slots, and the wake of the retry or
    /// of the next step. `seed` determines the jitter of the retry.
    pub fn fail(&self, run: &RunState, now: Timestamp, seed: u64) -> Option<Write> {
        if !self.is_running(run) {
            return None;
        }
        let ReadyStep { step, attempt, failures, timeout, policy, woken, at_most_once, .. } = self.ready;
        let what = format!("ran past its time-out of {timeout:?} and did not stop: it blocks its thread");
        let (error, advice) = match at_most_once {
            true => (outcome_unknown(step, what), RetryAdvice::Never),
            false => {
                let message = format!("step `{step}` {what}; put blocking code into stepladder::blocking");
                (Failure::with_code(message, ErrorCode::Timeout), RetryAdvice::Default)
            }
        };
        let failed = FailedAttempt { failures: failures + 1, name: None, advice };
        let delay = policy.next_delay(failed, seed);
        let retry_at = delay.map(|delay| now + self.worker.retry_delay.unwrap_or(delay));
        let cause = if *woken { WakeCause::Step(step.clone()) } else { WakeCause::Due };
        let wake = Wake { run: run.run, cause, group: run.created.function.clone() };
        // what the body has reported cannot be read, because its thread is blocked
        let report = AttemptReport::default();
        let failed = Fact::StepFailed { step: step.clone(), attempt: *attempt, error, retry_at, report };
        let release = |limit: &Limit| LateWrite::Release { limit: limit.clone(), holder: self.holder.clone() };
        Some(Write {
            before: vec![later(wake, retry_at.unwrap_or(now), now, self.worker.max_delay)],
            entries: vec![failed.into_entry(now)],
            after: self.limits.iter().map(release).collect(),
            ..Write::default()
        })
    }

    /// Returns whether the journal shows this attempt as running. The number does not suffice:
    /// after an attempt was taken back, because its executor could not be reached, the next one has
    /// the same number.
    fn is_running(&self, run: &RunState) -> bool {
        let ReadyStep { step, attempt, .. } = self.ready;
        run.steps.get(step).is_some_and(|step| match &step.state {
            StepState::Running { lease_until, worker } => {
                (step.attempt, *lease_until) == (*attempt, self.lease_until) && *worker == self.worker.process
            }
            _ => false,
        })
    }
}
