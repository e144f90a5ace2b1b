//! Retries: how often a failed attempt is repeated, and how long to wait before each retry.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// The number of retries by default: 4, which makes 5 attempts in all.
pub const DEFAULT_RETRIES: u32 = 4;

/// Delays of [`Backoff::Default`] in seconds. The last one repeats.
const DELAYS: [u64; 10] = [15, 30, 60, 120, 300, 600, 1_200, 2_400, 3_600, 7_200];

/// The waits between attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Backoff {
    /// 15 s, 30 s, 1 m, 2 m, 5 m, 10 m, 20 m, 40 m, 1 h, then 2 h each. Jitter adds up to a tenth.
    #[default]
    Default,
    /// The same wait each time, without jitter.
    Fixed(Duration),
    /// Doubles from `first` to at most `max`. Jitter adds up to a tenth.
    #[non_exhaustive]
    Exponential {
        /// The wait before the first retry.
        first: Duration,
        /// The longest wait, without jitter.
        max: Duration,
    },
}

impl From<Duration> for Backoff {
    /// Waits equally long before each retry.
    fn from(wait: Duration) -> Self {
        Self::Fixed(wait)
    }
}

impl Backoff {
    /// Creates [`Backoff::Exponential`]: the wait doubles from `first` to at most `max`.
    pub const fn exponential(first: Duration, max: Duration) -> Self {
        Self::Exponential { first, max }
    }

    /// Returns the longest wait, without jitter.
    pub fn longest(&self) -> Duration {
        match self {
            Self::Default => Duration::from_secs(DELAYS[DELAYS.len() - 1]),
            Self::Fixed(wait) | Self::Exponential { max: wait, .. } => *wait,
        }
    }

    /// Returns the wait after failure number `failures`, counted from 1. The jitter depends on
    /// `seed` only.
    pub fn delay(&self, failures: u32, seed: u64) -> Duration {
        let nth = failures.saturating_sub(1);
        let plain = match self {
            Self::Default => Duration::from_secs(DELAYS[(nth as usize).min(DELAYS.len() - 1)]),
            Self::Fixed(wait) => return *wait,
            Self::Exponential { first, max } => first.saturating_mul(2_u32.saturating_pow(nth)).min(*max),
        };
        // The top 53 bits of the seed, as a fraction of a tenth.
        plain + plain.mul_f64((seed >> 11) as f64 / (1_u64 << 53) as f64 / 10.0)
    }
}

/// The advice of an error on whether and when to retry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RetryAdvice {
    /// Retry after the usual wait, while retries are left.
    #[default]
    Default,
    /// Do not retry: the next attempt would fail in the same way.
    Never,
    /// Retry after this wait, while retries are left.
    After(Duration),
}

/// How often a step or a handler is retried, and after which waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Maximum number of retries after the first attempt.
    pub retries: u32,
    /// The waits between attempts.
    pub backoff: Backoff,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { retries: DEFAULT_RETRIES, backoff: Backoff::Default }
    }
}

impl RetryPolicy {
    /// Returns the wait before the next attempt; `None` if there is no further attempt. `failures`
    /// counts the failed attempts, and `retry` is the advice of the last failure.
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
    /// Returns when the attempts still to come would start if each one failed at once, without
    /// jitter.
    ///
    /// So far `failures` attempts have failed, and the next one starts at `next`. Returns at most
    /// `most` times.
    pub fn upcoming(&self, failures: u32, next: Timestamp, most: usize) -> Vec<Timestamp> {
        let following = |(at, failures): &(Timestamp, u32)| {
            let failures = failures.saturating_add(1);
            (failures <= self.retries).then(|| (*at + self.backoff.delay(failures, 0), failures))
        };
        std::iter::successors(Some((next, failures)), following).map(|(at, _)| at).take(most).collect()
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
    fn one_attempt_is_upcoming_for_each_retry_that_is_left() {
        let (policy, next) = (RetryPolicy::default(), Timestamp::from_millis(0));
        let seconds = |failures, most| -> Vec<i64> {
            policy.upcoming(failures, next, most).iter().map(|at| at.as_millis() / 1_000).collect()
        };
        assert_eq!(seconds(1, 10), [0, 30, 90, 210], "the second attempt, then 30 s, 1 m and 2 m later");
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
