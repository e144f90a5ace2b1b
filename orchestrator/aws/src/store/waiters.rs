//! Who waits for events, and the inboxes of runs.

use async_trait::async_trait;
use futures::future::try_join_all;
use stepladder_core::waiting::{SubscribedFields, Subscription, SubscriptionKey};
use stepladder_core::{EventId, RunId, StepId, Timestamp};
use stepladder_engine::ports::{StoreResult, SubscriptionIndex};

use super::kinds::{KEPT, seconds};
use crate::Aws;
use crate::item::{Item, Read, item, number, text};
use crate::layout;
use crate::table::Ask;

#[async_trait]
impl SubscriptionIndex for Aws {
    async fn subscribed_fields(&self, event: &str) -> StoreResult<SubscribedFields> {
        Ok(self.kinds(self.now()).await?.of(event))
    }

    async fn subscriptions(
        &self,
        event: &str,
        bucket: &SubscriptionKey,
        after: Option<(RunId, StepId)>,
        limit: usize,
    ) -> StoreResult<Vec<Subscription>> {
        let begin = after.as_ref().map_or(0, |(run, _)| layout::waiter_shard(bucket, *run));
        let mut behind = after.map_or_else(|| "0".to_owned(), |(run, step)| layout::waiter_sk(run, &step));
        let mut found = Vec::new();
        for partition in layout::waiters(event, bucket).into_iter().skip(begin) {
            let ask = Ask {
                partition: ("PK", partition),
                range: Some(("SK > :a", vec![std::mem::replace(&mut behind, "0".to_owned())])),
                strong: true,
                limit: Some(limit - found.len()),
                ..Ask::default()
            };
            for item in self.query(ask).await? {
                found.push(waiter(&item, event, bucket)?);
            }
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
    }

    async fn inbox(&self, run: RunId) -> StoreResult<Vec<EventId>> {
        let ask = Ask {
            partition: ("PK", layout::run(run)),
            range: Some(("begins_with(SK, :a)", vec![layout::INBOX.into()])),
            strong: true,
            ..Ask::default()
        };
        self.query(ask).await?.iter().map(|item| item.event("event")).collect()
    }
}

impl Aws {
    /// First what tells of them, then those who wait.
    pub(super) async fn register(&self, waiters: Vec<Subscription>, now: Timestamp) -> StoreResult<()> {
        if waiters.is_empty() {
            return Ok(());
        }
        self.tell_of(&waiters, now).await?;
        try_join_all(waiters.iter().map(|waiter| self.put(waiter_item(waiter, now)))).await.map(drop)
    }

    pub(super) async fn offer(&self, offers: Vec<(RunId, EventId)>, now: Timestamp) -> StoreResult<()> {
        let put = |(run, event): (RunId, EventId)| {
            let mut item = item(&layout::offer(run, event), self.ttl(now));
            item.insert("event".into(), text(event.to_string()));
            self.put(item)
        };
        try_join_all(offers.into_iter().map(put)).await.map(drop)
    }
}

fn waiter_item(waiter: &Subscription, now: Timestamp) -> Item {
    let mut item = item(&layout::waiter(waiter), seconds(waiter.until.max(now) + KEPT));
    item.insert("run".into(), text(waiter.run.to_string()));
    item.insert("step".into(), text(&*waiter.step));
    item.insert("until".into(), number(waiter.until.as_millis()));
    item
}

fn waiter(item: &Item, event: &str, bucket: &SubscriptionKey) -> StoreResult<Subscription> {
    Ok(Subscription {
        event: event.into(),
        key: bucket.clone(),
        run: item.run("run")?,
        step: item.text("step")?.into(),
        until: item.time("until")?,
    })
}
