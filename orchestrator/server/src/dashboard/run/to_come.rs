//! The attempts still to come of what waits to be tried again, as they would be if each failed at once.

use stepladder_core::Timestamp;
use stepladder_core::retry::RetryPolicy;
use stepladder_engine::view::StepView;

use crate::dashboard::text::Moment;

/// Attempts after the next one that are told, at most.
const MOST: usize = 8;

/// See the module.
pub(super) struct ToCome {
    /// The number and the time of the next attempt.
    pub(super) number: u32,
    pub(super) next: Moment,
    /// Those after it.
    pub(super) then: Vec<Moment>,
    /// How many more there are.
    pub(super) more: u32,
}

impl ToCome {
    /// After so many failures, with the number and the time of the next attempt; what is not known of a function that is
    /// not registered is left out.
    pub(super) fn of(
        policy: Option<&RetryPolicy>,
        failures: u32,
        (number, due): (u32, Timestamp),
        most: usize,
    ) -> Self {
        let all = policy.map(|policy| policy.upcoming(failures, due, most.min(MOST) + 1)).unwrap_or_default();
        let then: Vec<Moment> = all.iter().skip(1).map(|at| Moment::of(*at)).collect();
        let left = policy.map_or(0, |policy| policy.retries.saturating_sub(failures));
        let more = left.saturating_sub(u32::try_from(then.len()).unwrap_or(u32::MAX));
        Self { number, next: Moment::of(due), then, more }
    }

    /// Of a step that waits to be tried again. A check that found that it is not time yet is no failure: how often it is
    /// repeated is the step's to say, and not known here.
    pub(super) fn of_step(step: &StepView, policy: Option<&RetryPolicy>, most: usize) -> Option<Self> {
        let (last, due) = (step.attempts.last()?, step.due?);
        let is_check = last.error.is_none() && !last.interrupted;
        let failures = step.attempts.iter().filter(|attempt| attempt.error.is_some()).count();
        let failures = u32::try_from(failures).unwrap_or(u32::MAX);
        Some(Self::of(policy.filter(|_| !is_check), failures, (last.attempt.saturating_add(1), due), most))
    }
}
