//! Polls: a check is repeated until it returns a value. A poll is a step, and its attempts may
//! return no value yet.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use stepladder_core::decide;
use stepladder_core::limits::CHECKS;
use stepladder_core::retry::Backoff;

use crate::duration::format_duration;
use crate::error::ErrorCode;
use crate::{Error, Result, Step};

/// The default delays between checks.
const EVERY: Backoff = Backoff::exponential(Duration::from_secs(5), Duration::from_secs(300));
/// The default timeout of a poll.
const TIMEOUT: Duration = Duration::from_secs(3_600);

/// The result of a check of [`Context::poll_with_state`](crate::Context::poll_with_state).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check<T, S> {
    /// The check has found its value, and polling ends.
    Ready(T),
    /// There is no value yet. The next check receives this state.
    NotYet(S),
}

/// A repeated check: see [`Context::poll_until`](crate::Context::poll_until) and
/// [`Context::poll_with_state`](crate::Context::poll_with_state). Await it, or combine it with
/// others like any future.
///
/// Each check adds two entries to the run's journal, which every replay reads. Therefore the
/// timeout may be at most 2,000 times the longest delay.
///
/// ```
/// # use stepladder::prelude::*;
/// # async fn report(id: &str) -> Result<Option<String>> { Ok(Some(id.into())) }
/// # async fn example(ctx: Context) -> Result<()> {
/// let minute = Duration::from_secs(60);
/// let polled = ctx.poll_until("rendered", || report("r-7")).check_timeout(minute).retries(10);
/// let report = polled.every(minute).timeout(60 * minute).await?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// The errors of any [`Step`], and these terminal errors:
///
/// - `poll-timeout`: the last check, made at the timeout, returned no value.
/// - `bad-poll`: the timeout is more than 2,000 times the longest delay.
///
/// A check that fails is retried. Retries are counted anew after each check that ended without an
/// error.
#[must_use = "a check is not made until it is awaited"]
pub struct PollUntil<'a, T> {
    step: Step<'a, T>,
    poll: decide::PollSchedule,
}

impl<'a, T> PollUntil<'a, T> {
    pub(crate) fn new(step: Step<'a, T>) -> Self {
        Self { step, poll: decide::PollSchedule { every: EVERY, timeout: TIMEOUT } }.with_poll_set()
    }

    /// Sets the delays between checks: a duration, or a [`Backoff`]. The default is 5 s at first,
    /// doubled each time up to 5 minutes.
    pub fn every(mut self, every: impl Into<Backoff>) -> Self {
        self.step.record_call("every");
        self.poll.every = every.into();
        self.with_poll_set()
    }

    /// Sets the time from the first check to the last. The default is an hour.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.step.record_call("timeout");
        self.poll.timeout = limit;
        self.with_poll_set()
    }

    /// Sets the timeout of a single check. The default is the timeout that the function sets for
    /// its steps.
    pub fn check_timeout(mut self, limit: Duration) -> Self {
        self.step.record_call("check_timeout");
        self.step.set_options(|options| options.timeout = Some(limit));
        self
    }

    /// Sets the maximum number of consecutive retries of a check that fails. The default is that of
    /// the function.
    pub fn retries(mut self, n: u32) -> Self {
        self.step = self.step.retries(n);
        self
    }

    fn with_poll_set(mut self) -> Self {
        let poll = self.poll.clone();
        self.step.set_options(|options| options.poll = Some(poll));
        self
    }

    fn limit_error(&self) -> Option<Error> {
        let decide::PollSchedule { every, timeout } = &self.poll;
        let longest = every.longest();
        (longest.saturating_mul(CHECKS) < *timeout).then(|| {
            let message = format!(
                "a check every {} for {} is more than {CHECKS} checks; wait longer between them, or set a shorter timeout",
                format_duration(longest),
                format_duration(*timeout)
            );
            Error::terminal(message).with_code(ErrorCode::BadPoll)
        })
    }
}

impl<T> Future for PollUntil<'_, T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        match this.limit_error() {
            Some(error) => Poll::Ready(Err(error)),
            None => Pin::new(&mut this.step).poll(cx),
        }
    }
}
