//! Steps that sleep.

use super::{RecordedStep, delegate_future, startable};

/// A sleep: see [`Context::sleep`](crate::Context::sleep) and
/// [`Context::sleep_until`](crate::Context::sleep_until). Await it, or combine it with others like
/// any future.
///
/// ```
/// # use stepladder::prelude::*;
/// # async fn example(ctx: Context) -> Result<()> {
/// ctx.sleep("three days", Duration::from_secs(3 * 86_400)).await?;
/// # Ok(()) }
/// ```
///
/// A sleep has no body, so it has neither retries nor a timeout:
///
/// ```compile_fail,E0599
/// # use stepladder::prelude::*;
/// # async fn example(ctx: Context) -> Result<()> {
/// ctx.sleep("three days", Duration::from_secs(3 * 86_400)).retries(3).await?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// Returns a terminal error if the time is outside the years 0 to 9999.
#[must_use = "a sleep does nothing until it is awaited"]
pub struct Sleep<'a> {
    step: RecordedStep<'a, ()>,
}

impl<'a> Sleep<'a> {
    pub(crate) fn new(step: RecordedStep<'a, ()>) -> Self {
        Self { step }
    }
}

delegate_future! {
    Sleep<'a> => ();
}

startable! {
    /// Starts the sleep now, to be awaited later. It ends this long after the next time at which
    /// the function awaits a step, whatever the function does in the meantime. See
    /// [`StartedStep`](crate::StartedStep).
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// # async fn send(text: &str) -> Result<()> { Ok(()) }
    /// # async fn example(ctx: Context) -> Result<()> {
    /// let hour = ctx.sleep("an hour", Duration::from_secs(3_600)).start();
    /// ctx.step("first", || send("first")).await?;
    /// hour.await?; // an hour after "first" has started
    /// ctx.step("second", || send("second")).await
    /// # }
    /// ```
    Sleep<'a>
}
