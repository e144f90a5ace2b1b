//! Executes the parts of a commit, in order.

use async_trait::async_trait;
use futures::future::{try_join_all, try_join3, try_join4};
use stepladder_core::waiting::Subscription;
use stepladder_core::{EventId, RunId, Status, Timer, Timestamp, Wake};
use stepladder_engine::ports::{Commit, CommitResult, Commits, EarlyWrite, JournalAppend, LateWrite, StoreResult};

use super::journals::parse_token;
use crate::Aws;
use crate::error::{condition_failed, request_error};
use crate::item::{key_attributes, new_item, number, text};
use crate::layout::{self, ItemKey};
use crate::table::PutOutcome;

#[async_trait]
impl Commits for Aws {
    async fn commit(&self, commit: Commit) -> StoreResult<CommitResult> {
        let Commit { before, append, after, wakes, acks } = commit;
        let now = self.now();
        let WritesBeforeAppend { wakes: later_wakes, timers, subscriptions, inbox_events, links, found_by } =
            group_by_kind(before);
        let found_by = found_by.into_iter().map(|key| new_item(&key, self.ttl(now))).collect();
        let indexed = try_join4(
            self.register(subscriptions, now),
            self.put_inbox_events(inbox_events, now),
            self.link_events(links, now),
            self.put_many(found_by),
        );
        try_join3(self.send(later_wakes, now), self.set_timers(timers), indexed).await?;
        if let Some(append) = append
            && self.append(&append, now).await? == CommitResult::Conflict
        {
            return Ok(CommitResult::Conflict);
        }
        try_join_all(after.into_iter().map(|after| self.apply_late_write(after, now))).await?;
        self.send(wakes.into_iter().map(|wake| (wake, now)).collect(), now).await?;
        self.acknowledge(acks).await?;
        Ok(CommitResult::Done)
    }

    fn repeats_requests(&self) -> bool {
        self.dynamo.config().retry_config().is_none_or(|retries| retries.max_attempts() > 1)
    }

    fn is_exclusive(&self) -> bool {
        false
    }
}

/// The writes that must be done before the append, sorted by kind.
#[derive(Default)]
struct WritesBeforeAppend {
    wakes: Vec<(Wake, Timestamp)>,
    timers: Vec<Timer>,
    subscriptions: Vec<Subscription>,
    inbox_events: Vec<(RunId, EventId)>,
    links: Vec<(RunId, EventId)>,
    /// The items by which a run is found: by its labels, and by the events that it received.
    found_by: Vec<ItemKey>,
}

fn group_by_kind(before: Vec<EarlyWrite>) -> WritesBeforeAppend {
    let mut writes = WritesBeforeAppend::default();
    for write in before {
        match write {
            EarlyWrite::Wake { wake, due } => writes.wakes.push((wake, due)),
            EarlyWrite::Timer(timer) => writes.timers.push(timer),
            EarlyWrite::Subscribe(subscription) => writes.subscriptions.push(subscription),
            EarlyWrite::PutInInbox { run, event } => writes.inbox_events.push((run, event)),
            EarlyWrite::LinkEvent { run, event } => writes.links.push((run, event)),
            EarlyWrite::NoteDelivery { run, event } => writes.found_by.push(layout::delivery(event, run)),
            EarlyWrite::AddLabel { run, label } => writes.found_by.push(layout::label(&label, run)),
        }
    }
    writes
}

impl Aws {
    /// Appends a record with one conditional put. If the number is taken, this is a conflict,
    /// unless the stored record has the same token: then an earlier attempt succeeded and only its
    /// reply was lost (rule 1).
    async fn append(&self, append: &JournalAppend, now: Timestamp) -> StoreResult<CommitResult> {
        let JournalAppend { run, record } = append;
        let (mut item, value) = self.record_item(*run, record, now)?;
        if value.has_parts() {
            self.put_parts(&value, self.ttl(now)).await?;
        }
        value.add_to(&mut item);
        match self.put_new(item).await? {
            PutOutcome::Written => Ok(CommitResult::Done),
            PutOutcome::Refused(existing) if parse_token(&existing)? == record.token => Ok(CommitResult::Done),
            PutOutcome::Refused(_) => Ok(CommitResult::Conflict),
        }
    }

    async fn apply_late_write(&self, after: LateWrite, now: Timestamp) -> StoreResult<()> {
        match after {
            LateWrite::MarkEnded { run, at, status } => self.end_row(run, at, status, now).await,
            LateWrite::Release { limit, holder } => self.release_holder(&limit, &holder).await,
            LateWrite::Unsubscribe(subscription) => self.delete(&layout::subscription(&subscription)).await,
            LateWrite::TakeFromInbox { run, event } => self.delete(&layout::inbox_event(run, event)).await,
            LateWrite::Dequeue { limit, run, of } => self.delete_tickets_of(&limit, run, of.as_ref()).await,
            LateWrite::DequeuePaused { queue, run } => {
                let items = self.tickets_of_run(&queue, run).await?;
                self.delete_tickets(items).await
            }
        }
    }

    /// Writes the end of a run into its row. If the row is missing, the retention of the run is
    /// over. The row is also the first record, whose time to live is that of the journal: it is
    /// kept in an attribute of its own.
    async fn end_row(&self, run: RunId, at: Timestamp, status: Status, now: Timestamp) -> StoreResult<()> {
        let request = self
            .dynamo
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key_attributes(&layout::row_key(run))))
            .update_expression("SET ended = :at, #s = :status, journal_ttl = if_not_exists(journal_ttl, #t), #t = :ttl")
            .condition_expression("attribute_exists(PK)")
            .expression_attribute_names("#s", "status")
            .expression_attribute_names("#t", "ttl")
            .expression_attribute_values(":at", number(at.as_millis()))
            .expression_attribute_values(":status", text(status.to_string()))
            .expression_attribute_values(":ttl", number(self.ttl(now)));
        match request.send().await {
            Ok(_) => Ok(()),
            Err(e) if condition_failed(&e) => Ok(()),
            Err(e) => Err(request_error("UpdateItem", e)),
        }
    }
}
