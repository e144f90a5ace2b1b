//! The list of event names and fields to which runs subscribe. The list is short, because these
//! names are part of the code of functions. Each entry of the list leads to subscriptions.
//!
//! Each process that receives events caches the list for [`CACHE_TIME`]. So an event without a
//! subscription costs no read. Three rules make sure that this loses no event:
//!
//! - A process that adds an entry waits until no process has a cached list without the entry. Only
//!   then does it write the first subscription. This happens once in the lifetime of the table.
//! - A process that finds an entry younger than [`YOUNG_AGE`] waits too.
//! - An entry is kept for longer than all its subscriptions. An entry that is about to expire is
//!   treated as new.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use stepladder_core::Timestamp;
use stepladder_core::waiting::{SubscribedFields, Subscription};
use stepladder_engine::ports::{StoreError, StoreResult};
use stepladder_engine::retries::time_left;

use crate::Aws;
use crate::item::{Item, ReadItem, new_item, number, text};
use crate::layout::{self, ItemKey};
use crate::table::PutCondition;

/// How long a process may cache the list, measured by its own clock.
const CACHE_TIME: Duration = Duration::from_secs(1);

/// The time after which no process has a cached list without a new entry.
const PROPAGATION_TIME: Duration = Duration::from_millis(1_500);

/// Other processes may not know an entry that is younger than this. Clocks may differ by seconds.
const YOUNG_AGE: Duration = Duration::from_secs(6);

/// How long a subscription is kept after the end of its wait.
pub(super) const SUBSCRIPTION_RETENTION: Duration = Duration::from_secs(7 * 86_400);

/// How long an entry is kept after its last subscription has expired. An entry is not renewed more
/// often than this.
const ENTRY_RETENTION: Duration = Duration::from_secs(7 * 86_400);

/// How long before its expiry an entry is treated as new, because DynamoDB may delete it soon.
const EXPIRY_MARGIN: Duration = Duration::from_secs(86_400);

/// The list of subscribed event names and fields, as a process has read it.
#[derive(Debug, Default)]
pub(crate) struct SubscriptionIndex {
    read_at: Timestamp,
    by_event: HashMap<Arc<str>, SubscribedFields>,
    by_key: HashMap<ItemKey, IndexEntry>,
}

/// An entry of the list: an event name with a field, or an event name alone.
#[derive(Clone, Copy, Debug)]
struct IndexEntry {
    added_at: Timestamp,
    /// When the entry expires, in seconds since 1970.
    ttl: i64,
}

/// What must be done before a subscription for an entry may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct EntryPreparation {
    /// The time to write as `added_at`, if the entry is new or must be renewed; otherwise `None`.
    write: Option<Timestamp>,
    /// How long to wait until all processes know the entry.
    wait: Duration,
    /// Whether the entry is missing or about to expire.
    is_new: bool,
}

impl SubscriptionIndex {
    /// Returns the fields by which runs subscribe to events with this name.
    pub(super) fn fields_of_event(&self, event: &str) -> SubscribedFields {
        self.by_event.get(event).cloned().unwrap_or_default()
    }

    fn is_fresh(&self, now: Timestamp) -> bool {
        // if the clock was set back, the cached list is treated as expired
        now >= self.read_at && now.since(self.read_at) <= CACHE_TIME
    }

    fn from_items(items: &[Item], read_at: Timestamp) -> StoreResult<Self> {
        let mut index = Self { read_at, ..Self::default() };
        for item in items {
            let subscribed = index.by_event.entry(item.text("event")?.into()).or_default();
            match item.contains_key("path") {
                true => subscribed.fields.push(item.text("path")?.into()),
                false => subscribed.each = true,
            }
            let key = ItemKey { pk: item.text("PK")?.into(), sk: item.text("SK")?.into() };
            index.by_key.insert(key, IndexEntry { added_at: item.time("since")?, ttl: item.number("ttl")? });
        }
        Ok(index)
    }

