//! The retention of runs and events: how long they are kept.

use async_trait::async_trait;
use stepladder_core::{EventId, RunId, Timestamp};

use super::StoreResult;

/// Keeps live runs, and deletes old ones.
#[async_trait]
pub trait Retention: Send + Sync {
    /// Extends the retention of everything that belongs to a live run: journal, row, tickets and
    /// event (rule 27). The watchdog calls this at each check. A store with items that expire must
    /// keep them until after the next check; it may do nothing while enough time is left. By
    /// default, this does nothing, which suits a store that deletes only ended runs.
    async fn renew_retention(&self, run: RunId, event: EventId, now: Timestamp) -> StoreResult<()> {
        let _ = (run, event, now);
        Ok(())
    }

    /// Deletes runs that ended before `older_than`, with their journals. Then deletes events that
    /// were received before `older_than` and have no runs left. Live runs are never deleted. After
    /// an error, what was already deleted stays deleted. By default, this does nothing, which suits
    /// a store with items that expire.
    ///
    /// When an event is deleted, its external id is forgotten too, so `older_than` should be more
    /// than 24 hours ago.
    async fn prune(&self, older_than: Timestamp) -> StoreResult<PruneResult> {
        let _ = older_than;
        Ok(PruneResult::default())
    }
}

/// How many runs and events were deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PruneResult {
    /// The number of deleted runs, each with its journal.
    pub runs: usize,
    /// The number of deleted events that had no run.
    pub events: usize,
}
