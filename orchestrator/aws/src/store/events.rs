//! Accepted events, and the ids that their senders gave them.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use stepladder_core::limits::DEDUPLICATION_MS;
use stepladder_core::{Event, EventId, Timestamp};
use stepladder_engine::ports::{Events, StoreError, StoreResult};

use crate::Aws;
use crate::item::{Item, Read, item, number, text};
use crate::layout;
use crate::table::Put;
use crate::value::pack;

/// How many events are stored side by side.
const AT_ONCE: usize = 32;

#[async_trait]
impl Events for Aws {
    async fn accept(&self, events: Vec<Event>, now: Timestamp) -> StoreResult<Vec<Event>> {
        let n = events.len();
        let stored: Vec<Vec<(usize, Event)>> = stream::iter(groups(events))
            .map(|group| async move {
                let mut stored = Vec::with_capacity(group.len());
                for (i, event) in group {
                    stored.push((i, self.accept_one(event, now).await?));
                }
                Ok::<_, StoreError>(stored)
            })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        let mut stored = stored.concat();
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
        self.get(&layout::sender(external_id)).await?.map(|item| item.event("id")).transpose()
    }
}

/// Events that may be repeats of each other, in their order; each with its place in the batch. Different groups are
/// stored side by side.
fn groups(events: Vec<Event>) -> Vec<Vec<(usize, Event)>> {
    let mut groups: Vec<Vec<(usize, Event)>> = Vec::new();
    let mut of_sender: HashMap<Arc<str>, usize> = HashMap::new();
    let mut of_id: HashMap<EventId, usize> = HashMap::new();
    for (i, event) in events.into_iter().enumerate() {
        let known = event.external_id.as_ref().and_then(|id| of_sender.get(id)).or_else(|| of_id.get(&event.id));
        let group = known.copied().unwrap_or(groups.len());
        if group == groups.len() {
            groups.push(Vec::new());
        }
        if let Some(id) = &event.external_id {
            of_sender.insert(id.clone(), group);
        }
        of_id.insert(event.id, group);
        groups[group].push((i, event));
    }
    groups
}

impl Aws {
    /// The sender's id first, then the event under the id that this gives: whoever comes again after a crash between
    /// the two stores the event that the first did not get to (rule 15).
    async fn accept_one(&self, mut event: Event, now: Timestamp) -> StoreResult<Event> {
        if let Some(external_id) = event.external_id.clone() {
            event.id = self.claim(&external_id, &event, now).await?;
        }
        let json = serde_json::to_string(&event)
            .map_err(|e| StoreError::Unreadable(format!("event {} is no JSON: {e}", event.id)))?;
        let value = pack(json.clone(), &event.id.to_string(), &layout::digest(&[json.as_bytes()]))?;
        if value.has_parts() {
            self.put_parts(&value, self.ttl(now)).await?;
        }
        let mut item = item(&layout::event(event.id), self.ttl(now));
        value.add_to(&mut item);
        match self.put_new(item).await? {
            Put::Done => Ok(event),
            Put::Refused(there) => self.event_of(&there).await,
        }
    }

    /// The id that a sender's id stands for: this event's, or that of the one that came within 24 hours before it.
    async fn claim(&self, external_id: &str, event: &Event, now: Timestamp) -> StoreResult<EventId> {
        let mut item = item(&layout::sender(external_id), self.ttl(now));
        item.insert("id".into(), text(event.id.to_string()));
        item.insert("at".into(), number(event.received_at.as_millis()));
        let since = number(now.as_millis() - DEDUPLICATION_MS);
        let names = "attribute_not_exists(PK) OR #at <= :since";
        match self.put_if_named(item, names, ("#at", "at"), (":since", since)).await? {
            Put::Done => Ok(event.id),
            Put::Refused(there) => there.event("id"),
        }
    }

    pub(super) async fn event_of(&self, item: &Item) -> StoreResult<Event> {
        let json = self.unpack(item).await?;
        serde_json::from_str(&json)
            .map_err(|e| StoreError::Unreadable(format!("{}: {e}", item.text("PK").unwrap_or("an event"))))
    }
}
