//! Slots and wait queues. Memory decides, because a slot of a step is void once the process ends.
//!
//! Tickets, and slots that a run holds until its end, are rows too. They are written in the order in
//! which memory changes, and before any commit that is submitted later. So after a restart the wait
//! queues agree with the journals.

use std::sync::Arc;

use async_trait::async_trait;
use stepladder_core::slot::{HeldSlot, Holder, Limit, Ticket};
use stepladder_core::{RunId, StepId, Timestamp};
use stepladder_engine::ports::{AcquireResult, Slots, StoreError, StoreResult};

use super::starts::join;
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
        let mut lines = self.memory.lines();
        let (taken, left) = lines.change(&limit.key, |line| line.acquire(limit.slots, holder, lease_until, now));
        if taken == AcquireResult::Acquired && lease_until == Timestamp::MAX {
            self.store_holder(limit.key.clone(), holder.run);
        }
        if let Some(place) = left {
            self.delete_ticket(limit.key.clone(), place);
        }
        Ok(taken)
    }

    async fn acquire_all(
        &self,
        limits: &[Limit],
        holder: &Holder,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> StoreResult<Result<(), Vec<(usize, AcquireResult)>>> {
        let mut lines = self.memory.lines();
        let taken = lines.acquire_all(limits, holder, lease_until, now);
        if taken.is_ok() && lease_until == Timestamp::MAX {
            limits.iter().for_each(|limit| self.store_holder(limit.key.clone(), holder.run));
        }
        Ok(taken.map(|left| left.into_iter().for_each(|(key, place)| self.delete_ticket(key, place))))
    }

    async fn enqueue(&self, limit: &Limit, place: Ticket) -> StoreResult<bool> {
        let text = serde_json::to_string(&place).map_err(|error| StoreError::Unreadable(error.to_string()))?;
        let mut lines = self.memory.lines();
        let is_new = lines.change(&limit.key, |line| line.enqueue(place.clone()));
        if is_new {
            let limit = limit.clone();
            self.writer.run_in_background(move |db| join(db, &limit, &place, &text));
        }
        Ok(is_new)
    }

    async fn tickets(&self, limit: &Limit, n: usize) -> StoreResult<Vec<Ticket>> {
        let lines = self.memory.lines();
        Ok(lines.get(&limit.key).map_or_else(Vec::new, |line| line.tickets().take(n).cloned().collect()))
    }

    async fn holders(&self, limit: &Limit) -> StoreResult<Vec<HeldSlot>> {
        Ok(self.memory.lines().get(&limit.key).map_or_else(Vec::new, |line| line.holders().to_vec()))
    }

    async fn ticket(&self, limit: &Limit, run: RunId, step: Option<StepId>) -> StoreResult<Option<Ticket>> {
        Ok(self.memory.lines().get(&limit.key).and_then(|line| line.ticket(run, step.as_ref())).cloned())
    }

    async fn position(&self, limit: &Limit, run: RunId) -> StoreResult<Option<usize>> {
        Ok(self.memory.lines().get(&limit.key).and_then(|line| line.position(run)))
    }
}

impl Sqlite {
    /// Stores that a run holds a slot until its end, so that it holds the slot after a restart too.
    fn store_holder(&self, key: Arc<str>, run: RunId) {
        self.writer.run_in_background(move |db| {
            let mut holders = db.prepare_cached("INSERT OR IGNORE INTO holders (key, run) VALUES (?1, ?2)")?;
            holders.execute((&key, run.to_bytes()))?;
            Ok(())
        });
    }

    /// Deletes a ticket. The caller holds the lock of the wait queues, so rows change in the same
    /// order as memory.
    fn delete_ticket(&self, key: Arc<str>, place: Ticket) {
        self.writer.run_in_background(move |db| {
            let mut places = db.prepare_cached("DELETE FROM places WHERE key = ?1 AND run = ?2 AND step = ?3")?;
            places.execute((&key, place.run.to_bytes(), &place.step))?;
            Ok(())
        });
    }
}
