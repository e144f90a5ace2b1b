//! The timers, and the cursor of the sweep.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row};
use stepladder_core::{RunId, Timer};
use stepladder_engine::ports::{Cursor, StoreError, StoreResult, Timers};

use crate::error::SqliteError;
use crate::rows::TimerRow;
use crate::writer::{Durability, WriteTransaction};
use crate::{Sqlite, rows};

#[async_trait]
impl Timers for Sqlite {
    async fn bucket(&self, minute: i64, limit: usize) -> StoreResult<Vec<StoreResult<Timer>>> {
        let query = move |db: &Connection| {
            let mut statement =
                db.prepare_cached("SELECT timer, run FROM timers WHERE minute = ?1 ORDER BY due LIMIT ?2")?;
            let mut found = statement.query([minute, i64::try_from(limit).unwrap_or(i64::MAX)])?;
            let mut timers = Vec::new();
            while let Some(row) = found.next()? {
                timers.push(parse_timer(row));
            }
            Ok(timers)
        };
        self.readers.list(query).await
    }

    async fn oldest(&self) -> StoreResult<Option<i64>> {
        self.readers.read(|db| {
            let mut query = db.prepare_cached("SELECT min(minute) FROM timers")?;
            Ok(query.query_row([], |row| row.get(0))?)
        })
    }

    async fn set(&self, timers: Vec<Timer>) -> StoreResult<()> {
        let rows: Result<Vec<_>, SqliteError> = timers.iter().map(TimerRow::new).collect();
        let rows = rows.map_err(SqliteError::into_store_error)?;
        let work = move |db: &WriteTransaction<'_>| rows.iter().try_for_each(|timer| set_timer(db, timer));
        self.writer.run(Durability::Synced, work, |(), _| {}).await
    }

    async fn cursor(&self) -> StoreResult<Option<Cursor>> {
        self.readers.read(cursor)
    }

    async fn advance(&self, expected: Option<Cursor>, next: Cursor) -> StoreResult<bool> {
        let work = move |db: &WriteTransaction<'_>| {
            if cursor(db)? != expected {
                return Ok(false);
            }
            let text = serde_json::to_string(&next)?;
            db.prepare_cached("INSERT OR REPLACE INTO cursor (n, cursor) VALUES (1, ?1)")?.execute([text])?;
            db.prepare_cached("DELETE FROM timers WHERE minute < ?1")?.execute([next.minute])?;
            Ok(true)
        };
        self.writer.run(Durability::Synced, work, |_, _| {}).await
    }
}

/// Reads a timer from its row. If the row is unreadable, the error names the run.
fn parse_timer(row: &Row<'_>) -> StoreResult<Timer> {
    rows::from_json(row, 0).map_err(|error: SqliteError| {
        let run = row.get(1).map_or_else(|_| "an unknown run".into(), |run| format!("run {}", RunId::from_bytes(run)));
        StoreError::Unreadable(format!("a timer of {run}: {}", error.into_store_error().reason()).into())
    })
}

fn cursor(db: &Connection) -> Result<Option<Cursor>, SqliteError> {
    let mut query = db.prepare_cached("SELECT cursor FROM cursor")?;
    let text: Option<String> = query.query_row([], |row| row.get(0)).optional()?;
    Ok(text.map(|text| serde_json::from_str(&text)).transpose()?)
}

pub(super) fn set_timer(db: &WriteTransaction<'_>, timer: &TimerRow) -> Result<(), SqliteError> {
    let TimerRow { minute, due, run, purpose, timer } = timer;
    db.statement("INSERT OR IGNORE INTO timers (minute, due, run, purpose, timer) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute((minute, due, run, purpose, timer))?;
    Ok(())
}
