//! Slots and lines in memory.

use async_trait::async_trait;
use stepladder_core::slot::{Holder, Holding, Limit, Place};
use stepladder_core::{RunId, StepId, Timestamp};

use super::Memory;
use stepladder_engine::ports::{Slots, StoreResult, Taken};

#[async_trait]
impl Slots for Memory {
    async fn take(&self, limit: &Limit, holder: &Holder, lease_until: Timestamp, now: Timestamp) -> StoreResult<Taken> {
        let mut inner = self.lock();
        inner.counts.slots += 1;
        Ok(inner.lines.change(&limit.key, |line| line.take(limit.slots, holder, lease_until, now)).0)
    }

    async fn take_all(
        &self,
        limits: &[Limit],
        holder: &Holder,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> StoreResult<Result<(), Vec<(usize, Taken)>>> {
        let mut inner = self.lock();
        inner.counts.slots += 1;
        Ok(inner.lines.take_all(limits, holder, lease_until, now).map(drop))
    }

    async fn park(&self, limit: &Limit, place: Place) -> StoreResult<bool> {
        let mut inner = self.lock();
        inner.counts.slots += 1;
        Ok(inner.lines.change(&limit.key, |line| line.park(place)))
    }

    async fn line(&self, limit: &Limit, n: usize) -> StoreResult<Vec<Place>> {
        let mut inner = self.lock();
        inner.counts.slots += 1;
        Ok(inner.lines.get(&limit.key).map_or_else(Vec::new, |line| line.places().take(n).cloned().collect()))
    }

    async fn holders(&self, limit: &Limit) -> StoreResult<Vec<Holding>> {
        let mut inner = self.lock();
        inner.counts.slots += 1;
        Ok(inner.lines.get(&limit.key).map_or_else(Vec::new, |line| line.holders().to_vec()))
    }

    async fn place(&self, limit: &Limit, run: RunId, step: Option<StepId>) -> StoreResult<Option<Place>> {
        let mut inner = self.lock();
        inner.counts.slots += 1;
        Ok(inner.lines.get(&limit.key).and_then(|line| line.place(run, step.as_ref())).cloned())
    }

    async fn position(&self, limit: &Limit, run: RunId) -> StoreResult<Option<usize>> {
        let mut inner = self.lock();
        inner.counts.slots += 1;
        Ok(inner.lines.get(&limit.key).and_then(|line| line.position(run)))
    }
}
