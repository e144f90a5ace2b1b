//! Commits. Each commit is one transaction.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use rusqlite::OptionalExtension;
use stepladder_core::slot::Holder;
use stepladder_core::{Timestamp, Wake};
use stepladder_engine::ports::{
    Commit, CommitResult, Commits, EarlyWrite, JournalAppend, LateWrite, Receipt, StoreResult,
};

use super::costs;
use super::subscriptions;
use super::timers::set_timer;
use super::trends::{self, RecordTrends};
use crate::Sqlite;
use crate::error::SqliteError;
use crate::memory::MemoryState;
use crate::rows::{RecordRow, TimerRow};
use crate::writer::{Durability, WriteTransaction};

/// A wake that is being sent: its row, and its entry for the queue in memory.
pub(super) struct OutgoingWake {
    n: i64,
    due: Timestamp,
    text: String,
    wake: Wake,
}

#[async_trait]
impl Commits for Sqlite {
    /// Returns `true`, because the file is locked while it is open.
    fn is_exclusive(&self) -> bool {
        true
    }

    async fn commit(&self, commit: Commit) -> StoreResult<CommitResult> {
        // a commit that only releases slots needs no sync, because no step holds a slot after a
        // restart
        let durability = if commit.is_bookkeeping() { Durability::NextSync } else { Durability::Synced };
        let Commit { before, append, after, wakes, acks } = commit;
        let now = self.clock.now();
        let (mut timers, mut indexed) = (Vec::new(), Vec::new());
        let mut sent = Vec::with_capacity(before.len() + wakes.len());
        let mut record = None;
        let prepared: Result<(), SqliteError> = (|| {
            for write in before {
                match write {
                    EarlyWrite::Wake { wake, due } => sent.push(self.outgoing_wake(wake, due)?),
                    EarlyWrite::Timer(timer) => timers.push(TimerRow::new(&timer)?),
                    EarlyWrite::Subscribe(_)
                    | EarlyWrite::PutInInbox { .. }
                    | EarlyWrite::LinkEvent { .. }
                    | EarlyWrite::NoteDelivery { .. }
                    | EarlyWrite::AddLabel { .. } => indexed.push(write),
                }
            }
            for wake in wakes {
                sent.push(self.outgoing_wake(wake, now)?);
            }
            if let Some(append) = &append {
                let row = RecordRow::new(append.run, &append.record)?;
                record = Some((row, RecordTrends::of(&append.record.entries)));
            }
            Ok(())
        })();
        prepared.map_err(SqliteError::into_store_error)?;
        let acked = self.numbers_of_receipts(&acks);
        let (rows, carried, appended) = (after.clone(), acked.clone(), append.clone());
        let numbers: Vec<(i64, i64, String)> = sent.iter_mut().map(OutgoingWake::take_row).collect();
        let work = move |db: &WriteTransaction<'_>| {
            let written = record.as_ref().map_or(Ok(AppendResult::Appended), |(row, _)| append_record(db, row))?;
            if written != AppendResult::Appended {
                // another record has this number, or an earlier attempt has already committed
                // everything
                return Ok(written);
            }
            record.as_ref().map_or(Ok(()), |(row, trends)| trends.apply(db, row.run))?;
            timers.iter().try_for_each(|timer| set_timer(db, timer))?;
            indexed.iter().try_for_each(|write| subscriptions::apply(db, write))?;
            rows.iter().try_for_each(|after| apply(db, after, appended.as_deref()))?;
            numbers.iter().try_for_each(|(n, due, text)| insert_wake(db, *n, *due, text))?;
            acked.iter().try_for_each(|n| delete_wake(db, *n))?;
            Ok(written)
        };
        let follow = move |written: &AppendResult, memory: &MemoryState| {
            if *written != AppendResult::Appended {
                return;
            }
            if let Some(append) = &append {
                memory.journal_ends.record(append.run, append.record.next());
                memory.run_costs.count(append.run, &append.record);
            }
            apply_in_memory(after, memory);
            deliver_in_memory(sent, &carried, memory);
        };
        Ok(match self.writer.run_here(durability, work, follow).await? {
            AppendResult::Appended | AppendResult::Repeated => CommitResult::Done,
            AppendResult::Conflict => CommitResult::Conflict,
        })
    }
}

impl OutgoingWake {
    /// Takes the row out of the wake. The rest of the wake goes into the queue in memory.
    pub(super) fn take_row(&mut self) -> (i64, i64, String) {
        (self.n, self.due.as_millis(), std::mem::take(&mut self.text))
    }
}

impl Sqlite {
    pub(super) fn outgoing_wake(&self, wake: Wake, due: Timestamp) -> Result<OutgoingWake, SqliteError> {
        let n = self.latest_wake.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(OutgoingWake { n, due, text: serde_json::to_string(&wake)?, wake })
    }

