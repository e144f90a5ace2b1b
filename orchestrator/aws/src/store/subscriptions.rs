//! Subscriptions to events, and the inboxes of runs.

use async_trait::async_trait;
use futures::future::try_join_all;
use stepladder_core::waiting::{SubscribedFields, Subscription, SubscriptionKey};
use stepladder_core::{EventId, RunId, StepId, Timestamp};
use stepladder_engine::ports::{StoreResult, SubscriptionIndex};

use super::subscription_index::{SUBSCRIPTION_RETENTION, seconds};
use crate::Aws;
use crate::item::{Item, ReadItem, new_item, number, text};
use crate::layout;
use crate::table::TableQuery;

#[async_trait]
impl SubscriptionIndex for Aws {
    async fn subscribed_fields(&self, event: &str) -> StoreResult<SubscribedFields> {
        Ok(self.subscription_index(self.now()).await?.fields_of_event(event))
    }

    async fn subscriptions(
        &self,
        event: &str,
        bucket: &SubscriptionKey,
        after: Option<(RunId, StepId)>,
        limit: usize,
    ) -> StoreResult<Vec<Subscription>> {
        let start = after.as_ref().map_or(0, |(run, _)| layout::subscription_shard(bucket, *run));
        let mut previous = after.map_or_else(|| "0".to_owned(), |(run, step)| layout::subscription_sk(run, &step));
        let mut found = Vec::new();
        for partition in layout::subscription_partitions(event, bucket).into_iter().skip(start) {
            let query = TableQuery {
                partition: ("PK", partition),
                range: Some(("SK > :a", vec![std::mem::replace(&mut previous, "0".to_owned())])),
                strong: true,
                limit: Some(limit - found.len()),
                ..TableQuery::default()
            };
            for item in self.query(query).await? {
                found.push(parse_subscription(&item, event, bucket)?);
            }
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
    }

    async fn inbox(&self, run: RunId) -> StoreResult<Vec<EventId>> {
        let query = TableQuery {
            partition: ("PK", layout::run_partition(run)),
            range: Some(("begins_with(SK, :a)", vec![layout::INBOX_PREFIX.into()])),
            strong: true,
            ..TableQuery::default()
        };
        self.query(query).await?.iter().map(|item| item.event("event")).collect()
    }
}

impl Aws {
    /// Writes subscriptions, once all processes know the names and fields of their events.
    pub(super) async fn register(&self, subscriptions: Vec<Subscription>, now: Timestamp) -> StoreResult<()> {
        if subscriptions.is_empty() {
            return Ok(());
        }
        self.propagate(&subscriptions, now).await?;
        try_join_all(subscriptions.iter().map(|subscription| self.put(subscription_item(subscription, now))))
            .await
            .map(drop)
    }

    pub(super) async fn put_inbox_events(&self, events: Vec<(RunId, EventId)>, now: Timestamp) -> StoreResult<()> {
        let put = |(run, event): (RunId, EventId)| {
            let mut item = new_item(&layout::inbox_event(run, event), self.ttl(now));
            item.insert("event".into(), text(event.to_string()));
            self.put(item)
        };
        try_join_all(events.into_iter().map(put)).await.map(drop)
    }
}

fn subscription_item(subscription: &Subscription, now: Timestamp) -> Item {
    let mut item =
        new_item(&layout::subscription(subscription), seconds(subscription.until.max(now) + SUBSCRIPTION_RETENTION));
    item.insert("run".into(), text(subscription.run.to_string()));
    item.insert("step".into(), text(&*subscription.step));
    item.insert("until".into(), number(subscription.until.as_millis()));
    item
}

fn parse_subscription(item: &Item, event: &str, bucket: &SubscriptionKey) -> StoreResult<Subscription> {
    Ok(Subscription {
        event: event.into(),
        key: bucket.clone(),
        run: item.run("run")?,
        step: item.text("step")?.into(),
        until: item.time("until")?,
    })
}
