//! One policy for repeating calls to an unavailable storage, for the engine and for adapters.
//!
//! Waits grow exponentially with full jitter, so that processes that met the same brown-out do not
//! return together. No wait reaches past the deadline of the invocation or the request. Only one
//! layer repeats: if an adapter repeats its requests
//! ([`Commits::repeats_requests`](crate::ports::Commits::repeats_requests)), the engine does not.

use std::sync::Arc;
use std::time::Duration;

use stepladder_core::Timestamp;

use crate::clock::Clock;

/// The number of attempts of a call, and the waits between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// The maximum number of attempts, including the first.
    pub attempts: u32,
    /// The longest wait before the second attempt. The wait doubles with each further attempt.
    pub first: Duration,
    /// The longest wait before any attempt.
    pub longest: Duration,
}

impl Default for Retries {
    /// Five attempts, with waits of up to 50, 100, 200 and 400 ms: at most 0.75 s in all, and half
    /// of that on average.
    fn default() -> Self {
        Self { attempts: 5, first: Duration::from_millis(50), longest: Duration::from_secs(1) }
    }
}

/// The calls that the engine repeats itself. Each returns the same answer when its first answer was
/// lost. Any other call that fails ends the hop or the request, which is repeated as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RepeatedCall {
    /// A read of a journal.
    Read,
    /// A commit. Its record has a token, so a repetition finds its own record (rule 1) instead of a
    /// conflict, after which a finished body would run again.
    Commit,
    /// A change of a flow state. A state that has the wanted value counts as changed.
    FlowStateChange,
}

impl RepeatedCall {
    /// Returns the call's name for the log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Commit => "commit",
            Self::FlowStateChange => "change of a flow state",
        }
    }
}

/// When the storage calls of a task must have been answered.
#[derive(Clone)]
struct Deadline {
    clock: Arc<dyn Clock>,
    at: Timestamp,
}

tokio::task_local! {
    static DEADLINE: Deadline;
}

/// Runs `work` with a deadline: no storage call in it is repeated after `at`.
pub async fn within<F: Future>(clock: Arc<dyn Clock>, at: Timestamp, work: F) -> F::Output {
    DEADLINE.scope(Deadline { clock, at }, work).await
}

/// Returns the time until this task's deadline, or `None` without a deadline.
pub fn time_left() -> Option<Duration> {
    DEADLINE.try_with(|deadline| deadline.at.since(deadline.clock.now())).ok()
}

impl Retries {
    /// Returns the default policy without waits, for tests on a clock that stands still.
    pub fn at_once() -> Self {
        Self { first: Duration::ZERO, longest: Duration::ZERO, ..Self::default() }
    }

    /// Returns the wait after `failed` attempts: `random` picks any time up to the longest wait for
    /// that number.
    pub fn wait(&self, failed: u32, random: u64) -> Duration {
        let longest = self.first.saturating_mul(2_u32.saturating_pow(failed.saturating_sub(1))).min(self.longest);
        let millis = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(random % millis.saturating_add(1))
    }

    /// Waits before a call that failed `failed` times is repeated. Returns false at once if the call
    /// must not be repeated: its attempts are used up, or the wait would reach the task's deadline.
    pub async fn pause(&self, clock: &dyn Clock, failed: u32, random: u64) -> bool {
        if failed >= self.attempts {
            return false;
        }
        let wait = self.wait(failed, random);
        if time_left().is_some_and(|left| left <= wait) {
            return false;
        }
        clock.sleep_until(clock.now() + wait).await;
        true
    }
}
