//! Retention: what ended long ago is deleted, a little at a time, so that nobody waits for it.

use rusqlite::Connection;
use stepladder_core::{RunId, Timestamp};
use stepladder_engine::ports::StoreResult;

use crate::Sqlite;
use crate::fault::Fault;
use crate::writer::Sync;

/// Runs, or events, in one transaction.
const BATCH: i64 = 100;

/// What was deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Runs, with their journals.
    pub runs: usize,
    /// Events that no run is left of.
    pub events: usize,
}

impl Sqlite {
    /// Deletes runs that ended before `older_than`, with their journals, and events that were received before it and
    /// of which no run is left. Live runs are never touched, however old. A sender's event ids are forgotten with
    /// their events, so `older_than` should be more than 24 hours ago.
    ///
    /// # Errors
    /// [`StoreError`](stepladder_engine::ports::StoreError); what was deleted by then stays deleted.
    pub async fn prune(&self, older_than: Timestamp) -> StoreResult<Pruned> {
        let mut pruned = Pruned::default();
        // what may go is looked for by a reader: the writer only deletes
        loop {
            let ended = self.readers.list(move |db| ended_runs(db, older_than)).await?;
            if ended.is_empty() {
                break;
            }
            pruned.runs += ended.len();
            self.writer.run(Sync::WithTheNext, move |db| delete_runs(db, &ended), |_, _| {}).await?;
        }
        while self.writer.run(Sync::WithTheNext, move |db| delete_notes(db, older_than), |_, _| {}).await? > 0 {}
        loop {
            let orphans = self.readers.list(move |db| orphaned_events(db, older_than)).await?;
            if orphans.is_empty() {
                return Ok(pruned);
            }
            pruned.events +=
                self.writer.run(Sync::WithTheNext, move |db| delete_events(db, &orphans), |_, _| {}).await?;
        }
    }
}

/// Ids begin with the time, so the look ends where runs are too young.
fn ended_runs(db: &Connection, older_than: Timestamp) -> Result<Vec<[u8; 16]>, Fault> {
    let mut ended = db.prepare_cached(
        "SELECT run FROM runs WHERE run < ?1 AND status IS NOT NULL AND ended_at < ?2 ORDER BY run LIMIT ?3",
    )?;
    let youngest = RunId::new(older_than, 0).to_bytes();
    let found = ended.query_map((youngest, older_than.as_millis(), BATCH), |row| row.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

fn delete_runs(db: &Connection, runs: &[[u8; 16]]) -> Result<(), Fault> {
    for run in runs {
        db.prepare_cached("DELETE FROM journal WHERE run = ?1")?.execute([run])?;
        db.prepare_cached("DELETE FROM runs WHERE run = ?1")?.execute([run])?;
        db.prepare_cached("DELETE FROM waiters WHERE run = ?1")?.execute([run])?;
        db.prepare_cached("DELETE FROM offers WHERE run = ?1")?.execute([run])?;
        db.prepare_cached("DELETE FROM links WHERE run = ?1")?.execute([run])?;
    }
    Ok(())
}

/// Events are numbered as they came, so the look ends at the first that is too young.
fn orphaned_events(db: &Connection, older_than: Timestamp) -> Result<Vec<i64>, Fault> {
    let mut orphans = db.prepare_cached(
        "SELECT n FROM events \
         WHERE n < COALESCE((SELECT n FROM events WHERE received_at >= ?1 ORDER BY n LIMIT 1), ?2) \
         AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.event = events.id) \
         AND NOT EXISTS (SELECT 1 FROM links WHERE links.event = events.id) ORDER BY n LIMIT ?3",
    )?;
    let found = orphans.query_map((older_than.as_millis(), i64::MAX, BATCH), |row| row.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Notes that say nothing any more.
fn delete_notes(db: &Connection, older_than: Timestamp) -> Result<usize, Fault> {
    let mut delete =
        db.prepare_cached("DELETE FROM notes WHERE key IN (SELECT key FROM notes WHERE until < ?1 LIMIT ?2)")?;
    Ok(delete.execute((older_than.as_millis(), BATCH))?)
}

/// Deletes those that still have no run: a repeat of the event may have started one meanwhile.
fn delete_events(db: &Connection, events: &[i64]) -> Result<usize, Fault> {
    let mut delete = db.prepare_cached(
        "DELETE FROM events WHERE n = ?1 AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.event = events.id) \
         AND NOT EXISTS (SELECT 1 FROM links WHERE links.event = events.id)",
    )?;
    let mut deleted = 0;
    for n in events {
        deleted += delete.execute([n])?;
    }
    Ok(deleted)
}
