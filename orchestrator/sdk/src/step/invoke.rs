//! Steps that call another function.

use std::time::Duration;

use stepladder_core::decide::Operation;

use super::{RecordedStep, delegate_future, startable, undoable};

/// A call of another function: see [`Context::invoke`](crate::Context::invoke). Await it, or
/// combine it with others like any future.
///
/// ```
/// # use stepladder::prelude::*;
/// # async fn example(ctx: Context) -> Result<()> {
/// let input = json!({"numbers": [1, 2]});
/// let total: u64 = ctx.invoke("sum up", "add-numbers", &input).cancelled_with_run().await?;
/// # Ok(()) }
/// ```
///
/// The other function has its own retries, so there are none to set here:
///
/// ```compile_fail,E0599
/// # use stepladder::prelude::*;
/// # async fn example(ctx: Context) -> Result<()> {
/// let input = json!({"numbers": [1, 2]});
/// let total: u64 = ctx.invoke("sum up", "add-numbers", &input).retries(3).await?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// A terminal error with the failure of the called run. The error is also terminal if the called
/// run was cancelled or skipped. If the input exceeds a limit, the error has the code `bad-event`.
#[must_use = "a function is not invoked until this is awaited"]
pub struct Invoke<'a, T> {
    step: RecordedStep<'a, T>,
}

impl<T> Invoke<'_, T> {
    /// Cancels the called run if this run ends before it, or drops the call. By default, the called
    /// run continues.
    pub fn cancelled_with_run(mut self) -> Self {
        self.step.change_ask(|ask| {
            if let Operation::Invoke { bound, .. } = ask {
                *bound = true;
            }
            Ok(())
        });
        self
    }

    /// Waits for the called run at most this long, counted from the call. Then this step fails with
    /// a terminal error that has the code `invoke-timeout`. The called run goes on, unless it is
    /// [cancelled with this run](Self::cancelled_with_run). By default, the wait has no limit.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.step.record_call("timeout");
        self.step.change_ask(|ask| {
            if let Operation::Invoke { timeout, .. } = ask {
                *timeout = Some(limit);
            }
            Ok(())
        });
        self
    }
}

delegate_future! {
    Invoke<'a, T> => T;
}

undoable! {
    /// Registers a compensation: `undo` runs if this run fails permanently after the call has
    /// succeeded. See [`Step::undo`](crate::Step::undo).
    Invoke
}

startable! {
    /// Calls the function now, to be awaited later. The called run and this run proceed at the same
    /// time. See [`StartedStep`](crate::StartedStep).
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// # async fn draft() -> Result<String> { Ok("…".into()) }
    /// # async fn example(ctx: Context) -> Result<()> {
    /// let report = ctx.invoke::<String>("report", "write-report", &json!({"clientId": 7})).start();
    /// let letter = ctx.step("draft", draft).await?;
    /// ctx.log(format!("{letter}: {}", report.await?));
    /// # Ok(()) }
    /// ```
    Invoke<'a, T>
}
