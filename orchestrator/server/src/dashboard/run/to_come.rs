//! The next attempts of a step or a handler that waits for a retry, assuming that each attempt
//! fails immediately.

use stepladder_core::Timestamp;
use stepladder_core::retry::RetryPolicy;
use stepladder_engine::view::StepView;

use crate::dashboard::text::ShownTime;

/// The maximum number of attempts that are shown after the next one.
const MAX_SHOWN: usize = 8;

/// The next attempts of a step or a handler, assuming that each fails immediately.
pub(super) struct UpcomingAttempts {
    /// The number of the next attempt.
    pub(super) number: u32,
    /// The time of the next attempt.
    pub(super) next: ShownTime,
    /// The times of the attempts after the next one.
    pub(super) then: Vec<ShownTime>,
    /// The number of further attempts that are not shown.
    pub(super) more: u32,
    /// Whether the number of all attempts is known.
    is_known: bool,
}

/// The number of the next attempt, and the time when it is due.
pub(super) struct NextAttempt {
    pub(super) number: u32,
    pub(super) due: Timestamp,
}

impl UpcomingAttempts {
    /// Computes the attempts after `failures` failures, given the number and the time of the next
    /// attempt. If the function is not registered (`policy` is `None`), only the next attempt is
    /// known.
    pub(super) fn of(policy: Option<&RetryPolicy>, failures: u32, next: NextAttempt, most: usize) -> Self {
        let NextAttempt { number, due } = next;
        let all =
            policy.map(|policy| policy.upcoming_attempts(failures, due, most.min(MAX_SHOWN) + 1)).unwrap_or_default();
        let then: Vec<ShownTime> = all.iter().skip(1).map(|at| ShownTime::from_timestamp(*at)).collect();
        let left = policy.map_or(0, |policy| policy.retries.saturating_sub(failures));
        let more = left.saturating_sub(u32::try_from(then.len()).unwrap_or(u32::MAX));
        Self { number, next: ShownTime::from_timestamp(due), then, more, is_known: policy.is_some() }
    }

    /// Names the next attempt, such as `attempt 2 of 3`. The number of all attempts is that of the
    /// function; a step may have another.
    pub(super) fn which(&self) -> String {
        let Self { number, then, more, is_known, .. } = self;
        let later = u32::try_from(then.len()).unwrap_or(u32::MAX).saturating_add(*more);
        if *is_known {
            format!("attempt {number} of {}", number.saturating_add(later))
        } else {
            format!("attempt {number}")
        }
    }

    /// Computes the next attempts of a step that waits for a retry. If the step polls and its
    /// condition is not met yet, only the next attempt is known, because the step itself decides
    /// how often it polls.
    pub(super) fn of_step(step: &StepView, policy: Option<&RetryPolicy>, most: usize) -> Option<Self> {
        let (last, due) = (step.attempts.last()?, step.due?);
        let is_check = last.error.is_none() && !last.interrupted;
        let failures = step.attempts.iter().filter(|attempt| attempt.error.is_some()).count();
        let failures = u32::try_from(failures).unwrap_or(u32::MAX);
        Some(Self::of(
            policy.filter(|_| !is_check),
            failures,
            NextAttempt { number: last.attempt.saturating_add(1), due },
            most,
        ))
    }
}
