//! A step: a plain, `Unpin` future with options, which does nothing before its first poll.

mod raw;

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use serde_json::value::RawValue;
use stepladder_core::StepId;
use stepladder_core::decide::{Ask, StepOptions};
use stepladder_core::retry::Backoff;

use crate::undo::Undoing;
use crate::{Error, Json, Result};

pub(crate) use raw::{Body, RawStep};

/// One named, remembered unit of a run. Await it, or compose it as any future: `join!`, `try_join_all`, `select!`.
///
/// Its body runs once for each attempt; when it has a value, that value is recorded, and every replay is served the
/// record. A `select!` that drops it while its body runs abandons the body.
///
/// # Errors
/// Its failure, once its retries are used up, or at once when it is terminal. What comes out has been recorded: it
/// keeps its message and its [`code`](Error::code), and is terminal for the function. Terminal as well, with these
/// codes: `undecodable-memo` (the recorded value does not fit the type), `nondeterminism` (the record is of another
/// kind of step), `timeout`, `too-large`, `misplaced-step`, `bad-step` (a method that may be called once was called twice).
#[must_use = "a step does nothing until it is awaited"]
pub struct Step<'a, T> {
    raw: RawStep<'a>,
    decode: fn(&RawValue) -> serde_json::Result<T>,
    /// Nobody locks it: it keeps the step `Sync`.
    undo: Mutex<Option<Undo>>,
}

/// What undoes the step, given its recorded outcome.
type Undo = Box<dyn FnOnce(Json) -> Undoing + Send>;

impl<'a, T> Step<'a, T> {
    pub(crate) fn new(raw: RawStep<'a>, decode: fn(&RawValue) -> serde_json::Result<T>) -> Self {
        Self { raw, decode, undo: Mutex::new(None) }
    }

    pub(crate) fn id(&self) -> &StepId {
        self.raw.id()
    }

    /// Changes what is asked for; what cannot be asked for fails the step when it is awaited.
    pub(crate) fn asking(&mut self, change: impl FnOnce(&mut Ask) -> Result<(), String>) {
        self.raw.asking(change);
    }

    /// Changes the options of a step with a body.
    pub(crate) fn options(&mut self, change: impl FnOnce(&mut StepOptions)) {
        self.raw.options(change);
    }

    /// Notes a call of a method that may be called once: a second call fails the step when it is awaited.
    pub(crate) fn once(&mut self, method: &'static str) {
        self.raw.once(method);
    }

    /// Repetitions of the body after its first attempt, instead of the function's. 0 tries once.
    pub fn retries(mut self, n: u32) -> Self {
        self.once("retries");
        self.raw.options(|options| options.retries = Some(n));
        self
    }

    /// How long one attempt of the body may take, instead of the function's time-out (60 s unless it says otherwise).
    /// An attempt that takes longer is stopped, and has failed.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.once("timeout");
        self.raw.options(|options| options.timeout = Some(limit));
        self
    }

    /// The waits between attempts, instead of the function's.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.once("backoff");
        self.raw.options(|options| options.backoff = Some(backoff));
        self
    }

    /// Of a [call](crate::Context::invoke): the run that it begins is cancelled when this one ends before it, because it was
    /// cancelled, failed, or gave the call up. Unless it is said, that run goes on by itself.
    pub fn cancelled_with_run(mut self) -> Self {
        self.asking(|ask| match ask {
            Ask::Invoke { bound, .. } => {
                *bound = true;
                Ok(())
            }
            _ => Err("only a call of another function can be cancelled with its run".into()),
        });
        self
    }

    /// How the step is undone when the run fails for good after it has succeeded. What steps did is undone in the reverse
    /// order, each as a step of its own (`undo <step>`) with the function's retries, but at least 4; its body gets what the
    /// step returned. One that cannot be undone does not keep the others from it, and is named in the run's error.
    ///
    /// ```
    /// # use stepladder_sdk::prelude::*;
    /// # async fn book(seat: u32) -> Result<String> { Ok(seat.to_string()) }
    /// # async fn give_back(booking: String) -> Result<()> { Ok(()) }
    /// # async fn pay() -> Result<()> { Ok(()) }
    /// # async fn example(ctx: Context) -> Result<()> {
    /// let booking = ctx.step("book", || book(7)).undo(give_back).await?;
    /// ctx.step("pay", pay).await?; // when this has failed for good, the seat is given back
    /// # Ok(()) }
    /// ```
    ///
    /// Not undone is what a *cancelled* run did, what a rerun took over from the run before, and a step whose outcome the
    /// function has not seen: one that failed (its last attempt may have had its effect), or that a `select!` or a
    /// `try_join!` dropped. For those there is [`Context::undo`](crate::Context::undo), called before the step.
    pub fn undo<F, Fut>(mut self, undo: F) -> Self
    where
        T: Send + 'static,
        F: FnOnce(T) -> Fut + Send + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        self.once("undo");
        let decode = self.decode;
        self.undo = Mutex::new(Some(Box::new(move |output| {
            Box::pin(async move {
                let value = decode(&output)?;
                undo(value).await
            })
        })));
        self
    }
}

impl<T> Future for Step<'_, T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let this = self.get_mut();
        let decode = this.decode;
        this.raw.poll(cx).map(|outcome| {
            let outcome = outcome?;
            let undo = this.undo.get_mut().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(undo) = undo {
                let output = outcome.clone();
                this.raw.register(Box::new(move || undo(output)));
            }
            decode(&outcome).map_err(|error| {
                Error::terminal(format!(
                    "the recorded outcome of step `{}` ({}) does not fit its type {}: {error}; give the step another \
                     name, or let the type read what was recorded",
                    this.raw.id(),
                    this.raw.at(),
                    std::any::type_name::<T>()
                ))
                .with_code("undecodable-memo")
            })
        })
    }
}