    fn numbers_of_receipts(&self, acks: &[Receipt]) -> Vec<i64> {
        if acks.is_empty() {
            return Vec::new();
        }
        let messages = self.memory.messages();
        acks.iter().filter_map(|receipt| messages.number_of_receipt(receipt)).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AppendResult {
    Appended,
    /// The record is already stored with the same token (rule 1).
    Repeated,
    /// Another record has the same number.
    Conflict,
}

fn append_record(db: &WriteTransaction<'_>, record: &RecordRow) -> Result<AppendResult, SqliteError> {
    if db.journal_end(record.run)? == record.seq {
        insert_record(db, record)?;
        return Ok(AppendResult::Appended);
    }
    let mut stored = db.statement("SELECT token FROM journal WHERE run = ?1 AND seq = ?2")?;
    let token: Option<[u8; 16]> = stored.query_row((record.run.to_bytes(), record.seq), |row| row.get(0)).optional()?;
    Ok(if token == Some(record.token) { AppendResult::Repeated } else { AppendResult::Conflict })
}

/// Inserts a record. The number of the record must be free.
pub(super) fn insert_record(db: &WriteTransaction<'_>, record: &RecordRow) -> Result<(), SqliteError> {
    let RecordRow { run, seq, next, token, code, entries } = record;
    db.statement("INSERT INTO journal (run, seq, next, token, code, entries) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute((run.to_bytes(), seq, next, token, code, entries))?;
    db.set_journal_end(*run, *next);
    Ok(())
}

pub(super) fn insert_wake(db: &WriteTransaction<'_>, n: i64, due: i64, text: &str) -> Result<(), SqliteError> {
    db.statement("INSERT INTO wakes (n, due, wake) VALUES (?1, ?2, ?3)")?.execute((n, due, text))?;
    Ok(())
}

fn delete_wake(db: &WriteTransaction<'_>, n: i64) -> Result<(), SqliteError> {
    db.statement("DELETE FROM wakes WHERE n = ?1")?.execute([n])?;
    Ok(())
}

/// Executes the part of a late write that is stored in rows. The other part is kept in memory.
///
/// `append` is what the same transaction has appended to a journal.
fn apply(db: &WriteTransaction<'_>, after: &LateWrite, append: Option<&JournalAppend>) -> Result<(), SqliteError> {
    match after {
        LateWrite::MarkEnded { run, at, status } => {
            let mut row = db.statement(
                "UPDATE runs SET ended_at = ?2, status = ?3 WHERE run = ?1 AND status IS NULL \
                 RETURNING function, created_at, started_at IS NOT NULL",
            )?;
            let ended: Option<(String, i64, bool)> = row
                .query_row((run.to_bytes(), at.as_millis(), status.to_string()), |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                })
                .optional()?;
            match ended {
                Some((function, created_at, is_started)) => {
                    trends::count_ended(db, &function, Timestamp::from_millis(created_at), is_started, (*at, *status))?;
                    let last = append.filter(|append| append.run == *run).map(|append| &append.record);
                    costs::add_run(db, (*run, &function), last, *at)?;
                }
                // the end was written before, and is counted
                None => {
                    let mut row = db.statement("UPDATE runs SET ended_at = ?2, status = ?3 WHERE run = ?1")?;
                    row.execute((run.to_bytes(), at.as_millis(), status.to_string()))?;
                }
            }
        }
        LateWrite::Release { limit, holder: Holder::Run(run) } => {
            let mut holders = db.statement("DELETE FROM holders WHERE key = ?1 AND run = ?2")?;
            holders.execute((&limit.key, run.to_bytes()))?;
        }
        LateWrite::Release { holder: Holder::Attempt { .. }, .. } => {}
        LateWrite::Unsubscribe(subscription) => subscriptions::delete(db, subscription)?,
        LateWrite::TakeFromInbox { run, event } => subscriptions::delete_from_inbox(db, *run, *event)?,
        LateWrite::Dequeue { limit, run, of: Some(of) } => {
            let mut tickets = db.statement("DELETE FROM places WHERE key = ?1 AND run = ?2 AND step = ?3")?;
            tickets.execute((&limit.key, run.to_bytes(), of.as_stored()))?;
        }
        LateWrite::Dequeue { limit, run, of: None } => {
            let mut tickets = db.statement("DELETE FROM places WHERE key = ?1 AND run = ?2")?;
            tickets.execute((&limit.key, run.to_bytes()))?;
        }
        LateWrite::DequeuePaused { queue, run } => {
            let mut tickets = db.statement("DELETE FROM places WHERE key = ?1 AND run = ?2")?;
            tickets.execute((queue, run.to_bytes()))?;
        }
    }
    Ok(())
}

/// Executes the part of late writes that is kept in memory.
fn apply_in_memory(after: Vec<LateWrite>, memory: &MemoryState) {
    for write in &after {
        if let LateWrite::MarkEnded { run, .. } = write {
            memory.run_costs.forget(*run);
        }
    }
    let concerns_queues = |after: &LateWrite| {
        matches!(after, LateWrite::Release { .. } | LateWrite::Dequeue { .. } | LateWrite::DequeuePaused { .. })
    };
    if !after.iter().any(concerns_queues) {
        return;
    }
    let mut queues = memory.wait_queues();
    for after in after {
        let (key, holder, ticket) = match after {
            LateWrite::MarkEnded { .. } | LateWrite::Unsubscribe(_) | LateWrite::TakeFromInbox { .. } => continue,
            LateWrite::Release { limit, holder } => (limit.key, Some(holder), None),
            LateWrite::Dequeue { limit, run, of } => (limit.key, None, Some((run, of))),
            LateWrite::DequeuePaused { queue, run } => (queue, None, Some((run, None))),
        };
        queues.change(&key, |queue| {
            if let Some(holder) = holder {
                queue.release(&holder);
            }
            if let Some((run, of)) = ticket {
                queue.dequeue(run, of.as_ref());
            }
        });
    }
}

/// Adds wakes to the queue in memory, and removes the acknowledged ones.
pub(super) fn deliver_in_memory(sent: Vec<OutgoingWake>, acked: &[i64], memory: &MemoryState) {
    if sent.is_empty() && acked.is_empty() {
        return;
    }
    let arrived = !sent.is_empty();
    let mut messages = memory.messages();
    acked.iter().for_each(|n| messages.remove(*n));
    for OutgoingWake { n, due, wake, .. } in sent {
        messages.send(n, wake, due);
    }
    drop(messages);
    if arrived {
        memory.arrivals.notify_waiters();
    }
}
