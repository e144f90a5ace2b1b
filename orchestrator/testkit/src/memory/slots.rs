//! Slots and wait queues in memory.

use async_trait::async_trait;
use stepladder_core::slot::{HeldSlot, Holder, Limit, QueueKey, Ticket};
use stepladder_core::{RunId, RunOrStep, Timestamp};
use stepladder_engine::local::WaitQueues;
use stepladder_engine::ports::{Refusal, SlotOperations, StoreResult};

use super::Memory;

impl Memory {
    fn change_queues<T>(&self, change: impl FnOnce(&mut WaitQueues) -> T) -> T {
        let mut inner = self.lock();
        inner.counts.slots += 1;
        change(&mut inner.wait_queues)
    }
}

/// No operation waits, so together they are one step as long as no other process comes between.
#[async_trait]
impl SlotOperations for Memory {
    async fn try_acquire(
        &self,
        limits: &[Limit],
        holder: &Holder,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> StoreResult<Vec<Refusal>> {
        let acquire = |queues: &mut WaitQueues| queues.acquire_all(limits, holder, lease_until, now);
        Ok(self.change_queues(acquire).err().unwrap_or_default())
    }

    async fn release_slot(&self, limit: &Limit, holder: &Holder) -> StoreResult<()> {
        self.change_queues(|queues| queues.change(&limit.key, |queue| queue.release(holder)));
        Ok(())
    }

    async fn holders(&self, queue: &QueueKey) -> StoreResult<Vec<HeldSlot>> {
        Ok(self.change_queues(|queues| queues.get(queue).map_or_else(Vec::new, |queue| queue.holders().to_vec())))
    }

    async fn enqueue(&self, limit: &Limit, ticket: Ticket) -> StoreResult<bool> {
        Ok(self.change_queues(|queues| queues.change(&limit.key, |queue| queue.enqueue(ticket))))
    }

    async fn enqueue_without_slots(&self, queue: &QueueKey, ticket: Ticket) -> StoreResult<()> {
        self.change_queues(|queues| queues.change(queue, |queue| queue.enqueue(ticket)));
        Ok(())
    }

    async fn dequeue(&self, limit: &Limit, ticket: &Ticket) -> StoreResult<()> {
        self.change_queues(|queues| queues.change(&limit.key, |queue| queue.dequeue(ticket.run, Some(&ticket.of))));
        Ok(())
    }

    async fn first_tickets(&self, queue: &QueueKey, n: usize) -> StoreResult<Vec<Ticket>> {
        Ok(self.change_queues(|queues| queues.first_tickets(queue, n)))
    }

    async fn ticket(&self, queue: &QueueKey, run: RunId, of: Option<&RunOrStep>) -> StoreResult<Option<Ticket>> {
        Ok(self.change_queues(|queues| queues.get(queue).and_then(|queue| queue.ticket(run, of)).cloned()))
    }

    async fn count_before(&self, queue: &QueueKey, ticket: &Ticket) -> StoreResult<usize> {
        Ok(self.change_queues(|queues| queues.get(queue).map_or(0, |queue| queue.count_before(ticket))))
    }
}
