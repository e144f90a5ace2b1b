//! Slots and lines. Memory decides, because a step that holds a slot dies with the process; places in a line, and runs that
//! hold a slot for as long as they live, are written down behind it, in the order in which they change and before any commit that is handed in later. So a run whose
//! commit says that it waits, or that its step started, is found in its line, or out of it, after a restart.

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
        let mut lines = self.held.lines();
        let (taken, left) = lines.change(&limit.key, |line| line.acquire(limit.slots, holder, lease_until, now));
        if taken == AcquireResult::Acquired && lease_until == Timestamp::MAX {
            self.owe_holding(limit.key.clone(), holder.run);
        }
        if let Some(place) = left {
            self.owe_leaving(limit.key.clone(), place);
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
        let mut lines = self.held.lines();
        let taken = lines.acquire_all(limits, holder, lease_until, now);
        if taken.is_ok() && lease_until == Timestamp::MAX {
            limits.iter().for_each(|limit| self.owe_holding(limit.key.clone(), holder.run));
        }
        Ok(taken.map(|left| left.into_iter().for_each(|(key, place)| self.owe_leaving(key, place))))
    }

    async fn enqueue(&self, limit: &Limit, place: Ticket) -> StoreResult<bool> {
        let text = serde_json::to_string(&place).map_err(|error| StoreError::Unreadable(error.to_string()))?;
        let mut lines = self.held.lines();
        let is_new = lines.change(&limit.key, |line| line.enqueue(place.clone()));
        if is_new {
            let limit = limit.clone();
            self.writer.owe(move |db| join(db, &limit, &place, &text));
        }
        Ok(is_new)
    }

    async fn tickets(&self, limit: &Limit, n: usize) -> StoreResult<Vec<Ticket>> {
        let lines = self.held.lines();
        Ok(lines.get(&limit.key).map_or_else(Vec::new, |line| line.tickets().take(n).cloned().collect()))
    }

    async fn holders(&self, limit: &Limit) -> StoreResult<Vec<HeldSlot>> {
        Ok(self.held.lines().get(&limit.key).map_or_else(Vec::new, |line| line.holders().to_vec()))
    }

    async fn ticket(&self, limit: &Limit, run: RunId, step: Option<StepId>) -> StoreResult<Option<Ticket>> {
        Ok(self.held.lines().get(&limit.key).and_then(|line| line.ticket(run, step.as_ref())).cloned())
    }

    async fn position(&self, limit: &Limit, run: RunId) -> StoreResult<Option<usize>> {
        Ok(self.held.lines().get(&limit.key).and_then(|line| line.position(run)))
    }
}

impl Sqlite {
    /// A run that holds a slot for as long as it lives holds it after a restart, too.
    fn owe_holding(&self, key: Arc<str>, run: RunId) {
        self.writer.owe(move |db| {
            let mut holders = db.prepare_cached("INSERT OR IGNORE INTO holders (key, run) VALUES (?1, ?2)")?;
            holders.execute((&key, run.to_bytes()))?;
            Ok(())
        });
    }

    /// Handed in under the lock of the lines: rows change in the order in which memory did.
    fn owe_leaving(&self, key: Arc<str>, place: Ticket) {
        self.writer.owe(move |db| {
            let mut places = db.prepare_cached("DELETE FROM places WHERE key = ?1 AND run = ?2 AND step = ?3")?;
            places.execute((&key, place.run.to_bytes(), &place.step))?;
            Ok(())
        });
    }
}
