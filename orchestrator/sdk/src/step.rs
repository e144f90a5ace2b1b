//! The futures of steps. They are `Unpin` and have options, and do nothing before they are first
//! polled.

mod invoke;
mod recorded;
mod send;
mod sleep;
mod started;
mod untyped;

use std::time::Duration;

use stepladder_core::decide::StepOptions;
use stepladder_core::retry::Backoff;

pub use invoke::Invoke;
pub(crate) use recorded::{DecodeFn, RecordedStep, delegate_future, undoable};
pub use send::{SendEvent, SendEvents};
pub use sleep::Sleep;
pub use started::StartedStep;
pub(crate) use started::startable;
pub(crate) use untyped::{StepBodyFn, UntypedStep};

/// A step with a body: see [`Context::step`](crate::Context::step). Await it, or combine it with
/// other futures, for example with `join!`, `try_join_all` or `select!`.
///
/// The body is executed once for each attempt. The value that it returns is recorded, and every
/// replay returns the recorded value. If a `select!` drops the step while its body is running, the
/// body is abandoned.
///
/// # Errors
/// The body's error, once no retries are left, or immediately if the error is terminal. Because the
/// error was recorded, it has only a message, a [`code`](crate::Error::code) and a
/// [`name`](crate::Error::name), and it is terminal for the function. Errors of Stepladder itself
/// have these codes: `undecodable-memo`, `nondeterminism`, `timeout`, `too-large`,
/// `outcome-unknown`, `misplaced-step`, `bad-step` and `bad-step-name`.
/// [`ErrorCode`](crate::ErrorCode) explains them.
#[must_use = "a step does nothing until it is awaited"]
pub struct Step<'a, T> {
    step: RecordedStep<'a, T>,
}

impl<T> Step<'_, T> {
    pub(crate) fn record_call(&mut self, method: &'static str) {
        self.step.record_call(method);
    }

    pub(crate) fn set_options(&mut self, change: impl FnOnce(&mut StepOptions)) {
        self.step.set_options(change);
    }

    /// Sets the maximum number of retries after the first attempt. The default is that of the
    /// function, or 0 for a step that starts [at most once](Self::at_most_once). With 0, an attempt
    /// that fails is the last one.
    pub fn retries(mut self, n: u32) -> Self {
        self.record_call("retries");
        self.set_options(|options| options.retries = Some(n));
        self
    }

    /// Sets the timeout of one attempt. The default is the timeout of the function, which is 60 s
    /// unless set. An attempt that takes longer is stopped and fails.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.record_call("timeout");
        self.set_options(|options| options.timeout = Some(limit));
        self
    }

    /// Makes the step start at most once: if an attempt leaves no outcome, the step fails instead
    /// of starting again. Use it for an effect that must not happen twice, such as a payment at a
    /// service without idempotency keys.
    ///
    /// The step fails with the terminal error [`ErrorCode::OutcomeUnknown`](crate::ErrorCode) if
    /// its attempt
    ///
    /// - was interrupted: its worker died, its lease ended, or its executor lost it,
    /// - ran past its timeout, or returned an error with the code `timeout`,
    /// - was dropped by `select!` or a failing function, and the function's next attempt asks for
    ///   the step again.
    ///
    /// The effect may have happened or not: find out before you go on. The body may not even have
    /// started, because the start is on disk before the body begins.
    ///
    /// An error that the body returns, or a panic, is an outcome. It is final, whatever the
    /// function sets, unless the step sets [`retries`](Self::retries): then the body runs again
    /// after such an error.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// use stepladder::ErrorCode;
    ///
    /// # #[derive(Clone)] struct Order { id: String }
    /// # async fn charge(order: &Order) -> Result<String> { Ok(order.id.clone()) }
    /// # async fn find_charge(order: &Order) -> Result<Option<String>> { Ok(None) }
    /// # async fn example(ctx: Context, order: Order) -> Result<String> {
    /// match ctx.step("charge", || charge(&order)).at_most_once().await {
    ///     Err(error) if error.has_code(ErrorCode::OutcomeUnknown) => {
    ///         // reading is safe to repeat
    ///         let found = ctx.step("find charge", || find_charge(&order)).await?;
    ///         found.ok_or_else(|| Error::terminal(format!("check the charge of {}", order.id)))
    ///     }
    ///     charged => charged,
    /// }
    /// # }
    /// ```
    pub fn at_most_once(mut self) -> Self {
        self.record_call("at_most_once");
        self.set_options(|options| options.at_most_once = true);
        self
    }

    /// Sets the delays between attempts. The default is those of the function.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.record_call("backoff");
        self.set_options(|options| options.backoff = Some(backoff));
        self
    }
}

delegate_future! {
    Step<'a, T> => T;
}

undoable! {
    /// Registers a compensation: `undo` runs if the run fails permanently after this step has
    /// succeeded.
    ///
    /// Compensations run in reverse order, each as a step `undo <step>`. Such a step receives the
    /// value that the undone step returned. It has the function's retries, but at least 4. If it
    /// fails, the other compensations still run, and the error of the run names the failed one.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// # async fn book(seat: u32) -> Result<String> { Ok(seat.to_string()) }
    /// # async fn release(booking: String) -> Result<()> { Ok(()) }
    /// # async fn pay() -> Result<()> { Ok(()) }
    /// # async fn example(ctx: Context) -> Result<()> {
    /// let booking = ctx.step("book", || book(7)).undo(release).await?;
    /// ctx.step("pay", pay).await?; // if this fails for good, the seat is released
    /// # Ok(()) }
    /// ```
    ///
    /// These steps are not undone:
    ///
    /// - steps of a *cancelled* run
    /// - steps with outcomes that a rerun copied from the original run
    /// - a step that failed, although its last attempt may have had its effect
    /// - a step that a `select!` or a `try_join!` dropped
    ///
    /// In the last two cases, call [`Context::undo`](crate::Context::undo) before the step.
    Step
}
