//! Deletes old runs when the server starts, and then once an hour.

use std::sync::Arc;
use std::time::Duration;

use stepladder_engine::Engine;
use stepladder_engine::ports::Backend;

/// The time between two passes.
const INTERVAL: Duration = Duration::from_secs(3_600);

/// Deletes runs that ended more than `keep` ago. Repeats this until the future is dropped.
pub(super) async fn prune_periodically(backend: Arc<dyn Backend>, engine: Arc<Engine>, keep: Duration) {
    loop {
        match backend.prune(engine.now() - keep).await {
            Ok(pruned) => tracing::debug!(pruned.runs, pruned.events, "old runs deleted"),
            Err(error) => tracing::warn!(%error, "old runs could not be deleted; the next pass tries again"),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
