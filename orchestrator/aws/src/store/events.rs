//! Stores received events, and deduplicates them by external id.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, join, stream};
use stepladder_core::limits::DEDUPLICATION_MS;
use stepladder_core::{Event, EventId, Timestamp};
use stepladder_engine::ports::{Events, Intake, StoreError, StoreResult};

use crate::Aws;
use crate::item::{Item, ReadItem, new_item, number, text};
use crate::layout;
use crate::table::{PutCondition, PutOutcome};
use crate::value::pack;

/// The maximum number of events that are stored concurrently.
const CONCURRENCY: usize = 32;

#[async_trait]
impl Events for Aws {
    async fn accept(&self, events: Vec<Event>, now: Timestamp) -> StoreResult<Vec<Event>> {
        let n = events.len();
        let storing = stream::iter(group_by_sender_id(events))
            .map(|group| async move {
                let mut stored = Vec::with_capacity(group.len());
                for (i, event) in group {
                    stored.push((i, self.store_event(event, now).await?));
                }
                Ok::<_, StoreError>(stored)
            })
            .buffer_unordered(CONCURRENCY)
            .try_collect::<Vec<Vec<(usize, Event)>>>();
        // the list of subscriptions is read while the events are stored, because the caller looks
        // up subscriptions next; if reading fails, the look-up reads the list again
        let (stored, _) = join!(storing, self.subscription_index(now));
        let mut stored = stored?.concat();
        stored.sort_by_key(|(i, _)| *i);
        debug_assert_eq!(stored.len(), n);
        Ok(stored.into_iter().map(|(_, event)| event).collect())
    }

    async fn event(&self, id: EventId) -> StoreResult<Option<Event>> {
        match self.get(&layout::event(id)).await? {
            Some(item) => self.event_of(&item).await.map(Some),
            None => Ok(None),
        }
    }

    async fn resolve(&self, external_id: &str) -> StoreResult<Option<EventId>> {
        self.get(&layout::external_id(external_id)).await?.map(|item| item.event("id")).transpose()
    }
}

/// Uses the default methods: storing events and creating their runs takes several requests.
#[async_trait]
impl Intake for Aws {}

/// Groups events that may repeat each other, in order, each with its index in the batch. The groups
/// are stored concurrently.
fn group_by_sender_id(events: Vec<Event>) -> Vec<Vec<(usize, Event)>> {
    let mut groups: Vec<Vec<(usize, Event)>> = Vec::new();
    let mut by_external_id: HashMap<Arc<str>, usize> = HashMap::new();
    let mut by_id: HashMap<EventId, usize> = HashMap::new();
    for (i, event) in events.into_iter().enumerate() {
        let known = event.external_id.as_ref().and_then(|id| by_external_id.get(id)).or_else(|| by_id.get(&event.id));
        let group = known.copied().unwrap_or(groups.len());
        if group == groups.len() {
            groups.push(Vec::new());
        }
        if let Some(id) = &event.external_id {
            by_external_id.insert(id.clone(), group);
        }
        by_id.insert(event.id, group);
        groups[group].push((i, event));
    }
    groups
}

impl Aws {
    /// Stores the external id first, then the event under the id that the external id has. If the
    /// first attempt crashed in between, a retry stores the event (rule 15).
    async fn store_event(&self, mut event: Event, now: Timestamp) -> StoreResult<Event> {
        if let Some(external_id) = event.external_id.clone() {
            event.id = self.claim_external_id(&external_id, &event, now).await?;
        }
        let json = serde_json::to_string(&event).map_err(|e| {
            StoreError::Unreadable(format!("event {} cannot be written as JSON: {e}", event.id).into()).because(e)
        })?;
        let value = pack(json.clone(), &event.id.to_string(), &layout::digest(&[json.as_bytes()]))?;
        if value.has_parts() {
            self.put_parts(&value, self.ttl(now)).await?;
        }
        let mut item = new_item(&layout::event(event.id), self.ttl(now));
        value.add_to(&mut item);
        match self.put_new(item).await? {
            PutOutcome::Written => Ok(event),
            PutOutcome::Refused(existing) => self.event_of(&existing).await,
        }
    }

    /// Returns the event id for an external id: the id of an earlier event with this external id in
    /// the last 24 hours, or else the id of this event.
    async fn claim_external_id(&self, external_id: &str, event: &Event, now: Timestamp) -> StoreResult<EventId> {
        let mut item = new_item(&layout::external_id(external_id), self.ttl(now));
        item.insert("id".into(), text(event.id.to_string()));
        item.insert("at".into(), number(event.received_at.as_millis()));
        let is_new_or_old = PutCondition {
            expression: "attribute_not_exists(PK) OR #at <= :since",
            alias: Some(("#at", "at")),
            value: Some((":since", number(now.as_millis() - DEDUPLICATION_MS))),
        };
        match self.put_if(item, is_new_or_old).await? {
            PutOutcome::Written => Ok(event.id),
            PutOutcome::Refused(existing) => existing.event("id"),
        }
    }

    pub(super) async fn event_of(&self, item: &Item) -> StoreResult<Event> {
        let json = self.unpack(item).await?;
        serde_json::from_str(&json).map_err(|e| {
            StoreError::Unreadable(format!("{}: {e}", item.text("PK").unwrap_or("an event")).into()).because(e)
        })
    }
}
