//! Retention: what ended long ago is deleted, a little at a time, so that nobody waits for it.

use rusqlite::Connection;
use stepladder_core::Timestamp;
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
    /// of which no run is left. Live runs are never touched, however old.
    ///
    /// # Errors
    /// [`StoreError`](stepladder_engine::ports::StoreError); what was deleted by then stays deleted.
    pub async fn prune(&self, older_than: Timestamp) -> StoreResult<Pruned> {
        let older_than = older_than.as_millis();
        let mut pruned = Pruned::default();
        loop {
            let runs = self.writer.run(Sync::WithTheNext, move |db| runs(db, older_than), |_, _| {}).await?;
            let events = self.writer.run(Sync::WithTheNext, move |db| events(db, older_than), |_, _| {}).await?;
            pruned.runs += runs;
            pruned.events += events;
            if runs == 0 && events == 0 {
                return Ok(pruned);
            }
        }
    }
}

fn runs(db: &Connection, older_than: i64) -> Result<usize, Fault> {
    let mut ended =
        db.prepare_cached("SELECT run FROM runs WHERE status IS NOT NULL AND ended_at < ?1 ORDER BY run LIMIT ?2")?;
    let found = ended.query_map((older_than, BATCH), |row| row.get::<_, [u8; 16]>(0))?;
    let found = found.collect::<rusqlite::Result<Vec<_>>>()?;
    for run in &found {
        db.prepare_cached("DELETE FROM journal WHERE run = ?1")?.execute([run])?;
        db.prepare_cached("DELETE FROM runs WHERE run = ?1")?.execute([run])?;
    }
    Ok(found.len())
}

fn events(db: &Connection, older_than: i64) -> Result<usize, Fault> {
    let mut orphans = db.prepare_cached(
        "DELETE FROM events WHERE n IN (SELECT n FROM events WHERE received_at < ?1 \
         AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.event = events.id) ORDER BY n LIMIT ?2)",
    )?;
    Ok(orphans.execute((older_than, BATCH))?)
}
