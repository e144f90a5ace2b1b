//! Slots and wait queues. The state in memory decides, because a slot of a step is no longer valid
//! once the process ends.
//!
//! Tickets, and slots that a run holds until its end, are also stored as rows. These rows are
//! written in the order in which memory changes, and before any commit that is submitted later. So
//! after a restart the wait queues agree with the journals.

use std::sync::Arc;

use async_trait::async_trait;
use stepladder_core::slot::{HeldSlot, Holder, Limit, QueueKey, Ticket};
use stepladder_core::{RunId, RunOrStep, Timestamp};
use stepladder_engine::ports::{AcquireResult, Slots, StoreError, StoreResult};

use super::starts::insert_ticket;
use crate::Sqlite;

#[async_trait]
impl Slots for Sqlite {
    async fn acquire(
        &self,
        limit: &Limit,
        holder: &Holder,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> StoreResult<AcquireResult> {
        let mut queues = self.memory.wait_queues();
        let (result, used) = queues.change(&limit.key, |queue| queue.acquire(limit.slots, holder, lease_until, now));
        if result == AcquireResult::Acquired && lease_until == Timestamp::MAX {
            self.store_holder(limit.key.clone(), holder.run());
        }
        if let Some(ticket) = used {
            self.delete_ticket(limit.key.clone(), ticket);
        }
        Ok(result)
    }

    async fn acquire_all(
        &self,
        limits: &[Limit],
        holder: &Holder,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> StoreResult<Result<(), Vec<(usize, AcquireResult)>>> {
        let mut queues = self.memory.wait_queues();
        let result = queues.acquire_all(limits, holder, lease_until, now);
        if result.is_ok() && lease_until == Timestamp::MAX {
            limits.iter().for_each(|limit| self.store_holder(limit.key.clone(), holder.run()));
        }
        Ok(result.map(|used| used.into_iter().for_each(|(key, ticket)| self.delete_ticket(key, ticket))))
    }

    async fn enqueue(&self, limit: &Limit, ticket: Ticket) -> StoreResult<bool> {
        self.add_ticket(&limit.key, limit.slots, ticket)
    }

    async fn enqueue_paused(&self, queue: &QueueKey, ticket: Ticket) -> StoreResult<()> {
        // with 0 slots, no ticket of this queue gets a wake when the file is opened
        self.add_ticket(queue, 0, ticket).map(drop)
    }

    async fn tickets(&self, queue: &QueueKey, n: usize) -> StoreResult<Vec<Ticket>> {
        let queues = self.memory.wait_queues();
        Ok(queues.get(queue).map_or_else(Vec::new, |queue| queue.tickets().take(n).cloned().collect()))
    }

    async fn holders(&self, limit: &Limit) -> StoreResult<Vec<HeldSlot>> {
        Ok(self.memory.wait_queues().get(&limit.key).map_or_else(Vec::new, |queue| queue.holders().to_vec()))
    }

    async fn ticket(&self, limit: &Limit, run: RunId, of: Option<RunOrStep>) -> StoreResult<Option<Ticket>> {
        Ok(self.memory.wait_queues().get(&limit.key).and_then(|queue| queue.ticket(run, of.as_ref())).cloned())
    }

    async fn position(&self, limit: &Limit, run: RunId) -> StoreResult<Option<usize>> {
        Ok(self.memory.wait_queues().get(&limit.key).and_then(|queue| queue.position(run)))
    }
}

impl Sqlite {
    /// Adds a ticket to a wait queue, and returns whether it is new.
    fn add_ticket(&self, queue: &QueueKey, slots: u32, ticket: Ticket) -> StoreResult<bool> {
        let text = serde_json::to_string(&ticket).map_err(|error| StoreError::Unreadable(error.to_string()))?;
        let mut queues = self.memory.wait_queues();
        let is_new = queues.change(queue, |queue| queue.enqueue(ticket.clone()));
        if is_new {
            let queue = queue.clone();
            self.writer.run_in_background(move |db| insert_ticket(db, &queue, slots, &ticket, &text));
        }
        Ok(is_new)
    }

    /// Stores that a run holds a slot until its end, so that the run still holds the slot after a
    /// restart.
    fn store_holder(&self, key: Arc<str>, run: RunId) {
        self.writer.run_in_background(move |db| {
            let mut holders = db.prepare_cached("INSERT OR IGNORE INTO holders (key, run) VALUES (?1, ?2)")?;
            holders.execute((&key, run.to_bytes()))?;
            Ok(())
        });
    }

    /// Deletes the row of a ticket. The caller holds the lock of the wait queues, so that rows
    /// change in the same order as memory.
    fn delete_ticket(&self, key: Arc<str>, ticket: Ticket) {
        self.writer.run_in_background(move |db| {
            let mut tickets = db.prepare_cached("DELETE FROM places WHERE key = ?1 AND run = ?2 AND step = ?3")?;
            tickets.execute((&key, ticket.run.to_bytes(), ticket.of.as_stored()))?;
            Ok(())
        });
    }
}
