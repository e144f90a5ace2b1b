//! A commit, carried out in its order.

use async_trait::async_trait;
use futures::future::{try_join_all, try_join3};
use stepladder_core::waiting::Subscription;
use stepladder_core::{EventId, RunId, Status, Timer, Timestamp, Wake};
use stepladder_engine::ports::{Commit, CommitResult, Commits, EarlyWrite, JournalAppend, LateWrite, StoreResult};

use super::journals::token;
use crate::Aws;
use crate::fault::{CONDITION, is_code, unavailable};
use crate::item::{keys, number, text};
use crate::layout;
use crate::table::Put;

#[async_trait]
impl Commits for Aws {
    async fn commit(&self, commit: Commit) -> StoreResult<CommitResult> {
        let Commit { before, append, after, wakes, acks } = commit;
        let now = self.now();
        let Before { wakes: later, timers, waiters, offers, links } = split(before);
        let indexed = try_join3(self.register(waiters, now), self.offer(offers, now), self.link(links, now));
        try_join3(self.send(later, now), self.set_timers(timers), indexed).await?;
        if let Some(append) = append
            && self.append(append, now).await? == CommitResult::Conflict
        {
            return Ok(CommitResult::Conflict);
        }
        try_join_all(after.into_iter().map(|after| self.carry_out(after, now))).await?;
        self.send(wakes.into_iter().map(|wake| (wake, now)).collect(), now).await?;
        self.acknowledge(acks).await?;
        Ok(CommitResult::Done)
    }
}

/// What goes before the journal, by what it is.
#[derive(Default)]
struct Before {
    wakes: Vec<(Wake, Timestamp)>,
    timers: Vec<Timer>,
    waiters: Vec<Subscription>,
    offers: Vec<(RunId, EventId)>,
    links: Vec<(RunId, EventId)>,
}

fn split(before: Vec<EarlyWrite>) -> Before {
    let mut split = Before::default();
    for later in before {
        match later {
            EarlyWrite::Wake { wake, due } => split.wakes.push((wake, due)),
            EarlyWrite::Timer(timer) => split.timers.push(timer),
            EarlyWrite::Subscribe(waiter) => split.waiters.push(waiter),
            EarlyWrite::PutInInbox { run, event } => split.offers.push((run, event)),
            EarlyWrite::LinkEvent { run, event } => split.links.push((run, event)),
        }
    }
    split
}

impl Aws {
    /// One conditional put. A number that is taken is a conflict, unless one's own token is found there: then an
    /// earlier attempt at the same write succeeded and only its reply was lost (rule 1).
    async fn append(&self, JournalAppend { run, record }: JournalAppend, now: Timestamp) -> StoreResult<CommitResult> {
        let (mut item, value) = self.record_item(run, &record, now)?;
        if value.has_parts() {
            self.put_parts(&value, self.ttl(now)).await?;
        }
        value.add_to(&mut item);
        match self.put_new(item).await? {
            Put::Done => Ok(CommitResult::Done),
            Put::Refused(there) if token(&there)? == record.token => Ok(CommitResult::Done),
            Put::Refused(_) => Ok(CommitResult::Conflict),
        }
    }

    async fn carry_out(&self, after: LateWrite, now: Timestamp) -> StoreResult<()> {
        match after {
            LateWrite::MarkEnded { run, at, status } => self.end_row(run, at, status, now).await,
            LateWrite::Release { limit, holder } => self.release(&limit, &holder).await,
            LateWrite::Unsubscribe(waiter) => self.delete(&layout::waiter(&waiter)).await,
            LateWrite::TakeFromInbox { run, event } => self.delete(&layout::offer(run, event)).await,
            LateWrite::Dequeue { limit, run, step } => self.leave(&limit, run, step.as_deref()).await,
        }
    }

    /// The row shows the end. A run without a row has outlived its retention.
    async fn end_row(&self, run: RunId, at: Timestamp, status: Status, now: Timestamp) -> StoreResult<()> {
        let request = self
            .dynamo
            .update_item()
            .table_name(&self.table)
            .set_key(Some(keys(&layout::row(run))))
            .update_expression("SET ended = :at, #s = :status, #t = :ttl")
            .condition_expression("attribute_exists(PK)")
            .expression_attribute_names("#s", "status")
            .expression_attribute_names("#t", "ttl")
            .expression_attribute_values(":at", number(at.as_millis()))
            .expression_attribute_values(":status", text(status.to_string()))
            .expression_attribute_values(":ttl", number(self.ttl(now)));
        match request.send().await {
            Ok(_) => Ok(()),
            Err(e) if is_code(&e, CONDITION) => Ok(()),
            Err(e) => Err(unavailable("UpdateItem", &e)),
        }
    }
}
