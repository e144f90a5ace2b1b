//! Commits: one transaction each, all of it or nothing.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension};
use stepladder_core::slot::Holder;
use stepladder_core::{Timestamp, Wake};
use stepladder_engine::ports::{Commit, CommitResult, Commits, EarlyWrite, LateWrite, Receipt, StoreResult};

use super::timers::set_timer;
use super::waiters;
use crate::Sqlite;
use crate::fault::Fault;
use crate::held::Held;
use crate::rows::{RecordRow, TimerRow};
use crate::writer::Sync;

/// A wake to be sent, as it is stored and as it is kept.
pub(super) struct Sending {
    n: i64,
    due: Timestamp,
    text: String,
    wake: Wake,
}

#[async_trait]
impl Commits for Sqlite {
    async fn commit(&self, commit: Commit) -> StoreResult<CommitResult> {
        // what only frees slots and places needs no sync either: nobody holds any after a restart
        let sync = if commit.is_bookkeeping() { Sync::WithTheNext } else { Sync::Synced };
        let Commit { before, append, after, wakes, acks } = commit;
        let now = self.clock.now();
        let (mut timers, mut indexed) = (Vec::new(), Vec::new());
        let mut sent = Vec::with_capacity(before.len() + wakes.len());
        let mut record = None;
        let end = append.as_ref().map(|append| (append.run, append.record.next()));
        let prepared: Result<(), Fault> = (|| {
            for later in before {
                match later {
                    EarlyWrite::Wake { wake, due } => sent.push(self.sending(wake, due)?),
                    EarlyWrite::Timer(timer) => timers.push(TimerRow::new(&timer)?),
                    EarlyWrite::Subscribe(_) | EarlyWrite::PutInInbox { .. } | EarlyWrite::LinkEvent { .. } => {
                        indexed.push(later)
                    }
                }
            }
            for wake in wakes {
                sent.push(self.sending(wake, now)?);
            }
            record = append.map(|append| RecordRow::new(append.run, &append.record)).transpose()?;
            Ok(())
        })();
        prepared.map_err(Fault::into_store_error)?;
        let acked = self.numbers(&acks);
        let (rows, carried) = (after.clone(), acked.clone());
        let numbers: Vec<(i64, i64, String)> = sent.iter_mut().map(Sending::take_row).collect();
        let work = move |db: &Connection| {
            let written = record.as_ref().map_or(Ok(Written::Now), |record| write(db, record))?;
            if written != Written::Now {
                // taken by another, or carried out before with all that belongs to it
                return Ok(written);
            }
            timers.iter().try_for_each(|timer| set_timer(db, timer))?;
            indexed.iter().try_for_each(|later| waiters::index(db, later))?;
            rows.iter().try_for_each(|after| carry_out(db, after))?;
            numbers.iter().try_for_each(|(n, due, text)| send(db, *n, *due, text))?;
            acked.iter().try_for_each(|n| acknowledge(db, *n))?;
            Ok(written)
        };
        let follow = move |written: &Written, held: &Held| {
            if *written != Written::Now {
                return;
            }
            if let Some((run, next)) = end {
                held.ends.note(run, next);
            }
            free(after, held);
            deliver(sent, &carried, held);
        };
        Ok(match self.writer.run_here(sync, work, follow).await? {
            Written::Now | Written::Before => CommitResult::Done,
            Written::Taken => CommitResult::Conflict,
        })
    }
}

impl Sending {
    /// The row; what is left goes into the queue.
    pub(super) fn take_row(&mut self) -> (i64, i64, String) {
        (self.n, self.due.as_millis(), std::mem::take(&mut self.text))
    }
}

impl Sqlite {
    pub(super) fn sending(&self, wake: Wake, due: Timestamp) -> Result<Sending, Fault> {
        let n = self.wakes.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Sending { n, due, text: serde_json::to_string(&wake)?, wake })
    }

    fn numbers(&self, acks: &[Receipt]) -> Vec<i64> {
        if acks.is_empty() {
            return Vec::new();
        }
        let messages = self.held.messages();
        acks.iter().filter_map(|receipt| messages.number(receipt)).collect()
    }
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    Now,
    /// Its own token is there (rule 1).
    Before,
    Taken,
}

