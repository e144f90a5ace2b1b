//! How long ended runs are kept: a pass at the start, then one an hour.

use std::sync::Arc;
use std::time::Duration;

use stepladder_engine::Engine;
use stepladder_sqlite::Sqlite;

const PASS: Duration = Duration::from_secs(3_600);

/// Deletes what ended longer than `keep` ago, for as long as it is awaited.
pub(super) async fn keep(db: Arc<Sqlite>, engine: Arc<Engine>, keep: Duration) {
    loop {
        match db.prune(engine.now() - keep).await {
            Ok(pruned) => tracing::debug!(pruned.runs, pruned.events, "old runs deleted"),
            Err(error) => tracing::warn!(%error, "old runs could not be deleted; the next pass tries again"),
        }
        tokio::time::sleep(PASS).await;
    }
}
