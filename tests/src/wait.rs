//! Waits for a condition, never for a fixed time, so that a test is as fast as what it waits for.

use std::time::{Duration, Instant};

/// The maximum time that a test waits for a condition. It is much longer than a busy machine needs.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Calls `look` until it returns `Some`. After [`LIMIT`], panics with `what`.
pub async fn wait_for<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    wait_within(LIMIT, what, look).await
}

/// Like [`wait_for`], with a time limit chosen by the test.
pub async fn wait_within<T>(limit: Duration, what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    poll_until(limit, Duration::from_millis(2), what, look).await
}

/// Like [`wait_for`], but calls `look` less often. For checks that slow down what the test waits
/// for.
pub async fn wait_calmly<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    poll_until(LIMIT, Duration::from_millis(100), what, look).await
}

async fn poll_until<T>(limit: Duration, each: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} for {what}");
        tokio::time::sleep(each).await;
    }
}
