//! Decides whether a failed attempt of a step or of the handler is retried, and when.
//!
//! A step that starts at most once is never retried after an attempt with an unknown outcome: its
//! body may have taken effect. An error that the body returned is an outcome.

use crate::decide::{ReadyStep, outcome_unknown};
use crate::hop::active::ActiveHop;
use crate::hop::input::{AdvisedFailure, AttemptError};
use crate::hop::progress::Body;
use crate::retry::{FailedAttempt, RetryPolicy};
use crate::sentence::shortened;
use crate::{ErrorCode, Failure, Timestamp};

/// A failed attempt of a step or of the handler.
#[derive(Clone, Copy, Debug)]
pub(super) struct FailedTry<'a> {
    /// The step; `None` for the handler.
    pub(super) step: Option<&'a str>,
    /// The number of the attempt. Interrupted attempts are counted too.
    pub(super) attempt: u32,
    /// The number of failed attempts, including this one.
    pub(super) failures: u32,
    /// The retries of the step or of the handler.
    pub(super) policy: &'a RetryPolicy,
    /// The failure, with the advice of its error.
    pub(super) error: &'a AdvisedFailure,
}

/// Returns the failure of an attempt of a step that starts at most once, if its body may have taken
/// effect without an outcome: it was stopped at its timeout, or its executor lost it.
pub(super) fn unknown_outcome(body: &Body, error: &AttemptError) -> Option<Failure> {
    let ReadyStep { step, timeout, at_most_once: true, .. } = &body.ready else { return None };
    match error {
        AttemptError::Unreachable(_) => None,
        AttemptError::Lost(lost) => {
            let what = format_args!("lost the connection to its executor: {}", shortened(&lost.why));
            Some(outcome_unknown(step, what))
        }
        AttemptError::Failed(error) if body.is_stopped || error.failure.code == Some(ErrorCode::Timeout) => {
            Some(outcome_unknown(step, format_args!("ran past its time-out of {timeout:?}")))
        }
        AttemptError::Failed(_) => None,
    }
}

impl ActiveHop {
    /// Returns when the next attempt starts; `None` if the failure is final.
    pub(super) fn retry_at(&self, failed: FailedTry<'_>, now: Timestamp) -> Option<Timestamp> {
        let FailedTry { step, attempt, failures, policy, error } = failed;
        let (name, advice) = (error.failure.name.as_deref(), error.retry);
        let seed = self.seed(step.unwrap_or_default(), attempt);
        let delay = policy.next_delay(FailedAttempt { failures, name, advice }, seed)?;
        Some(now + self.retry_wait(delay))
    }
}
