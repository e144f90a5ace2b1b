//! Subscriptions to events, and the inboxes of runs.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension};
use stepladder_core::waiting::{EventField, SubscribedFields, Subscription, SubscriptionKey};
use stepladder_core::{EventId, RunId, StepId, Timestamp};
use stepladder_engine::ports::{EarlyWrite, StoreResult, SubscriptionIndex};

use super::starts::insert_label;
use crate::Sqlite;
use crate::error::SqliteError;
use crate::writer::WriteTransaction;

#[async_trait]
impl SubscriptionIndex for Sqlite {
    async fn subscribed_fields(&self, event: &str) -> StoreResult<SubscribedFields> {
        self.readers.read(|db| subscribed_fields(db, event))
    }

    async fn subscriptions(
        &self,
        event: &str,
        bucket: &SubscriptionKey,
        after: Option<(RunId, StepId)>,
        limit: usize,
    ) -> StoreResult<Vec<Subscription>> {
        let (path, value) = bucket_columns(bucket);
        let (run, step) = match &after {
            Some((run, step)) => (run.to_bytes().to_vec(), &**step),
            None => (Vec::new(), ""),
        };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.readers.read(|db| {
            let mut query = db.prepare_cached(
                "SELECT run, step, until FROM waiters WHERE event = ?1 AND path = ?2 AND value = ?3 \
                 AND (run, step) > (?4, ?5) ORDER BY run, step LIMIT ?6",
            )?;
            let found = query.query_map((event, path, value, run, step, limit), |row| {
                Ok(Subscription {
                    event: event.into(),
                    key: bucket.clone(),
                    run: RunId::from_bytes(row.get(0)?),
                    step: row.get(1)?,
                    until: Timestamp::from_millis(row.get(2)?),
                })
            })?;
            Ok(found.collect::<rusqlite::Result<_>>()?)
        })
    }

    async fn inbox(&self, run: RunId) -> StoreResult<Vec<EventId>> {
        self.readers.read(|db| {
            let mut query = db.prepare_cached("SELECT event FROM offers WHERE run = ?1 ORDER BY event")?;
            let found = query.query_map([run.to_bytes()], |row| row.get(0).map(EventId::from_bytes))?;
            Ok(found.collect::<rusqlite::Result<_>>()?)
        })
    }
}

/// Returns the fields by which runs subscribe to an event. Needs one query per field, however many
/// runs wait.
pub(super) fn subscribed_fields(db: &Connection, event: &str) -> Result<SubscribedFields, SqliteError> {
    let mut next = db.prepare_cached("SELECT path FROM waiters WHERE event = ?1 AND path > ?2 LIMIT 1")?;
    let mut each = db.prepare_cached("SELECT 1 FROM waiters WHERE event = ?1 AND path = '' LIMIT 1")?;
    let mut subscribed = SubscribedFields { fields: Vec::new(), each: each.exists([event])? };
    let mut path = String::new();
    while let Some(found) = next.query_row([event, &path], |row| row.get::<_, String>(0)).optional()? {
        subscribed.fields.push(found.as_str().into());
        path = found;
    }
    Ok(subscribed)
}

/// Stores a subscription, an event in an inbox, a link between an event and a run, a delivery, or a
/// label. Ignores all other writes.
pub(super) fn apply(db: &WriteTransaction<'_>, write: &EarlyWrite) -> Result<(), SqliteError> {
    match write {
        EarlyWrite::Subscribe(Subscription { event, key: bucket, run, step, until }) => {
            let (path, value) = bucket_columns(bucket);
            db.statement(
                "INSERT OR REPLACE INTO waiters (event, path, value, run, step, until) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute((event, path, value, run.to_bytes(), step, until.as_millis()))?;
        }
        EarlyWrite::PutInInbox { run, event } => {
            let mut inbox = db.statement("INSERT OR IGNORE INTO offers (run, event) VALUES (?1, ?2)")?;
            inbox.execute((run.to_bytes(), event.to_bytes()))?;
        }
        EarlyWrite::LinkEvent { run, event } => super::flow_states::link_event(db, *run, *event)?,
        EarlyWrite::NoteDelivery { run, event } => {
            let mut deliveries = db.statement("INSERT OR IGNORE INTO deliveries (event, run) VALUES (?1, ?2)")?;
            deliveries.execute((event.to_bytes(), run.to_bytes()))?;
        }
        EarlyWrite::AddLabel { run, label } => insert_label(db, *run, label)?,
        EarlyWrite::Wake { .. } | EarlyWrite::Timer(_) => {}
    }
    Ok(())
}

pub(super) fn delete(db: &WriteTransaction<'_>, subscription: &Subscription) -> Result<(), SqliteError> {
    let Subscription { event, key: bucket, run, step, .. } = subscription;
    let (path, value) = bucket_columns(bucket);
    db.statement("DELETE FROM waiters WHERE event = ?1 AND path = ?2 AND value = ?3 AND run = ?4 AND step = ?5")?
        .execute((event, path, value, run.to_bytes(), step))?;
    Ok(())
}

pub(super) fn delete_from_inbox(db: &WriteTransaction<'_>, run: RunId, event: EventId) -> Result<(), SqliteError> {
    let mut inbox = db.statement("DELETE FROM offers WHERE run = ?1 AND event = ?2")?;
    inbox.execute((run.to_bytes(), event.to_bytes()))?;
    Ok(())
}

/// Returns the columns `path` and `value`. They are empty if the subscription has no field.
fn bucket_columns(bucket: &SubscriptionKey) -> (&str, &str) {
    match bucket {
        Some(EventField { path, value }) => (path, value),
        None => ("", ""),
    }
}
