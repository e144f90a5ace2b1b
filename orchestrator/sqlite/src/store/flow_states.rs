//! Flow state, and the links from events to runs that other events created.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension};
use stepladder_core::{EventId, RunId};
use stepladder_engine::ports::{FlowStateChange, FlowStates, StoreResult};

use crate::Sqlite;
use crate::error::SqliteError;
use crate::writer::{Durability, WriteTransaction};

#[async_trait]
impl FlowStates for Sqlite {
    async fn read_flow_state(&self, keys: Vec<Arc<str>>) -> StoreResult<Vec<Option<Arc<str>>>> {
        self.readers.read(|db| keys.iter().map(|key| state_of(db, key)).collect())
    }

    async fn change_flow_state(&self, changes: Vec<FlowStateChange>) -> StoreResult<Vec<bool>> {
        let work = move |db: &WriteTransaction<'_>| {
            let each = changes.iter().map(|state| {
                let current = state_of(db, &state.key)?;
                if current == state.seen {
                    write_flow_state(db, state)?;
                    return Ok(true);
                }
                Ok(current == state.becomes)
            });
            each.collect::<Result<Vec<_>, SqliteError>>()
        };
        self.writer.run(Durability::Synced, work, |_, _| {}).await
    }
}

fn state_of(db: &Connection, key: &str) -> Result<Option<Arc<str>>, SqliteError> {
    let mut query = db.prepare_cached("SELECT text FROM notes WHERE key = ?1")?;
    Ok(query.query_row([key], |row| row.get(0)).optional()?)
}

/// Returns whether all flow states still have the values that the caller read.
pub(super) fn are_unchanged(db: &WriteTransaction<'_>, states: &[FlowStateChange]) -> Result<bool, SqliteError> {
    for state in states {
        if state_of(db, &state.key)? != state.seen {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) fn write_flow_state(db: &WriteTransaction<'_>, state: &FlowStateChange) -> Result<(), SqliteError> {
    match &state.becomes {
        Some(text) => db
            .prepare_cached("INSERT OR REPLACE INTO notes (key, text, until) VALUES (?1, ?2, ?3)")?
            .execute((&state.key, text, state.until.as_millis()))?,
        None => db.statement("DELETE FROM notes WHERE key = ?1")?.execute([&state.key])?,
    };
    Ok(())
}

pub(super) fn link_event(db: &WriteTransaction<'_>, run: RunId, event: EventId) -> Result<(), SqliteError> {
    let mut links = db.statement("INSERT OR IGNORE INTO links (event, run) VALUES (?1, ?2)")?;
    links.execute((event.to_bytes(), run.to_bytes()))?;
    Ok(())
}
