//! Accepted events, and their deduplication.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row};
use stepladder_core::limits::DEDUPLICATION_MS;
use stepladder_core::{Event, EventId, Timestamp};
use stepladder_engine::ports::{Events, StoreResult};

use crate::fault::Fault;
use crate::writer::Sync;
use crate::{Sqlite, rows};

#[async_trait]
impl Events for Sqlite {
    async fn accept(&self, events: Vec<Event>, now: Timestamp) -> StoreResult<Vec<Event>> {
        let texts: Result<Vec<_>, _> = events.iter().map(serde_json::to_string).collect();
        let texts = texts.map_err(|error| Fault::from(error).into_store_error())?;
        let since = now.as_millis() - DEDUPLICATION_MS;
        // names of what is stored travel to the writer and back; the events themselves need not
        let keys: Vec<_> = events.iter().map(|e| (e.id, e.external_id.clone(), e.received_at.as_millis())).collect();
        let work = move |db: &Connection| {
            let of = |((id, external_id, received_at), text): (&(EventId, Option<_>, i64), &String)| {
                let external_id: Option<&str> = external_id.as_ref().map(|id: &std::sync::Arc<str>| &**id);
                store(db, *id, external_id, *received_at, text, since)
            };
            keys.iter().zip(&texts).map(of).collect::<Result<Vec<Option<String>>, Fault>>()
        };
        let stored = self.writer.run(Sync::Synced, work, |_, _| {}).await?;
        let accepted = events.into_iter().zip(stored).map(|(event, first)| match first {
            None => Ok(event),
            Some(text) => serde_json::from_str(&text).map_err(|error| Fault::from(error).into_store_error()),
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

/// Stores an event; gives back the text of the one that it repeats, if it repeats one.
fn store(
    db: &Connection,
    id: EventId,
    external_id: Option<&str>,
    received_at: i64,
    text: &str,
    since: i64,
) -> Result<Option<String>, Fault> {
    let text_of = |row: &Row<'_>| row.get::<_, String>(0);
    if let Some(external_id) = external_id {
        let mut latest = db.prepare_cached(
            "SELECT event FROM (SELECT event, received_at FROM events WHERE external_id = ?1 ORDER BY n DESC LIMIT 1) \
             WHERE received_at > ?2",
        )?;
        if let Some(first) = latest.query_row((external_id, since), text_of).optional()? {
            return Ok(Some(first));
        }
    }
    let mut events = db.prepare_cached(
        "INSERT INTO events (id, external_id, received_at, event) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id) DO NOTHING",
    )?;
    if events.execute((id.to_bytes(), external_id, received_at, text))? == 1 {
        return Ok(None);
    }
    let mut same = db.prepare_cached("SELECT event FROM events WHERE id = ?1")?;
    Ok(same.query_row([id.to_bytes()], text_of).optional()?)
}