    /// Returns what must be done before a subscription that lasts until `until` may be written.
    fn prepare(&self, key: &ItemKey, until: Timestamp, now: Timestamp) -> EntryPreparation {
        match self.by_key.get(key) {
            Some(entry) if entry.ttl > seconds(now + EXPIRY_MARGIN) => EntryPreparation {
                write: (entry.ttl < seconds(until + SUBSCRIPTION_RETENTION)).then_some(entry.added_at),
                wait: YOUNG_AGE.saturating_sub(now.since(entry.added_at)),
                is_new: false,
            },
            Some(_) | None => EntryPreparation { write: Some(now), wait: PROPAGATION_TIME, is_new: true },
        }
    }
}

impl Aws {
    /// Returns the list of subscribed names and fields, from the cache or from the table.
    pub(super) async fn subscription_index(&self, now: Timestamp) -> StoreResult<Arc<SubscriptionIndex>> {
        let cached = self.subscription_index.lock().clone();
        if let Some(cached) = cached.filter(|cached| cached.is_fresh(now)) {
            return Ok(cached);
        }
        let items = self.query_partition(layout::SUBSCRIPTION_INDEX, true).await?;
        // the age of the list is measured from the start of the request
        let index = Arc::new(SubscriptionIndex::from_items(&items, now)?);
        *self.subscription_index.lock() = Some(index.clone());
        Ok(index)
    }

    /// Adds the entries for new subscriptions, and waits until all processes know them. If the
    /// deadline of the hop would pass first, this fails without waiting.
    pub(super) async fn propagate(&self, subscriptions: &[Subscription], now: Timestamp) -> StoreResult<()> {
        let mut latest: HashMap<ItemKey, (&Subscription, Timestamp)> = HashMap::new();
        for subscription in subscriptions {
            let entry = latest.entry(layout::index_entry(subscription)).or_insert((subscription, now));
            entry.1 = entry.1.max(subscription.until);
        }
        let index = self.subscription_index(now).await?;
        let (mut writes, mut young, mut wait) = (Vec::new(), Vec::new(), Duration::ZERO);
        for (key, (subscription, until)) in latest {
            let preparation = index.prepare(&key, until, now);
            if !preparation.wait.is_zero() && !self.has_propagated(&key, preparation) {
                wait = wait.max(preparation.wait);
                young.push(key.clone());
            }
            writes.extend(preparation.write.map(|added_at| self.put_entry(key, subscription, until, added_at)));
        }
        if !writes.is_empty() {
            try_join_all(writes).await?;
            // the cached list does not contain the new entries
            *self.subscription_index.lock() = None;
        }
        if !wait.is_zero() {
            if time_left().is_some_and(|left| left <= wait) {
                // the entries are already written, so the next hop waits for a shorter time
                return Err(StoreError::Unavailable(
                    "a run subscribes to a new event name or field, and its hop ends before all processes know it"
                        .into(),
                ));
            }
            tracing::info!(?wait, "a run subscribes to a new event name or field; waiting until all processes know it");
            tokio::time::sleep(wait).await;
            self.propagated.lock().extend(young);
        }
        Ok(())
    }

    /// Returns whether this process has already waited for an entry. For a new entry it waits
    /// again, because the earlier wait was for an entry that has expired since.
    fn has_propagated(&self, key: &ItemKey, preparation: EntryPreparation) -> bool {
        !preparation.is_new && self.propagated.lock().contains(key)
    }

