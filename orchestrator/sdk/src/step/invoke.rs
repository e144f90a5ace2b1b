//! Steps that run another function.

use stepladder_core::decide::Operation;

use super::{Recorded, delegate_future, undoable};

/// Runs another function: see [`Context::invoke`](crate::Context::invoke). Await it, or compose it
/// like any future.
///
/// ```
/// # use stepladder::prelude::*;
/// # async fn example(ctx: Context) -> Result<()> {
/// let input = json!({"numbers": [1, 2]});
/// let total: u64 = ctx.invoke("sum up", "add-numbers", &input).cancelled_with_run().await?;
/// # Ok(()) }
/// ```
///
/// The other function has retries of its own, so there are none to set here:
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
/// Terminal, with the failure of the other run. Also terminal if that run was cancelled or skipped,
/// and with code `bad-event` if the input exceeds a limit.
#[must_use = "a function is not invoked until this is awaited"]
pub struct Invoke<'a, T> {
    step: Recorded<'a, T>,
}

impl<T> Invoke<'_, T> {
    /// Cancels the invoked run when this run ends before it: because it is cancelled, fails, or
    /// drops the call. By default, the invoked run continues.
    pub fn cancelled_with_run(mut self) -> Self {
        self.step.change_ask(|ask| {
            if let Operation::Invoke { bound, .. } = ask {
                *bound = true;
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
    /// Sets how the call is undone if the run fails for good after the call has succeeded. See
    /// [`Step::undo`](crate::Step::undo).
    Invoke
}
