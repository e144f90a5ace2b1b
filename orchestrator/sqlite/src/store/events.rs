//! Received events, and their deduplication by external id.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row};
use stepladder_core::limits::DEDUPLICATION_MS;
use stepladder_core::{Event, EventId, Timestamp};
use stepladder_engine::ports::{Events, StoreResult};

use crate::error::SqliteError;
use crate::rows::EventRow;
use crate::writer::Durability;
use crate::{Sqlite, rows};

#[async_trait]
impl Events for Sqlite {
    async fn accept(&self, events: Vec<Event>, now: Timestamp) -> StoreResult<Vec<Event>> {
        let rows: Result<Vec<_>, SqliteError> = events.iter().map(EventRow::new).collect();
        let rows = rows.map_err(SqliteError::into_store_error)?;
        let since = now.as_millis() - DEDUPLICATION_MS;
        let work = move |db: &Connection| {
            rows.iter().map(|row| store(db, row, since)).collect::<Result<Vec<Option<String>>, SqliteError>>()
        };
        let stored = self.writer.run(Durability::Synced, work, |_, _| {}).await?;
        let accepted = events.into_iter().zip(stored).map(|(event, first)| match first {
            None => Ok(event),
            Some(text) => serde_json::from_str(&text).map_err(|error| SqliteError::from(error).into_store_error()),
        });
        accepted.collect()
    }

    async fn event(&self, id: EventId) -> StoreResult<Option<Event>> {
        self.readers.read(|db| {
            let mut query = db.prepare_cached("SELECT event FROM events WHERE id = ?1")?;
            let mut found = query.query([id.to_bytes()])?;
            found.next()?.map(|row| rows::from_json(row, 0)).transpose()
        })
    }

    async fn resolve(&self, external_id: &str) -> StoreResult<Option<EventId>> {
        self.readers.read(|db| {
            let mut query =
                db.prepare_cached("SELECT id FROM events WHERE external_id = ?1 ORDER BY n DESC LIMIT 1")?;
            Ok(query.query_row([external_id], |row| row.get(0).map(EventId::from_bytes)).optional()?)
        })
    }
}

/// Stores an event. If it repeats one that was received after `since`, it returns that event's
/// JSON.
fn store(db: &Connection, new: &EventRow, since: i64) -> Result<Option<String>, SqliteError> {
    let EventRow { id, external_id, received_at, event } = new;
    let json = |row: &Row<'_>| row.get::<_, String>(0);
    if let Some(external_id) = external_id {
        let mut latest = db.prepare_cached(
            "SELECT event FROM (SELECT event, received_at FROM events WHERE external_id = ?1 ORDER BY n DESC LIMIT 1) \
             WHERE received_at > ?2",
        )?;
        if let Some(first) = latest.query_row((external_id, since), json).optional()? {
            return Ok(Some(first));
        }
    }
    let mut events = db.prepare_cached(
        "INSERT INTO events (id, external_id, received_at, event) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id) DO NOTHING",
    )?;
    if events.execute((id, external_id, received_at, event))? == 1 {
        return Ok(None);
    }
    let mut same = db.prepare_cached("SELECT event FROM events WHERE id = ?1")?;
    Ok(same.query_row([id], json).optional()?)
}
