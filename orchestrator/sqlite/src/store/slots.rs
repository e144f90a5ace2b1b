//! Slots and wait queues. The state in memory decides, because a slot of a step is no longer valid
//! once the process ends.
//!
//! Tickets, and slots that a run holds until its end, are also stored as rows. These rows are
//! written in the order in which memory changes, and before any commit that is submitted later. So
//! after a restart the wait queues agree with the journals.

use async_trait::async_trait;
use futures::FutureExt;
use parking_lot::Mutex;
use stepladder_core::slot::{HeldSlot, Holder, Limit, QueueKey, Ticket};
use stepladder_core::{RunId, RunOrStep, Timestamp};
use stepladder_engine::local::WaitQueues;
use stepladder_engine::ports::{
    AcquireRequest, AcquireResult, QueueHead, Refusal, SlotOperations, Slots, Snapshot, SnapshotParts, StoreError,
    StoreResult, acquire_by_operations, release_by_operations, snapshot_by_operations,
};

use super::starts::insert_ticket;
use crate::Sqlite;
use crate::error::SqliteError;

#[async_trait]
impl Slots for Sqlite {
    async fn acquire(&self, request: AcquireRequest) -> StoreResult<AcquireResult> {
        let mut queues = self.memory.wait_queues();
        at_once(acquire_by_operations(&LockedQueues::of(self, &mut queues), request))
    }

    async fn release(
        &self,
        slots: Vec<(Limit, Holder)>,
        limits: &[Limit],
        now: Timestamp,
    ) -> StoreResult<Vec<QueueHead>> {
        let mut queues = self.memory.wait_queues();
        at_once(release_by_operations(&LockedQueues::of(self, &mut queues), slots, limits, now))
    }

    async fn snapshot(&self, queue: &QueueKey, parts: SnapshotParts) -> StoreResult<Snapshot> {
        let mut queues = self.memory.wait_queues();
        at_once(snapshot_by_operations(&LockedQueues::of(self, &mut queues), queue, parts))
    }

    async fn enqueue_paused(&self, queue: &QueueKey, ticket: Ticket) -> StoreResult<()> {
        let mut queues = self.memory.wait_queues();
        at_once(LockedQueues::of(self, &mut queues).enqueue_without_slots(queue, ticket))
    }
}

/// Returns the result of a call that never waits.
fn at_once<T>(call: impl Future<Output = StoreResult<T>>) -> StoreResult<T> {
    call.now_or_never().unwrap_or_else(|| Err(StoreError::Unavailable("the wait queues did not answer".into())))
}

/// The locked wait queues. Several operations under one lock are atomic. No operation waits.
struct LockedQueues<'a> {
    sqlite: &'a Sqlite,
    queues: Mutex<&'a mut WaitQueues>,
}

impl<'a> LockedQueues<'a> {
    fn of(sqlite: &'a Sqlite, queues: &'a mut WaitQueues) -> Self {
        Self { sqlite, queues: Mutex::new(queues) }
    }

    fn add(&self, queue: &QueueKey, slots: u32, ticket: Ticket) -> StoreResult<bool> {
        let text = serde_json::to_string(&ticket).map_err(StoreError::unreadable)?;
        let is_new = self.queues.lock().change(queue, |queue| queue.enqueue(ticket.clone()));
        if is_new {
            let queue = queue.clone();
            self.sqlite.writer.run_in_background(move |db| insert_ticket(db, &queue, slots, &ticket, &text));
        }
        Ok(is_new)
    }

    fn delete_row(&self, key: QueueKey, ticket: Ticket) {
        self.sqlite.writer.run_in_background(move |db| {
            let mut tickets = db.prepare_cached("DELETE FROM places WHERE key = ?1 AND run = ?2 AND step = ?3")?;
            tickets.execute((&key, ticket.run.to_bytes(), ticket.of.as_stored()))?;
            Ok(())
        });
    }

    /// Adds or deletes the row of a run that holds a slot until its end, so that the run still
    /// holds the slot after a restart.
    fn change_holder(&self, sql: &'static str, limit: &Limit, run: RunId) {
        let key = limit.key.clone();
        self.sqlite.writer.run_in_background(move |db| -> Result<(), SqliteError> {
            db.prepare_cached(sql)?.execute((&key, run.to_bytes()))?;
            Ok(())
        });
    }
}

#[async_trait]
impl SlotOperations for LockedQueues<'_> {
    async fn try_acquire(
        &self,
        limits: &[Limit],
        holder: &Holder,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> StoreResult<Vec<Refusal>> {
        let used = match self.queues.lock().acquire_all(limits, holder, lease_until, now) {
            Ok(used) => used,
            Err(refusals) => return Ok(refusals),
        };
        if lease_until == Timestamp::MAX {
            for limit in limits {
                self.change_holder("INSERT OR IGNORE INTO holders (key, run) VALUES (?1, ?2)", limit, holder.run());
            }
        }
        used.into_iter().for_each(|(key, ticket)| self.delete_row(key, ticket));
        Ok(Vec::new())
    }

    async fn release_slot(&self, limit: &Limit, holder: &Holder) -> StoreResult<()> {
        self.queues.lock().change(&limit.key, |queue| queue.release(holder));
        if let Holder::Run(run) = holder {
            self.change_holder("DELETE FROM holders WHERE key = ?1 AND run = ?2", limit, *run);
        }
        Ok(())
    }

    async fn holders(&self, queue: &QueueKey) -> StoreResult<Vec<HeldSlot>> {
        Ok(self.queues.lock().get(queue).map_or_else(Vec::new, |queue| queue.holders().to_vec()))
    }

    async fn enqueue(&self, limit: &Limit, ticket: Ticket) -> StoreResult<bool> {
        self.add(&limit.key, limit.slots, ticket)
    }

    async fn enqueue_without_slots(&self, queue: &QueueKey, ticket: Ticket) -> StoreResult<()> {
        // with 0 slots, no ticket in this queue gets a wake when the file is opened
        self.add(queue, 0, ticket).map(drop)
    }

    async fn dequeue(&self, limit: &Limit, ticket: &Ticket) -> StoreResult<()> {
        self.queues.lock().change(&limit.key, |queue| queue.dequeue(ticket.run, Some(&ticket.of)));
        self.delete_row(limit.key.clone(), ticket.clone());
        Ok(())
    }

    async fn first_tickets(&self, queue: &QueueKey, n: usize) -> StoreResult<Vec<Ticket>> {
        Ok(self.queues.lock().first_tickets(queue, n))
    }

    async fn ticket(&self, queue: &QueueKey, run: RunId, of: Option<&RunOrStep>) -> StoreResult<Option<Ticket>> {
        Ok(self.queues.lock().get(queue).and_then(|queue| queue.ticket(run, of)).cloned())
    }

    async fn count_before(&self, queue: &QueueKey, ticket: &Ticket) -> StoreResult<usize> {
        Ok(self.queues.lock().get(queue).map_or(0, |queue| queue.count_before(ticket)))
    }
}
