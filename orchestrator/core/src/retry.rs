//! Retries: how often a failed attempt is repeated, and how long to wait before each retry.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// The default number of retries: 4, so that there are at most 5 attempts.
pub const DEFAULT_RETRIES: u32 = 4;

/// The delays of [`Backoff::Default`], in seconds. The last delay repeats.
const DELAYS: [u64; 10] = [15, 30, 60, 120, 300, 600, 1_200, 2_400, 3_600, 7_200];

/// The delays between attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Backoff {
    /// Waits 15 s, 30 s, 1 m, 2 m, 5 m, 10 m, 20 m, 40 m, 1 h, then 2 h each time. Jitter adds up
    /// to 10 %.
    #[default]
    Default,
    /// Waits equally long each time, without jitter.
    Fixed(Duration),
    /// Waits `first`, and doubles the delay each time up to `max`. Jitter adds up to 10 %.
    #[non_exhaustive]
    Exponential {
        /// The delay before the first retry.
        first: Duration,
        /// The maximum delay, without jitter.
        max: Duration,
    },
}

impl From<Duration> for Backoff {
    /// Creates [`Backoff::Fixed`], which waits equally long before each retry.
    fn from(wait: Duration) -> Self {
        Self::Fixed(wait)
    }
}

impl Backoff {
    /// Creates [`Backoff::Exponential`]: the delay doubles from `first` to at most `max`.
    pub const fn exponential(first: Duration, max: Duration) -> Self {
        Self::Exponential { first, max }
    }

    /// Returns the maximum delay, without jitter.
    pub fn longest(&self) -> Duration {
        match self {
            Self::Default => Duration::from_secs(DELAYS[DELAYS.len() - 1]),
            Self::Fixed(wait) | Self::Exponential { max: wait, .. } => *wait,
        }
    }

    /// Returns the delay after the failure with the number `failures`, counted from 1. The jitter
    /// depends only on `seed`.
    pub fn delay(&self, failures: u32, seed: u64) -> Duration {
        let nth = failures.saturating_sub(1);
        let plain = match self {
            Self::Default => Duration::from_secs(DELAYS[(nth as usize).min(DELAYS.len() - 1)]),
            Self::Fixed(wait) => return *wait,
            Self::Exponential { first, max } => first.saturating_mul(2_u32.saturating_pow(nth)).min(*max),
        };
        // the top 53 bits of the seed become a fraction between 0 and 0.1
        plain + plain.mul_f64((seed >> 11) as f64 / (1_u64 << 53) as f64 / 10.0)
    }
}

/// What an error says about whether and when to retry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RetryAdvice {
    /// Retry after the usual delay, while retries are left.
    #[default]
    Default,
    /// Do not retry: the next attempt would fail in the same way.
    Never,
    /// Retry after this delay, while retries are left.
    After(Duration),
}

/// How often a step or a handler is retried, and after which delays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The maximum number of retries after the first attempt.
    pub retries: u32,
    /// The delays between attempts.
    pub backoff: Backoff,
    /// The names of errors that are never retried, such as `TypeError`.
    pub non_retryable: Arc<[Arc<str>]>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { retries: DEFAULT_RETRIES, backoff: Backoff::Default, non_retryable: Arc::default() }
    }
}

/// A failed attempt, as a retry policy judges it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedAttempt<'a> {
    /// The number of failed attempts, including this one.
    pub failures: u32,
    /// The name of the error, if it has one.
    pub name: Option<&'a str>,
    /// The advice of the error.
    pub advice: RetryAdvice,
}

impl RetryPolicy {
    /// Returns the delay before the next attempt; `None` if the failure is final: no retries are
    /// left, the error advises against a retry, or its name is listed as not retryable. The jitter
    /// depends only on `seed`.
    pub fn next_delay(&self, failed: FailedAttempt<'_>, seed: u64) -> Option<Duration> {
        let FailedAttempt { failures, name, advice } = failed;
        let is_listed = name.is_some_and(|name| self.non_retryable.iter().any(|listed| **listed == *name));
        match advice {
            RetryAdvice::Never => None,
            _ if is_listed || failures > self.retries => None,
            RetryAdvice::Default => Some(self.backoff.delay(failures, seed)),
            RetryAdvice::After(wait) => Some(wait),
        }
    }
}

impl RetryPolicy {
    /// Returns when the remaining attempts would start, without jitter, if each failed immediately.
    ///
    /// So far `failures` attempts have failed, and the next one starts at `next`. Returns at most
    /// `most` times.
    pub fn upcoming_attempts(&self, failures: u32, next: Timestamp, most: usize) -> Vec<Timestamp> {
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
            policy.upcoming_attempts(failures, next, most).iter().map(|at| at.as_millis() / 1_000).collect()
        };
        assert_eq!(seconds(1, 10), [0, 30, 90, 210], "the second attempt, then 30 s, 1 m and 2 m later");
        assert_eq!(seconds(4, 10), [0], "the last one");
        assert_eq!(seconds(0, 10).len(), 5, "an interruption uses no retry up");
        assert_eq!(seconds(1, 2), [0, 30]);
    }

    #[test]
    fn retries_run_out_and_terminal_errors_never_retry() {
        let backoff = Backoff::Fixed(Duration::from_secs(1));
        let policy = RetryPolicy { retries: 2, backoff, ..RetryPolicy::default() };
        let delay =
            |failures, advice| policy.next_delay(FailedAttempt { failures, name: Some("TypeError"), advice }, 0);
        assert_eq!(delay(2, RetryAdvice::Default), Some(Duration::from_secs(1)));
        assert_eq!(delay(3, RetryAdvice::Default), None);
        assert_eq!(delay(1, RetryAdvice::Never), None);
        assert_eq!(delay(1, RetryAdvice::After(Duration::from_secs(9))), Some(Duration::from_secs(9)));
        assert_eq!(delay(3, RetryAdvice::After(Duration::from_secs(9))), None);
    }

    #[test]
    fn an_error_with_a_listed_name_is_never_retried() {
        let non_retryable = ["TypeError", "CardDeclined"].map(Arc::from).into_iter().collect();
        let policy = RetryPolicy { non_retryable, ..RetryPolicy::default() };
        let after = RetryAdvice::After(Duration::from_secs(9));
        for (name, advice, retries) in [
            (Some("TypeError"), RetryAdvice::Default, false),
            (Some("CardDeclined"), after, false),
            (Some("typeerror"), RetryAdvice::Default, true),
            (Some("TypeErrors"), after, true),
            (None, RetryAdvice::Default, true),
        ] {
            let delay = policy.next_delay(FailedAttempt { failures: 1, name, advice }, 0);
            assert_eq!(delay.is_some(), retries, "{name:?}");
        }
    }
}
