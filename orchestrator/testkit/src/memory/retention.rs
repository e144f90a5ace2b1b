//! The deletion of old runs and events in memory.

use async_trait::async_trait;
use stepladder_core::{Event, RunId, RunRow, Timestamp};

use super::Memory;
use stepladder_engine::ports::{PruneResult, Retention, StoreResult};

#[async_trait]
impl Retention for Memory {
    async fn prune(&self, older_than: Timestamp) -> StoreResult<PruneResult> {
        let mut inner = self.lock();
        let is_old = |row: &&RunRow| row.ended.is_some_and(|(at, _)| at < older_than);
        let old: Vec<RunId> = inner.rows.values().filter(is_old).map(|row| row.run).collect();
        for run in &old {
            inner.rows.remove(run);
            inner.journals.remove(run);
            inner.subscriptions.remove_run(*run);
            inner.runs_of.values_mut().for_each(|runs| runs.retain(|of| of != run));
        }
        inner.created.retain(|run| !old.contains(run));
        inner.runs_of.retain(|_, runs| !runs.is_empty());
        let before = inner.events.len();
        let (events, runs_of) = (std::mem::take(&mut inner.events), &inner.runs_of);
        let is_kept = |event: &Event| event.received_at >= older_than || runs_of.contains_key(&event.id);
        let kept = events.into_iter().filter(|(_, event)| is_kept(event)).collect();
        inner.events = kept;
        let external = std::mem::take(&mut inner.external);
        inner.external = external.into_iter().filter(|(_, id)| inner.events.contains_key(id)).collect();
        Ok(PruneResult { runs: old.len(), events: before - inner.events.len() })
    }
}
