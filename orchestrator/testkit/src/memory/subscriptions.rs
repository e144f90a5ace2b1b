//! Subscriptions and inboxes in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use stepladder_core::waiting::{SubscribedFields, Subscription, SubscriptionKey};
use stepladder_core::{EventId, RunId, StepId, Timestamp};

use super::Memory;
use stepladder_engine::ports::{StoreResult, SubscriptionIndex};

/// The waiting steps of a bucket, each with its timeout.
type SubscriptionBucket = BTreeMap<(RunId, StepId), Timestamp>;

#[derive(Default)]
pub(super) struct SubscriptionTable {
    /// The subscriptions, by the event's name and then by bucket.
    subscribed: HashMap<Arc<str>, BTreeMap<SubscriptionKey, SubscriptionBucket>>,
    inboxes: HashMap<RunId, BTreeSet<EventId>>,
}

impl SubscriptionTable {
    pub(super) fn subscribe(&mut self, subscription: Subscription) {
        let Subscription { event, key, run, step, until } = subscription;
        self.subscribed.entry(event).or_default().entry(key).or_default().insert((run, step), until);
    }

    pub(super) fn unsubscribe(&mut self, subscription: &Subscription) {
        let Some(buckets) = self.subscribed.get_mut(&subscription.event) else { return };
        if let Some(bucket) = buckets.get_mut(&subscription.key) {
            bucket.remove(&(subscription.run, subscription.step.clone()));
        }
        buckets.retain(|_, bucket| !bucket.is_empty());
        if buckets.is_empty() {
            self.subscribed.remove(&subscription.event);
        }
    }

    /// Removes everything that belongs to a run.
    pub(super) fn remove_run(&mut self, run: RunId) {
        for bucket in self.subscribed.values_mut().flat_map(BTreeMap::values_mut) {
            bucket.retain(|(of, _), _| *of != run);
        }
        for buckets in self.subscribed.values_mut() {
            buckets.retain(|_, bucket| !bucket.is_empty());
        }
        self.subscribed.retain(|_, buckets| !buckets.is_empty());
        self.inboxes.remove(&run);
    }

    pub(super) fn put_in_inbox(&mut self, run: RunId, event: EventId) {
        self.inboxes.entry(run).or_default().insert(event);
    }

    pub(super) fn take_from_inbox(&mut self, run: RunId, event: EventId) {
        if let Some(inbox) = self.inboxes.get_mut(&run) {
            inbox.remove(&event);
            if inbox.is_empty() {
                self.inboxes.remove(&run);
            }
        }
    }

    pub(super) fn subscribed_fields(&self, event: &str) -> SubscribedFields {
        let mut subscribed = SubscribedFields::default();
        for bucket in self.subscribed.get(event).into_iter().flat_map(BTreeMap::keys) {
            match bucket {
                None => subscribed.each = true,
                Some(field) if subscribed.fields.last() != Some(&field.path) => {
                    subscribed.fields.push(field.path.clone())
                }
                Some(_) => {}
            }
        }
        subscribed
    }

    pub(super) fn len(&self) -> usize {
        self.subscribed.values().flat_map(BTreeMap::values).map(SubscriptionBucket::len).sum()
    }
}

#[async_trait]
impl SubscriptionIndex for Memory {
    async fn subscribed_fields(&self, event: &str) -> StoreResult<SubscribedFields> {
        let mut inner = self.lock();
        inner.counts.subscription_reads += 1;
        Ok(inner.subscriptions.subscribed_fields(event))
    }

    async fn subscriptions(
        &self,
        event: &str,
        bucket: &SubscriptionKey,
        after: Option<(RunId, StepId)>,
        limit: usize,
    ) -> StoreResult<Vec<Subscription>> {
        let mut inner = self.lock();
        inner.counts.subscription_reads += 1;
        let Some(waiting) = inner.subscriptions.subscribed.get(event).and_then(|buckets| buckets.get(bucket)) else {
            return Ok(Vec::new());
        };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let found = waiting.range((from, Bound::Unbounded)).take(limit);
        let subscription = |((run, step), until): (&(RunId, StepId), &Timestamp)| Subscription {
            event: event.into(),
            key: bucket.clone(),
            run: *run,
            step: step.clone(),
            until: *until,
        };
        Ok(found.map(subscription).collect())
    }

    async fn inbox(&self, run: RunId) -> StoreResult<Vec<EventId>> {
        let mut inner = self.lock();
        inner.counts.subscription_reads += 1;
        Ok(inner.subscriptions.inboxes.get(&run).into_iter().flatten().copied().collect())
    }
}
