//! Slots and wait queues in memory.

use async_trait::async_trait;
use stepladder_core::slot::{HeldSlot, Holder, Limit, QueueKey, Ticket};
use stepladder_core::{RunId, RunOrStep, Timestamp};

use super::Memory;
use stepladder_engine::ports::{AcquireResult, Slots, StoreResult};

#[async_trait]
impl Slots for Memory {
    async fn acquire(
        &self,
        limit: &Limit,
        holder: &Holder,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> StoreResult<AcquireResult> {
        let mut inner = self.lock();
        inner.counts.slots += 1;
        Ok(inner.wait_queues.change(&limit.key, |queue| queue.acquire(limit.slots, holder, lease_until, now)).0)
    }

    async fn acquire_all(
        &self,
        limits: &[Limit],
        holder: &Holder,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> StoreResult<Result<(), Vec<(usize, AcquireResult)>>> {
        let mut inner = self.lock();
        inner.counts.slots += 1;
        Ok(inner.wait_queues.acquire_all(limits, holder, lease_until, now).map(drop))
    }

    async fn enqueue(&self, limit: &Limit, ticket: Ticket) -> StoreResult<bool> {
        let mut inner = self.lock();
        inner.counts.slots += 1;
        Ok(inner.wait_queues.change(&limit.key, |queue| queue.enqueue(ticket)))
    }

    async fn enqueue_paused(&self, queue: &QueueKey, ticket: Ticket) -> StoreResult<()> {
        let mut inner = self.lock();
        inner.counts.slots += 1;
        inner.lines.change(queue, |line| line.enqueue(ticket));
        Ok(())
    }

    async fn tickets(&self, queue: &QueueKey, n: usize) -> StoreResult<Vec<Ticket>> {
        let mut inner = self.lock();
        inner.counts.slots += 1;
        Ok(inner.wait_queues.get(queue).map_or_else(Vec::new, |queue| queue.tickets().take(n).cloned().collect()))
    }

    async fn holders(&self, limit: &Limit) -> StoreResult<Vec<HeldSlot>> {
        let mut inner = self.lock();
        inner.counts.slots += 1;
        Ok(inner.wait_queues.get(&limit.key).map_or_else(Vec::new, |queue| queue.holders().to_vec()))
    }

    async fn ticket(&self, limit: &Limit, run: RunId, of: Option<RunOrStep>) -> StoreResult<Option<Ticket>> {
        let mut inner = self.lock();
        inner.counts.slots += 1;
        Ok(inner.wait_queues.get(&limit.key).and_then(|queue| queue.ticket(run, of.as_ref())).cloned())
    }

    async fn position(&self, limit: &Limit, run: RunId) -> StoreResult<Option<usize>> {
        let mut inner = self.lock();
        inner.counts.slots += 1;
        Ok(inner.wait_queues.get(&limit.key).and_then(|queue| queue.position(run)))
    }
}