    /// Adds an entry, or extends how long it is kept. Never shortens that time.
    async fn put_entry(
        &self,
        key: ItemKey,
        subscription: &Subscription,
        until: Timestamp,
        added_at: Timestamp,
    ) -> StoreResult<()> {
        let ttl = seconds(until + SUBSCRIPTION_RETENTION + ENTRY_RETENTION);
        let mut item = new_item(&key, ttl);
        item.insert("event".into(), text(&*subscription.event));
        item.insert("since".into(), number(added_at.as_millis()));
        if let Some(field) = &subscription.key {
            item.insert("path".into(), text(&*field.path));
        }
        // if the condition is false, another process has written an entry that is kept for longer
        let is_sooner = PutCondition {
            expression: "attribute_not_exists(PK) OR #t < :ttl",
            alias: Some(("#t", "ttl")),
            value: Some((":ttl", number(ttl))),
        };
        self.put_if(item, is_sooner).await.map(drop)
    }
}

/// Converts a moment to seconds since 1970, the unit of `ttl`.
pub(super) fn seconds(at: Timestamp) -> i64 {
    at.as_millis() / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    const DAY: Duration = Duration::from_secs(86_400);

    fn index_with_entry(added_at: Timestamp, ttl: Timestamp) -> SubscriptionIndex {
        let key = layout::index_entry(&subscription());
        let mut item = new_item(&key, seconds(ttl));
        item.insert("event".into(), text("a"));
        item.insert("since".into(), number(added_at.as_millis()));
        SubscriptionIndex::from_items(&[item], NOW).unwrap()
    }

    fn subscription() -> Subscription {
        let run = stepladder_core::RunId::new(NOW, 1);
        Subscription { event: "a".into(), key: None, run, step: "w".into(), until: NOW + DAY }
    }

    fn known_entry(write: Option<Timestamp>, wait: Duration) -> EntryPreparation {
        EntryPreparation { write, wait, is_new: false }
    }

    fn prepare(index: &SubscriptionIndex, until: Timestamp) -> EntryPreparation {
        index.prepare(&layout::index_entry(&subscription()), until, NOW)
    }

    #[test]
    fn a_process_waits_for_an_entry_that_others_may_not_know() {
        let until = NOW + DAY;
        let new = EntryPreparation { write: Some(NOW), wait: PROPAGATION_TIME, is_new: true };
        assert_eq!(prepare(&SubscriptionIndex::default(), until), new);
        let wait = |added_at| prepare(&index_with_entry(added_at, NOW + DAY * 20), until);
        assert_eq!(wait(NOW - Duration::from_secs(2)), known_entry(None, Duration::from_secs(4)));
        // the entry was added by a process with a clock that is ahead
        assert_eq!(wait(NOW + Duration::from_secs(2)), known_entry(None, YOUNG_AGE));
        assert_eq!(wait(NOW - YOUNG_AGE), known_entry(None, Duration::ZERO));
    }

    #[test]
    fn an_entry_outlives_its_subscriptions_and_an_expiring_one_is_new() {
        let added_at = NOW - DAY * 9;
        let index = |ttl| index_with_entry(added_at, ttl);
        let wait = Duration::ZERO;
        assert_eq!(prepare(&index(NOW + DAY * 8), NOW + DAY), known_entry(None, wait));
        assert_eq!(prepare(&index(NOW + DAY * 8), NOW + DAY * 2), known_entry(Some(added_at), wait));
        let new = EntryPreparation { write: Some(NOW), wait: PROPAGATION_TIME, is_new: true };
        assert_eq!(prepare(&index(NOW + DAY), NOW + DAY * 2), new);
    }

    #[test]
    fn a_list_is_cached_for_a_second_and_not_after_the_clock_was_set_back() {
        let index = index_with_entry(NOW, NOW + DAY * 20);
        assert!(index.fields_of_event("a").each && index.fields_of_event("b").is_empty());
        assert!(index.is_fresh(NOW + CACHE_TIME));
        assert!(!index.is_fresh(NOW + CACHE_TIME + Duration::from_millis(1)));
        assert!(!index.is_fresh(NOW - Duration::from_millis(1)));
        assert!(PROPAGATION_TIME > CACHE_TIME && YOUNG_AGE > PROPAGATION_TIME);
    }
}
