//! Stores received events, and deduplicates them by external id.

use async_trait::async_trait;
use rusqlite::{OptionalExtension, Row};
use stepladder_core::limits::DEDUPLICATION_MS;
use stepladder_core::{Event, EventId, Timestamp};
use stepladder_engine::ports::{Events, StoreResult};

use crate::error::SqliteError;
use crate::rows::EventRow;
use crate::writer::{Durability, WriteTransaction};
use crate::{Sqlite, rows};

#[async_trait]
impl Events for Sqlite {
    async fn accept(&self, events: Vec<Event>, now: Timestamp) -> StoreResult<Vec<Event>> {
        let rows = NewEvents::new(&events, now).map_err(SqliteError::into_store_error)?;
        let repeated = self.writer.run(Durability::Synced, move |db| rows.store(db), |_, _| {}).await?;
        NewEvents::stored(events, repeated)
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

/// The rows of received events.
pub(super) struct NewEvents {
    /// An earlier event with the same external id counts only if it was received after this time.
    since: i64,
    rows: Vec<EventRow>,
}

impl NewEvents {
    pub(super) fn new(events: &[Event], now: Timestamp) -> Result<Self, SqliteError> {
        let rows = events.iter().map(EventRow::new).collect::<Result<_, _>>()?;
        Ok(Self { since: now.as_millis() - DEDUPLICATION_MS, rows })
    }

    /// Stores the events. For each event that repeats an earlier one, returns the JSON of the
    /// earlier event.
    pub(super) fn store(&self, db: &WriteTransaction<'_>) -> Result<Vec<Option<String>>, SqliteError> {
        self.rows.iter().map(|row| store(db, row, self.since)).collect()
    }

    /// Returns the stored events. An event that repeats an earlier one is replaced with the earlier
    /// one.
    pub(super) fn stored(events: Vec<Event>, repeated: Vec<Option<String>>) -> StoreResult<Vec<Event>> {
        let stored = events.into_iter().zip(repeated).map(|(event, first)| match first {
            None => Ok(event),
            Some(text) => serde_json::from_str(&text).map_err(|error| SqliteError::from(error).into_store_error()),
        });
        stored.collect()
    }
}

/// Stores an event. If the event repeats one that was received after `since`, returns the JSON of
/// that event instead.
fn store(db: &WriteTransaction<'_>, new: &EventRow, since: i64) -> Result<Option<String>, SqliteError> {
    let EventRow { id, external_id, received_at, event } = new;
    let json = |row: &Row<'_>| row.get::<_, String>(0);
    if let Some(external_id) = external_id {
        let mut latest = db.statement(
            "SELECT event FROM (SELECT event, received_at FROM events WHERE external_id = ?1 ORDER BY n DESC LIMIT 1) \
             WHERE received_at > ?2",
        )?;
        if let Some(first) = latest.query_row((external_id, since), json).optional()? {
            return Ok(Some(first));
        }
    }
    let mut events = db.statement(
        "INSERT INTO events (id, external_id, received_at, event) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id) DO NOTHING",
    )?;
    if events.execute((id, external_id, received_at, event))? == 1 {
        return Ok(None);
    }
    let mut same = db.statement("SELECT event FROM events WHERE id = ?1")?;
    Ok(same.query_row([id], json).optional()?)
}
