//! The futures of steps. They are `Unpin` and have options, and do nothing before they are first
//! polled.

mod invoke;
mod recorded;
mod send;
mod sleep;
mod untyped;

use std::time::Duration;

use stepladder_core::decide::StepOptions;
use stepladder_core::retry::Backoff;

pub use invoke::Invoke;
pub(crate) use recorded::{DecodeFn, RecordedStep, delegate_future, undoable};
pub use send::{SendEvent, SendEvents};
pub use sleep::Sleep;
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
/// [`name`](crate::Error::name), and it is terminal for the function. Errors of Stepladder itself have these codes: `undecodable-memo`,
/// `nondeterminism`, `timeout`, `too-large`, `misplaced-step`, `bad-step` and `bad-step-name`.
/// [`ErrorCode`](crate::ErrorCode) explains them.
#[must_use = "a step does nothing until it is awaited"]
pub struct Step<'a, T> {
    step: RecordedStep<'a, T>,
}

impl<T> Step<'_, T> {
    pub(crate) fn set_options(&mut self, change: impl FnOnce(&mut StepOptions)) {
        self.step.set_options(change);
    }

    /// Sets the maximum number of retries after the first attempt. The default is that of the
    /// function. With 0, there is only one attempt.
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