fn write(db: &Connection, record: &RecordRow) -> Result<Written, Fault> {
    let mut last = db.prepare_cached("SELECT next FROM journal WHERE run = ?1 ORDER BY seq DESC LIMIT 1")?;
    let next: i64 = last.query_row([record.run], |row| row.get(0)).optional()?.unwrap_or(0);
    if next == record.seq {
        insert(db, record)?;
        return Ok(Written::Now);
    }
    let mut there = db.prepare_cached("SELECT token FROM journal WHERE run = ?1 AND seq = ?2")?;
    let token: Option<[u8; 16]> = there.query_row((record.run, record.seq), |row| row.get(0)).optional()?;
    Ok(if token == Some(record.token) { Written::Before } else { Written::Taken })
}

/// Adds a record whose number is known to be free.
pub(super) fn insert(db: &Connection, record: &RecordRow) -> Result<(), Fault> {
    let RecordRow { run, seq, next, token, code, entries } = record;
    db.prepare_cached("INSERT INTO journal (run, seq, next, token, code, entries) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute((run, seq, next, token, code, entries))?;
    Ok(())
}

pub(super) fn send(db: &Connection, n: i64, due: i64, text: &str) -> Result<(), Fault> {
    db.prepare_cached("INSERT INTO wakes (n, due, wake) VALUES (?1, ?2, ?3)")?.execute((n, due, text))?;
    Ok(())
}

fn acknowledge(db: &Connection, n: i64) -> Result<(), Fault> {
    db.prepare_cached("DELETE FROM wakes WHERE n = ?1")?.execute([n])?;
    Ok(())
}

/// What of a follow-up is in rows.
fn carry_out(db: &Connection, after: &LateWrite) -> Result<(), Fault> {
    match after {
        LateWrite::MarkEnded { run, at, status } => {
            let mut row = db.prepare_cached("UPDATE runs SET ended_at = ?2, status = ?3 WHERE run = ?1")?;
            row.execute((run.to_bytes(), at.as_millis(), status.to_string()))?;
        }
        LateWrite::Release { limit, holder } if *holder == Holder::of_run(holder.run) => {
            let mut holders = db.prepare_cached("DELETE FROM holders WHERE key = ?1 AND run = ?2")?;
            holders.execute((&limit.key, holder.run.to_bytes()))?;
        }
        LateWrite::Release { .. } => {}
        LateWrite::Unsubscribe(waiter) => waiters::forget(db, waiter)?,
        LateWrite::TakeFromInbox { run, event } => waiters::take(db, *run, *event)?,
        LateWrite::Dequeue { limit, run, step: Some(step) } => {
            let mut places = db.prepare_cached("DELETE FROM places WHERE key = ?1 AND run = ?2 AND step = ?3")?;
            places.execute((&limit.key, run.to_bytes(), step))?;
        }
        LateWrite::Dequeue { limit, run, step: None } => {
            let mut places = db.prepare_cached("DELETE FROM places WHERE key = ?1 AND run = ?2")?;
            places.execute((&limit.key, run.to_bytes()))?;
        }
    }
    Ok(())
}

/// What of the follow-ups is in memory.
fn free(after: Vec<LateWrite>, held: &Held) {
    let is_in_lines = |after: &LateWrite| matches!(after, LateWrite::Release { .. } | LateWrite::Dequeue { .. });
    if !after.iter().any(is_in_lines) {
        return;
    }
    let mut lines = held.lines();
    for after in after {
        let (limit, holder, leave) = match after {
            LateWrite::MarkEnded { .. } | LateWrite::Unsubscribe(_) | LateWrite::TakeFromInbox { .. } => continue,
            LateWrite::Release { limit, holder } => (limit, Some(holder), None),
            LateWrite::Dequeue { limit, run, step } => (limit, None, Some((run, step))),
        };
        lines.change(&limit.key, |line| {
            if let Some(holder) = holder {
                line.release(&holder);
            }
            if let Some((run, step)) = leave {
                line.dequeue(run, step.as_ref());
            }
        });
    }
}

/// Puts wakes into the queue and takes the acknowledged ones out.
pub(super) fn deliver(sent: Vec<Sending>, acked: &[i64], held: &Held) {
    if sent.is_empty() && acked.is_empty() {
        return;
    }
    let arrived = !sent.is_empty();
    let mut messages = held.messages();
    acked.iter().for_each(|n| messages.remove(*n));
    for Sending { n, due, wake, .. } in sent {
        messages.send(n, wake, due);
    }
    drop(messages);
    if arrived {
        held.arrivals.notify_waiters();
    }
}
