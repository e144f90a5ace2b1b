//! How calls to an unavailable storage are retried, in the engine and in adapters.
//!
//! Delays grow exponentially with full jitter, so that processes that had the same outage do not
//! all retry at the same time. No delay extends beyond the deadline of the invocation or the
//! request. Only one layer retries: if an adapter repeats its requests
//! ([`Commits::repeats_requests`](crate::ports::Commits::repeats_requests)), the engine does not.

use std::sync::Arc;
use std::time::Duration;

use stepladder_core::Timestamp;

use crate::clock::Clock;

/// The number of attempts of a call, and the delays between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageRetries {
    /// The maximum number of attempts, including the first.
    pub attempts: u32,
    /// The maximum delay before the second attempt. It doubles with each further attempt.
    pub first: Duration,
    /// The maximum delay before any attempt.
    pub longest: Duration,
}

impl Default for StorageRetries {
    /// Sets five attempts, with delays of up to 50, 100, 200 and 400 ms: at most 0.75 s in total,
    /// and half of that on average.
    fn default() -> Self {
        Self { attempts: 5, first: Duration::from_millis(50), longest: Duration::from_secs(1) }
    }
}

/// The calls that the engine itself repeats. If the first result of such a call was lost, the
/// repetition returns the same result. If any other call fails, the hop or the request fails and is
/// repeated as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RepeatedCall {
    /// A read of a journal.
    Read,
    /// A commit. Its record has a token, so a repetition recognises its own record (rule 1).
    /// Otherwise the repetition would end in a conflict, and a finished body would be executed
    /// again.
    Commit,
    /// A release of slots. Releasing a slot that the holder does not have changes nothing.
    Release,
    /// A change of a flow state. If the flow state already has the wanted value, the change counts
    /// as done.
    FlowStateChange,
}

impl RepeatedCall {
    /// Returns the name of the call for logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Commit => "commit",
            Self::Release => "release of slots",
            Self::FlowStateChange => "change of a flow state",
        }
    }
}

/// The time by which the storage calls of a task must have returned.
#[derive(Clone)]
struct CallDeadline {
    clock: Arc<dyn Clock>,
    at: Timestamp,
}

tokio::task_local! {
    static DEADLINE: CallDeadline;
}

/// Runs `work` with a deadline: after `at`, no storage call in it is repeated.
pub async fn run_within<F: Future>(clock: Arc<dyn Clock>, at: Timestamp, work: F) -> F::Output {
    DEADLINE.scope(CallDeadline { clock, at }, work).await
}

/// Runs `work` without the deadline of the task around it.
pub(crate) async fn run_without_limit<F: Future>(clock: Arc<dyn Clock>, work: F) -> F::Output {
    run_within(clock, Timestamp::MAX, work).await
}

/// Returns the time until the deadline of the current task; `None` if it has no deadline.
pub fn time_left() -> Option<Duration> {
    DEADLINE.try_with(|deadline| deadline.at.since(deadline.clock.now())).ok()
}

impl StorageRetries {
    /// Returns the default retries without delays, for tests with a clock that stands still.
    pub fn at_once() -> Self {
        Self { first: Duration::ZERO, longest: Duration::ZERO, ..Self::default() }
    }

    /// Returns the delay after `failed` attempts. `random` selects a time between zero and the
    /// maximum delay after this number of attempts.
    pub fn wait_after(&self, failed: u32, random: u64) -> Duration {
        let longest = self.first.saturating_mul(2_u32.saturating_pow(failed.saturating_sub(1))).min(self.longest);
        let millis = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(random % millis.saturating_add(1))
    }

    /// Waits before a call that has failed `failed` times is repeated. Returns false immediately if
    /// the call must not be repeated: no attempts are left, or the delay would extend beyond the
    /// task's deadline.
    pub async fn pause_before_retry(&self, clock: &dyn Clock, failed: u32, random: u64) -> bool {
        if failed >= self.attempts {
            return false;
        }
        let wait = self.wait_after(failed, random);
        if time_left().is_some_and(|left| left <= wait) {
            return false;
        }
        clock.sleep_until(clock.now() + wait).await;
        true
    }
}
