//! An outage of an executor.

use std::sync::atomic::{AtomicU32, Ordering};

use stepladder_engine::executor::Unreachable;

/// How many of the next calls cannot reach the executor, or get no answer.
#[derive(Default)]
pub struct Outage {
    pub opens: AtomicU32,
    pub polls: AtomicU32,
    pub attempts: AtomicU32,
    pub silent_opens: AtomicU32,
    pub silent_polls: AtomicU32,
}

impl Outage {
    pub fn hits(calls: &AtomicU32) -> Result<(), Unreachable> {
        let lasts = calls.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        if lasts { Err(Unreachable { why: "connection refused".into(), is_broken: false }) } else { Ok(()) }
    }

    /// Waits for ever if the executor does not answer.
    pub async fn answer(calls: &AtomicU32) {
        if Self::hits(calls).is_err() {
            std::future::pending::<()>().await;
        }
    }
}
