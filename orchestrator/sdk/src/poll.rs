//! A check that is repeated until it gives a value: a step whose attempts may say "not yet".

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use stepladder_core::decide::{self, Ask};
use stepladder_core::limits::CHECKS;
use stepladder_core::retry::Backoff;

use crate::{Error, Result, Step};

/// The waits between checks unless it says otherwise: from 5 s, doubled up to 5 min.
const EVERY: Backoff = Backoff::Exponential { first: Duration::from_secs(5), max: Duration::from_secs(300) };
/// How long is checked unless it says otherwise: an hour.
const TIMEOUT: Duration = Duration::from_secs(3_600);

/// A repeated check: see [`Context::poll_until`](crate::Context::poll_until). Await it, or compose it as any future.
///
/// Each check is an attempt at the step and two entries in the run's journal, which are read whenever the run is loaded
/// anew; so its time-out may be at most 2,000 times its longest wait.
///
/// # Errors
/// Terminal: `poll-timeout` when the last check, made when the time was up, still said "not yet"; `bad-poll` when the
/// time-out is more than 2,000 times the longest wait. Otherwise as any [`Step`]; retries count failures since the last check
/// that said "not yet".
#[must_use = "a check is not made until it is awaited"]
pub struct PollUntil<'a, T> {
    step: Step<'a, T>,
    poll: decide::Poll,
}

impl<'a, T> PollUntil<'a, T> {
    pub(crate) fn new(step: Step<'a, T>) -> Self {
        Self { step, poll: decide::Poll { every: EVERY, timeout: TIMEOUT } }.told()
    }

    /// The waits between checks: a duration, or a [`Backoff`]. From 5 s, doubled up to 5 min, unless told otherwise.
    pub fn every(mut self, every: impl Into<Backoff>) -> Self {
        self.step.once("every");
        self.poll.every = every.into();
        self.told()
    }

    /// How long is checked, from the first check on; the last check is made when the time is up. An hour unless told
    /// otherwise.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.step.once("timeout");
        self.poll.timeout = limit;
        self.told()
    }

    /// How long one check may take, instead of the function's time-out of a step.
    pub fn check_timeout(mut self, limit: Duration) -> Self {
        self.step.once("check_timeout");
        self.step.options(|options| options.timeout = Some(limit));
        self
    }

    /// Repetitions of a check that fails, in a row, instead of the function's.
    pub fn retries(mut self, n: u32) -> Self {
        self.step = self.step.retries(n);
        self
    }

    /// The step is told how it is repeated.
    fn told(mut self) -> Self {
        let poll = self.poll.clone();
        self.step.asking(|ask| {
            if let Ask::Run(options) = ask {
                options.poll = Some(poll);
            }
            Ok(())
        });
        self
    }

    fn too_often(&self) -> Option<Error> {
        let decide::Poll { every, timeout } = &self.poll;
        let longest = every.longest();
        (longest.saturating_mul(CHECKS) < *timeout).then(|| {
            let message = format!(
                "a check every {longest:?} for {timeout:?} is more than {CHECKS} checks; wait longer between them, or not so \
                 long"
            );
            Error::terminal(message).with_code("bad-poll")
        })
    }
}

impl<T> Future for PollUntil<'_, T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        match this.too_often() {
            Some(error) => Poll::Ready(Err(error)),
            None => Pin::new(&mut this.step).poll(cx),
        }
    }
}
