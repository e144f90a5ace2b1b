//! Runs code that blocks its thread: long computations, file access, drivers without async.

use crate::Result;
use crate::error::panic_error;

/// Runs blocking code on a separate thread and waits for the result.
///
/// A step's timeout cannot stop code that blocks the step's thread, and other runs on that thread
/// have to wait. Within `blocking`, the timeout ends the step, while the code itself continues to
/// its end.
///
/// ```
/// # use stepladder::prelude::*;
/// # async fn example(ctx: &Context, picture: Vec<u8>) -> Result<usize> {
/// ctx.step("shrink", || stepladder::blocking(move || Ok(picture.len() / 2))).await
/// # }
/// ```
///
/// # Errors
/// The error that `code` returns. If `code` panics, an error with the code `panic`.
pub async fn blocking<T, F>(code: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T> + Send + 'static,
{
    match tokio::task::spawn_blocking(code).await {
        Ok(result) => result,
        Err(failed) => match failed.try_into_panic() {
            Ok(payload) => Err(panic_error(&*payload)),
            Err(stopped) => Err(stopped.into()),
        },
    }
}
