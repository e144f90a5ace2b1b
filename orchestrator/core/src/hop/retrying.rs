//! Decides whether a failed attempt of a step or of the handler is retried, and when.

use crate::Timestamp;
use crate::hop::active::ActiveHop;
use crate::hop::input::AdvisedFailure;
use crate::retry::{FailedAttempt, RetryPolicy};

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
