//! Steps that sleep.

use super::{RecordedStep, delegate_future};

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
