//! Reads journals.

use async_trait::async_trait;
use stepladder_core::{Record, RunId, Seq};
use stepladder_engine::ports::{Journals, StoreResult};

use crate::{Sqlite, rows};

#[async_trait]
impl Journals for Sqlite {
    async fn read(&self, run: RunId, from: Seq) -> StoreResult<Vec<Record>> {
        if self.memory.journal_ends.is_past(run, from) {
            return Ok(Vec::new());
        }
        let Ok(from) = i64::try_from(from) else { return Ok(Vec::new()) };
        self.readers.read(|db| {
            let mut query = db.prepare_cached(
                "SELECT seq, token, code, entries FROM journal WHERE run = ?1 AND seq >= ?2 ORDER BY seq",
            )?;
            let mut found = query.query((run.to_bytes(), from))?;
            let mut records = Vec::new();
            while let Some(row) = found.next()? {
                records.push(rows::record(row)?);
            }
            Ok(records)
        })
    }
}
