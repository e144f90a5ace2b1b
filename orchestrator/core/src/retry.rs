//! Retries: how many, and how long to wait before each.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// How many times a failed attempt is repeated unless told otherwise: 4, so 5 attempts in all.
pub const DEFAULT_RETRIES: u32 = 4;

/// Delays of [`Backoff::Default`] in seconds; the last repeats.
const DELAYS: [u64; 10] = [15, 30, 60, 120, 300, 600, 1_200, 2_400, 3_600, 7_200];

/// The waits between attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Backoff {
    /// 15 s, 30 s, 1 m, 2 m, 5 m, 10 m, 20 m, 40 m, 1 h, then 2 h each; up to a tenth more as jitter.
    #[default]
    Default,
    /// The same wait each time, without jitter.
    Fixed(Duration),
    /// Doubles from `first` to at most `max`; up to a tenth more as jitter.
    Exponential {
        /// The wait before the first retry.
        first: Duration,
        /// No wait is longer.
        max: Duration,
    },
}

impl From<Duration> for Backoff {
    /// The same wait each time.
    fn from(wait: Duration) -> Self {
        Self::Fixed(wait)
    }
}

impl Backoff {
    /// The wait that the others grow to, without jitter.
    pub fn longest(&self) -> Duration {
        match self {
            Self::Default => Duration::from_secs(DELAYS[DELAYS.len() - 1]),
            Self::Fixed(wait) | Self::Exponential { max: wait, .. } => *wait,
        }
    }

    /// The wait after failure number `failures` (from 1). `seed` decides the jitter: the same seed, the same wait.
    pub fn delay(&self, failures: u32, seed: u64) -> Duration {
        let nth = failures.saturating_sub(1);
        let plain = match self {
            Self::Default => Duration::from_secs(DELAYS[(nth as usize).min(DELAYS.len() - 1)]),
            Self::Fixed(wait) => return *wait,
            Self::Exponential { first, max } => first.saturating_mul(2_u32.saturating_pow(nth)).min(*max),
        };
        // the top of the seed's bits as a fraction of a tenth
        plain + plain.mul_f64((seed >> 11) as f64 / (1_u64 << 53) as f64 / 10.0)
    }
}

/// What an error says of trying again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RetryAdvice {
    /// Try again after the usual wait, while retries are left.
    #[default]
    Default,
    /// Do not: it would fail the same way.
    Never,
    /// Try again after this long, while retries are left.
    After(Duration),
}

/// How often and after how long a step, or a handler, is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Repetitions after the first attempt.
    pub retries: u32,
    /// The waits between.
    pub backoff: Backoff,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { retries: DEFAULT_RETRIES, backoff: Backoff::Default }
    }
}

impl RetryPolicy {
    /// The wait before the next attempt after `failures` failures of which the last said `retry`; `None` when it was
    /// the last.
    pub fn next_delay(&self, failures: u32, retry: RetryAdvice, seed: u64) -> Option<Duration> {
        match retry {
            RetryAdvice::Never => None,
            _ if failures > self.retries => None,
            RetryAdvice::Default => Some(self.backoff.delay(failures, seed)),
            RetryAdvice::After(wait) => Some(wait),
        }
    }
}

impl RetryPolicy {
    /// When the attempts still to come would begin if each failed at once: after `failures` failures the next one comes at
    /// `next`. Without jitter; the first `most` of them.
    pub fn upcoming(&self, failures: u32, next: Timestamp, most: usize) -> Vec<Timestamp> {
        let begins = |(at, failures): &(Timestamp, u32)| {
            let failures = failures.saturating_add(1);
            (failures <= self.retries).then(|| (*at + self.backoff.delay(failures, 0), failures))
        };
        std::iter::successors(Some((next, failures)), begins).map(|(at, _)| at).take(most).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_waits_are_the_documented_ones() {
        let waits: Vec<u64> = (1..=12).map(|n| Backoff::Default.delay(n, 0).as_secs()).collect();
        assert_eq!(waits, [15, 30, 60, 120, 300, 600, 1200, 2400, 3600, 7200, 7200, 7200]);
    }

    #[test]
    fn jitter_adds_at_most_a_tenth() {
        let longest = Backoff::Default.delay(1, u64::MAX);
        assert!(longest > Duration::from_millis(16_499) && longest <= Duration::from_millis(16_500));
    }

    #[test]
    fn exponential_waits_double_up_to_the_longest() {
        let b = Backoff::Exponential { first: Duration::from_secs(1), max: Duration::from_secs(5) };
        assert_eq!((1..=5).map(|n| b.delay(n, 0).as_secs()).collect::<Vec<_>>(), [1, 2, 4, 5, 5]);
        assert_eq!(b.delay(u32::MAX, 0).as_secs(), 5);
    }

    #[test]
    fn attempts_still_to_come_are_as_many_as_there_are_retries_left() {
        let (policy, next) = (RetryPolicy::default(), Timestamp::from_millis(0));
        let seconds = |failures, most| -> Vec<i64> {
            policy.upcoming(failures, next, most).iter().map(|at| at.as_millis() / 1_000).collect()
        };
        assert_eq!(seconds(1, 10), [0, 30, 90, 210], "the second attempt, and those after 30 s, 1 m, 2 m");
        assert_eq!(seconds(4, 10), [0], "the last one");
        assert_eq!(seconds(0, 10).len(), 5, "an interruption uses no retry up");
        assert_eq!(seconds(1, 2), [0, 30]);
    }

    #[test]
    fn retries_run_out_and_terminal_errors_never_retry() {
        let policy = RetryPolicy { retries: 2, backoff: Backoff::Fixed(Duration::from_secs(1)) };
        assert_eq!(policy.next_delay(2, RetryAdvice::Default, 0), Some(Duration::from_secs(1)));
        assert_eq!(policy.next_delay(3, RetryAdvice::Default, 0), None);
        assert_eq!(policy.next_delay(1, RetryAdvice::Never, 0), None);
        assert_eq!(policy.next_delay(1, RetryAdvice::After(Duration::from_secs(9)), 0), Some(Duration::from_secs(9)));
        assert_eq!(policy.next_delay(3, RetryAdvice::After(Duration::from_secs(9)), 0), None);
    }
}
