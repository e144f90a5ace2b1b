//! Who waits for events, and the inboxes of runs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use stepladder_core::waiting::{SubscribedFields, Subscription, SubscriptionKey};
use stepladder_core::{EventId, RunId, StepId, Timestamp};

use super::Memory;
use stepladder_engine::ports::{StoreResult, SubscriptionIndex};

/// Those in one bucket, and until when.
type Waiting = BTreeMap<(RunId, StepId), Timestamp>;

#[derive(Default)]
pub(super) struct Index {
    /// By the event's name, then by bucket.
    waiting: HashMap<Arc<str>, BTreeMap<SubscriptionKey, Waiting>>,
    inboxes: HashMap<RunId, BTreeSet<EventId>>,
}

impl Index {
    pub(super) fn register(&mut self, waiter: Subscription) {
        let Subscription { event, key: bucket, run, step, until } = waiter;
        let waiting = self.waiting.entry(event).or_default().entry(bucket).or_default();
        waiting.insert((run, step), until);
    }

    pub(super) fn forget(&mut self, waiter: &Subscription) {
        let Some(buckets) = self.waiting.get_mut(&waiter.event) else { return };
        if let Some(waiting) = buckets.get_mut(&waiter.key) {
            waiting.remove(&(waiter.run, waiter.step.clone()));
        }
        buckets.retain(|_, waiting| !waiting.is_empty());
        if buckets.is_empty() {
            self.waiting.remove(&waiter.event);
        }
    }

    pub(super) fn offer(&mut self, run: RunId, event: EventId) {
        self.inboxes.entry(run).or_default().insert(event);
    }

    pub(super) fn take(&mut self, run: RunId, event: EventId) {
        if let Some(inbox) = self.inboxes.get_mut(&run) {
            inbox.remove(&event);
            if inbox.is_empty() {
                self.inboxes.remove(&run);
            }
        }
    }

    pub(super) fn subscribed(&self, event: &str) -> SubscribedFields {
        let mut waited = SubscribedFields::default();
        for bucket in self.waiting.get(event).into_iter().flat_map(BTreeMap::keys) {
            match bucket {
                None => waited.each = true,
                Some(field) if waited.fields.last() != Some(&field.path) => waited.fields.push(field.path.clone()),
                Some(_) => {}
            }
        }
        waited
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.values().flat_map(BTreeMap::values).map(Waiting::len).sum()
    }
}

#[async_trait]
impl SubscriptionIndex for Memory {
    async fn subscribed_fields(&self, event: &str) -> StoreResult<SubscribedFields> {
        let mut inner = self.lock();
        inner.counts.looks += 1;
        Ok(inner.index.subscribed(event))
    }

    async fn subscriptions(
        &self,
        event: &str,
        bucket: &SubscriptionKey,
        after: Option<(RunId, StepId)>,
        limit: usize,
    ) -> StoreResult<Vec<Subscription>> {
        let mut inner = self.lock();
        inner.counts.looks += 1;
        let Some(waiting) = inner.index.waiting.get(event).and_then(|buckets| buckets.get(bucket)) else {
            return Ok(Vec::new());
        };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let found = waiting.range((from, Bound::Unbounded)).take(limit);
        let waiter = |((run, step), until): (&(RunId, StepId), &Timestamp)| Subscription {
            event: event.into(),
            key: bucket.clone(),
            run: *run,
            step: step.clone(),
            until: *until,
        };
        Ok(found.map(waiter).collect())
    }

    async fn inbox(&self, run: RunId) -> StoreResult<Vec<EventId>> {
        let mut inner = self.lock();
        inner.counts.looks += 1;
        Ok(inner.index.inboxes.get(&run).into_iter().flatten().copied().collect())
    }
}
