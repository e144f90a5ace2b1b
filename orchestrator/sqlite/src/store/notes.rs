//! Flow state, and the links from events to runs that another event created.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension};
use stepladder_core::{EventId, RunId};
use stepladder_engine::ports::{FlowStateChange, FlowStates, StoreResult};

use crate::Sqlite;
use crate::error::SqliteError;
use crate::writer::Durability;

#[async_trait]
impl FlowStates for Sqlite {
    async fn read_flow_state(&self, keys: Vec<Arc<str>>) -> StoreResult<Vec<Option<Arc<str>>>> {
        self.readers.read(|db| keys.iter().map(|key| noted(db, key)).collect())
    }

    async fn change_flow_state(&self, changes: Vec<FlowStateChange>) -> StoreResult<Vec<bool>> {
        let work = move |db: &Connection| {
            let each = changes.iter().map(|note| {
                let there = noted(db, &note.key)?;
                if there == note.seen {
                    change(db, note)?;
                    return Ok(true);
                }
                Ok(there == note.becomes)
            });
            each.collect::<Result<Vec<_>, SqliteError>>()
        };
        self.writer.run(Durability::Synced, work, |_, _| {}).await
    }
}

fn noted(db: &Connection, key: &str) -> Result<Option<Arc<str>>, SqliteError> {
    let mut query = db.prepare_cached("SELECT text FROM notes WHERE key = ?1")?;
    Ok(query.query_row([key], |row| row.get(0)).optional()?)
}

/// Returns whether all notes still have the values that the caller read.
pub(super) fn are_as_seen(db: &Connection, notes: &[FlowStateChange]) -> Result<bool, SqliteError> {
    for note in notes {
        if noted(db, &note.key)? != note.seen {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) fn change(db: &Connection, note: &FlowStateChange) -> Result<(), SqliteError> {
    match &note.becomes {
        Some(text) => db
            .prepare_cached("INSERT OR REPLACE INTO notes (key, text, until) VALUES (?1, ?2, ?3)")?
            .execute((&note.key, text, note.until.as_millis()))?,
        None => db.prepare_cached("DELETE FROM notes WHERE key = ?1")?.execute([&note.key])?,
    };
    Ok(())
}

pub(super) fn link(db: &Connection, run: RunId, event: EventId) -> Result<(), SqliteError> {
    let mut links = db.prepare_cached("INSERT OR IGNORE INTO links (event, run) VALUES (?1, ?2)")?;
    links.execute((event.to_bytes(), run.to_bytes()))?;
    Ok(())
}
