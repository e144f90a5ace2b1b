//! Code that blocks its thread: long computations, files, drivers without async.

use crate::Result;
use crate::error::panicked;

/// Runs code that blocks, on a thread for such code, and waits for it.
///
/// A step's time-out cannot stop code that blocks the step's own thread, and other runs wait behind it. Put it in here:
/// the time-out then ends the step, though the code itself runs on to its end.
///
/// ```
/// # use stepladder_sdk::prelude::*;
/// # async fn thumbnail(ctx: &Context, picture: Vec<u8>) -> Result<usize> {
/// ctx.step("shrink", || stepladder_sdk::blocking(move || Ok(picture.len() / 2))).await
/// # }
/// ```
///
/// # Errors
/// Those of `code`; a panic in it is an error too.
pub async fn blocking<T, F>(code: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T> + Send + 'static,
{
    match tokio::task::spawn_blocking(code).await {
        Ok(result) => result,
        Err(failed) => match failed.try_into_panic() {
            Ok(payload) => Err(panicked(&*payload)),
            Err(stopped) => Err(stopped.into()),
        },
    }
}
