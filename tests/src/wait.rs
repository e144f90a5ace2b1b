//! Waiting for a condition, never for a time: a test that waits is as fast as what it waits for.

use std::time::{Duration, Instant};

/// How long anything in these tests may take before it counts as never: far above what it takes on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Asks again and again until `look` finds something. Panics with `what` after [`LIMIT`].
pub async fn wait_for<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    wait_within(LIMIT, what, look).await
}

/// [`wait_for`] with a limit that is part of what the test says.
pub async fn wait_within<T>(limit: Duration, what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    wait(limit, Duration::from_millis(2), what, look).await
}

/// [`wait_for`], asking less often: where each question is work for somebody whom the test waits for.
pub async fn wait_calmly<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    wait(LIMIT, Duration::from_millis(100), what, look).await
}

async fn wait<T>(limit: Duration, each: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} for {what}");
        tokio::time::sleep(each).await;
    }
}
