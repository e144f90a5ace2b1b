//! Deletes old runs and events in small transactions, so that other writes are not delayed.

use async_trait::async_trait;
use rusqlite::Connection;
use stepladder_core::{RunId, Timestamp};
use stepladder_engine::ports::{PruneResult, Retention, StoreResult};

use crate::Sqlite;
use crate::error::SqliteError;
use crate::memory::MemoryState;
use crate::store::{costs, trends};
use crate::writer::Durability;

/// The maximum number of runs or events that one transaction deletes.
const BATCH: i64 = 100;

#[async_trait]
impl Retention for Sqlite {
    async fn prune(&self, older_than: Timestamp) -> StoreResult<PruneResult> {
        let mut pruned = PruneResult::default();
        // a reading connection finds the rows, so that the writer only deletes
        loop {
            let ended = self.readers.list(move |db| ended_runs(db, older_than)).await?;
            if ended.is_empty() {
                break;
            }
            pruned.runs += ended.len();
            let deleted = ended.clone();
            let forget = move |(): &(), memory: &MemoryState| {
                deleted.iter().for_each(|run| memory.journal_ends.forget(RunId::from_bytes(*run)));
            };
            self.writer.run(Durability::NextSync, move |db| delete_runs(db, &ended), forget).await?;
        }
        while self
            .writer
            .run(Durability::NextSync, move |db| delete_expired_flow_states(db, older_than), |_, _| {})
            .await?
            > 0
        {}
        let now = self.clock.now();
        self.writer
            .run(Durability::NextSync, move |db| Ok(trends::prune(db, now)? + costs::prune(db, now)?), |_, _| {})
            .await?;
        loop {
            let orphans = self.readers.list(move |db| orphaned_events(db, older_than)).await?;
            if orphans.is_empty() {
                return Ok(pruned);
            }
            pruned.events +=
                self.writer.run(Durability::NextSync, move |db| delete_events(db, &orphans), |_, _| {}).await?;
        }
    }
}

/// Returns runs that ended before `older_than`. Ids start with the time of creation, so the query
/// stops at the first run that was created after it.
fn ended_runs(db: &Connection, older_than: Timestamp) -> Result<Vec<[u8; 16]>, SqliteError> {
    let mut ended = db.prepare_cached(
        "SELECT run FROM runs WHERE run < ?1 AND status IS NOT NULL AND ended_at < ?2 ORDER BY run LIMIT ?3",
    )?;
    let youngest = RunId::new(older_than, 0).to_bytes();
    let found = ended.query_map((youngest, older_than.as_millis(), BATCH), |row| row.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

fn delete_runs(db: &Connection, runs: &[[u8; 16]]) -> Result<(), SqliteError> {
    for run in runs {
        db.prepare_cached("DELETE FROM journal WHERE run = ?1")?.execute([run])?;
        db.prepare_cached("DELETE FROM runs WHERE run = ?1")?.execute([run])?;
        db.prepare_cached("DELETE FROM waiters WHERE run = ?1")?.execute([run])?;
        db.prepare_cached("DELETE FROM offers WHERE run = ?1")?.execute([run])?;
        db.prepare_cached("DELETE FROM links WHERE run = ?1")?.execute([run])?;
        db.prepare_cached("DELETE FROM labels WHERE run = ?1")?.execute([run])?;
        db.prepare_cached("DELETE FROM deliveries WHERE run = ?1")?.execute([run])?;
    }
    Ok(())
}

/// Returns events without runs that were received before `older_than`. Events are numbered in the
/// order in which they were received, so the query stops at the first younger event.
fn orphaned_events(db: &Connection, older_than: Timestamp) -> Result<Vec<i64>, SqliteError> {
    let mut orphans = db.prepare_cached(
        "SELECT n FROM events \
         WHERE n < COALESCE((SELECT n FROM events WHERE received_at >= ?1 ORDER BY n LIMIT 1), ?2) \
         AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.event = events.id) \
         AND NOT EXISTS (SELECT 1 FROM links WHERE links.event = events.id) ORDER BY n LIMIT ?3",
    )?;
    let found = orphans.query_map((older_than.as_millis(), i64::MAX, BATCH), |row| row.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

fn delete_expired_flow_states(db: &Connection, older_than: Timestamp) -> Result<usize, SqliteError> {
    let mut delete =
        db.prepare_cached("DELETE FROM notes WHERE key IN (SELECT key FROM notes WHERE until < ?1 LIMIT ?2)")?;
    Ok(delete.execute((older_than.as_millis(), BATCH))?)
}

/// Deletes those of the events that still have no run. In the meantime, a repeated event may have
/// started a run.
fn delete_events(db: &Connection, events: &[i64]) -> Result<usize, SqliteError> {
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
