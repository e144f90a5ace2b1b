//! Who waits for events, and the inboxes of runs.
//!
//! Before the first who waits by a field is written, the item that says so is (rule 18). It is never deleted but by its
//! time to live, which only ever grows and is always later than that of all who wait so; so what a process has seen of it
//! stays true.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::try_join_all;
use stepladder_core::waiting::{Bucket, Waited, Waiter};
use stepladder_core::{EventId, RunId, StepId, Timestamp};
use stepladder_engine::ports::{StoreError, StoreResult, Waiters};

use crate::Aws;
use crate::item::{Item, Read, item, number, text};
use crate::layout::{self, Key};
use crate::table::{Ask, Put};

/// For so long those who waited are kept after the end of their wait.
const KEPT: Duration = Duration::from_secs(7 * 86_400);
/// The item that says that some wait is kept so much longer than they: it is written again no more often than this.
const AHEAD: Duration = Duration::from_secs(7 * 86_400);
/// What a process remembers of such items, at most.
const KNOWN: usize = 10_000;

#[async_trait]
impl Waiters for Aws {
    async fn waited(&self, event: &str) -> StoreResult<Waited> {
        let mut waited = Waited::default();
        for item in self.query_partition(&layout::waited(event), true).await? {
            match item.contains_key("path") {
                true => waited.fields.push(item.text("path")?.into()),
                false => waited.each = true,
            }
        }
        Ok(waited)
    }

    async fn waiters(
        &self,
        event: &str,
        bucket: &Bucket,
        after: Option<(RunId, StepId)>,
        limit: usize,
    ) -> StoreResult<Vec<Waiter>> {
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

    async fn offered(&self, run: RunId) -> StoreResult<Vec<EventId>> {
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
    pub(super) async fn register(&self, waiters: Vec<Waiter>, now: Timestamp) -> StoreResult<()> {
        let mut told = BTreeSet::new();
        for waiter in &waiters {
            let path = waiter.bucket.as_ref().map(|field| &*field.path);
            told.insert((&*waiter.event, path, waiter.until.max(now)));
        }
        try_join_all(told.into_iter().map(|(event, path, until)| self.tell_of(event, path, until))).await?;
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

    async fn tell_of(&self, event: &str, path: Option<&str>, until: Timestamp) -> StoreResult<()> {
        let key = layout::waited_by(event, path);
        let needed = seconds(until + KEPT + Duration::from_secs(1));
        if self.known_until(&key).is_some_and(|known| known >= needed) {
            return Ok(());
        }
        let ttl = seconds(until + KEPT + AHEAD);
        let mut item = item(&key, ttl);
        item.insert("event".into(), text(event));
        if let Some(path) = path {
            item.insert("path".into(), text(path));
        }
        let is_sooner = "attribute_not_exists(PK) OR #t < :ttl";
        let known = match self.put_if_named(item, is_sooner, ("#t", "ttl"), (":ttl", number(ttl))).await? {
            Put::Done => ttl,
            // somebody else has written one that is kept for longer
            Put::Refused(there) => there.number("ttl")?,
        };
        if known < needed {
            return Err(StoreError::Unavailable(format!("who waits for `{event}` cannot be told of; try again")));
        }
        let mut waited = self.waited.lock().unwrap_or_else(PoisonError::into_inner);
        if waited.len() >= KNOWN {
            waited.clear();
        }
        waited.insert(key, known);
        Ok(())
    }

    fn known_until(&self, key: &Key) -> Option<i64> {
        self.waited.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied()
    }
}

fn seconds(at: Timestamp) -> i64 {
    at.as_millis() / 1_000
}

fn waiter_item(waiter: &Waiter, now: Timestamp) -> Item {
    let mut item = item(&layout::waiter(waiter), seconds(waiter.until.max(now) + KEPT));
    item.insert("run".into(), text(waiter.run.to_string()));
    item.insert("step".into(), text(&*waiter.step));
    item.insert("until".into(), number(waiter.until.as_millis()));
    item
}

fn waiter(item: &Item, event: &str, bucket: &Bucket) -> StoreResult<Waiter> {
    Ok(Waiter {
        event: event.into(),
        bucket: bucket.clone(),
        run: item.run("run")?,
        step: item.text("step")?.into(),
        until: item.time("until")?,
    })
}
