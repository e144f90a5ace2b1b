//! Creates runs.
//!
//! A run exists if its first record exists, and this record is also the row of the run. So most
//! runs need no transaction, which would cost twice as many write units. The order of the writes
//! makes every crash harmless:
//!
//! 1. The items that list the day and the function of the run. If the process dies after them, a
//!    listing reads an empty partition.
//! 2. The watchdog, the link from the event if there is one, the items of the labels, and the value
//!    of the record if it is large. If the process dies after them, they belong to no run: the
//!    sweep finds no journal, and listings find no row. A repeated event writes its own; these
//!    expire.
//! 3. The first record, on the condition that the run is new. If the process dies after it, a
//!    repeated event sends the wake. If no event is repeated, the watchdog wakes the run (rule 12).
//! 4. The first wake.
//!
//! A run with tickets or flow states still has a transaction as its third step: what a limiter
//! counts must not change without the run (rule 16).

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{CancellationReason, Put, TransactWriteItem};
use futures::future::try_join_all;
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use stepladder_core::{RunId, RunRow, Timestamp};
use stepladder_engine::ports::{FlowStateChange, RunCreation, RunStart, StartResult, StoreError, StoreResult};

use super::journals::{parse_token, split_first_value};
use super::timers::timer_item;
use crate::Aws;
use crate::error::{permanent_reason, request_error};
use crate::item::{Item, key_attributes, new_item, number, text};
use crate::layout::{self, ItemKey, LISTING_SHARDS};
use crate::table::{IS_NEW, PutOutcome, TableQuery};

/// The maximum number of runs that are created concurrently.
const CONCURRENCY: usize = 16;

/// The outcome of creating a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StartOutcome {
    New,
    /// The run already exists, but it has only its first record, so its first wake may not have
    /// been sent.
    Unmoved,
    /// The run already exists and has further records.
    Moved,
    /// The flow state has changed since the caller read it, so the run was not created.
    Overtaken,
}

#[async_trait]
impl RunCreation for Aws {
    async fn create_runs(&self, starts: Vec<RunStart>) -> StoreResult<Vec<StartResult>> {
        let now = self.now();
        let mut seen = HashSet::new();
        let overtaken: Mutex<HashSet<Arc<str>>> = Mutex::default();
        let create = |start| {
            let overtaken = &overtaken;
            async move {
                let (start, first): (&RunStart, bool) = start;
                if !first {
                    return Ok(StartOutcome::Moved); // a second start of the same run in this call
                }
                let keys = || start.flow_state.iter().map(|change| change.key.clone());
                let known = || overtaken.lock();
                // an earlier run of this call could not change the flow state, which this run
                // expects to be changed
                if keys().any(|key| known().contains(&key)) {
                    return Ok(StartOutcome::Overtaken);
                }
                let outcome = self.create_run(start, now).await?;
                if outcome == StartOutcome::Overtaken {
                    known().extend(keys());
                }
                Ok(outcome)
            }
        };
        // a run may expect the flow state that the run before it writes, so they are created one by
        // one
        let concurrency = if starts.iter().any(|start| !start.flow_state.is_empty()) { 1 } else { CONCURRENCY };
        let all: Vec<_> = starts.iter().map(|start| create((start, seen.insert(start.row.run)))).collect();
        let mut all = stream::iter(all).buffered(concurrency);
        let (mut outcomes, mut failed): (Vec<StartOutcome>, Option<StoreError>) = (Vec::new(), None);
        while let Some(one) = all.next().await {
            match one {
                Ok(outcome) => outcomes.push(outcome),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        drop(all);
        // wakes are sent even if a later run failed: without a wake, a new run would wait for its
        // watchdog
        let wakes = starts
            .into_iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| matches!(outcome, StartOutcome::New | StartOutcome::Unmoved));
        self.send(wakes.map(|(start, _)| (start.wake, now)).collect(), now).await?;
        if let Some(error) = failed {
            return Err(error);
        }
        let result = |outcome| match outcome {
            StartOutcome::New => StartResult::New,
            StartOutcome::Unmoved | StartOutcome::Moved => StartResult::Known,
            StartOutcome::Overtaken => StartResult::Overtaken,
        };
        Ok(outcomes.into_iter().map(result).collect())
    }
}

impl Aws {
    async fn create_run(&self, start: &RunStart, now: Timestamp) -> StoreResult<StartOutcome> {
        let run = start.row.run;
        self.list_day(run, &start.row.function, now).await?;
        let StartWrites { first, own } = self.put_before_first_record(start, now).await?;
        let existing = match self.put_first_record(start, first, now).await? {
            FirstRecordOutcome::Written => return Ok(StartOutcome::New),
            FirstRecordOutcome::Overtaken => {
                self.delete_all(own).await?;
                return Ok(StartOutcome::Overtaken);
            }
            FirstRecordOutcome::Exists(existing) => existing,
        };
        // Each watchdog visits the run until the run ends, and each value is read with its journal.
        // An event may be repeated often, so an attempt that finds the run removes its own ones. A
        // record with the token of this attempt relies on them: only its reply was lost (rule 1).
        if parse_token(&existing).ok() != Some(start.record.token) {
            self.delete_all(own).await?;
        }
        self.existing_run(run).await
    }

    /// Writes what must exist before the first record of a run.
    async fn put_before_first_record(&self, start: &RunStart, now: Timestamp) -> StoreResult<StartWrites> {
        let RunStart { row: RunRow { run, event, function, .. }, record, .. } = start;
        let (mut first, value) = self.record_item(*run, record, now)?;
        if value.has_parts() {
            self.put_parts(&value, self.ttl(now)).await?;
        }
        value.add_to(&mut first);
        add_row(&mut first, &start.row);
        let mut watchdog = timer_item(&start.watchdog, now);
        let key = layout::first_watchdog(&start.watchdog, record.token);
        watchdog.extend(key_attributes(&key));
        let (mut before, mut own) = (vec![watchdog], vec![key]);
        if let Some(value) = split_first_value(&mut first, *run, record.token, self.ttl(now)) {
            before.push(value);
            own.push(layout::first_value(*run, record.token));
        }
        if *run != RunId::started_by(*event, function) {
            before.push(new_item(&layout::run_of(*event, *run), self.ttl(now)));
        }
        let ttl = self.ttl(now);
        before.extend(start.labels().iter().map(|label| new_item(&layout::label(label, *run), ttl)));
        try_join_all(before.into_iter().map(|item| self.put(item))).await?;
        Ok(StartWrites { first, own })
    }

    async fn put_first_record(&self, start: &RunStart, first: Item, now: Timestamp) -> StoreResult<FirstRecordOutcome> {
        let tickets = start.tickets.iter().flat_map(|(limit, ticket)| self.ticket_items(&limit.key, ticket, now));
        let tickets: Vec<Item> = tickets.collect();
        if tickets.is_empty() && start.flow_state.is_empty() {
            return Ok(match self.put_new(first).await? {
                PutOutcome::Written => FirstRecordOutcome::Written,
                PutOutcome::Refused(existing) => FirstRecordOutcome::Exists(existing),
            });
        }
        let mut round = 0;
        loop {
            let items = tickets.len() + start.flow_state.len() + 1;
            self.pause_before_round(&mut round, "TransactWriteItems", items).await?;
            match self.transact(&first, None, &tickets, &start.flow_state).await? {
                TransactionOutcome::Committed => return Ok(FirstRecordOutcome::Written),
                TransactionOutcome::Overtaken => return Ok(FirstRecordOutcome::Overtaken),
                TransactionOutcome::Refused => {
                    let existing = self.get(&layout::row_key(start.row.run)).await?;
                    return Ok(FirstRecordOutcome::Exists(existing.unwrap_or_default()));
                }
                TransactionOutcome::Busy => {}
            }
        }
    }

    /// Returns whether an existing run has further records.
    async fn existing_run(&self, run: RunId) -> StoreResult<StartOutcome> {
        let moved = TableQuery {
            partition: ("PK", layout::run_partition(run)),
            range: Some(("SK BETWEEN :a AND :b", vec![layout::record_sk(1), layout::AFTER_RECORDS.into()])),
            strong: true,
            limit: Some(1),
            attributes: Some("PK"),
            ..TableQuery::default()
        };
        Ok(if self.query(moved).await?.is_empty() { StartOutcome::Unmoved } else { StartOutcome::Moved })
    }

    /// Writes all items or none. The condition is that the first item does not exist yet, or that
    /// its attribute has the expected value.
    pub(super) async fn transact(
        &self,
        first: &Item,
        expected: Option<ExpectedAttribute<'_>>,
        others: &[Item],
        changes: &[FlowStateChange],
    ) -> StoreResult<TransactionOutcome> {
        let put = Put::builder().table_name(&self.table).set_item(Some(first.clone()));
        let first = match expected {
            None => put.condition_expression(IS_NEW),
            Some((name, value)) => put
                .condition_expression("#n = :v")
                .expression_attribute_names("#n", name)
                .expression_attribute_values(":v", text(value)),
        };
        let others = others.iter().map(|item| Put::builder().table_name(&self.table).set_item(Some(item.clone())));
        let puts = std::iter::once(first).chain(others).map(|put| {
            let put = put.build().map_err(StoreError::unreadable)?;
            Ok(TransactWriteItem::builder().put(put).build())
        });
        let writes =
            puts.chain(changes.iter().map(|change| self.flow_state_write(change))).collect::<StoreResult<Vec<_>>>()?;
        let first_change = writes.len() - changes.len();
        let request = self.dynamo.transact_write_items().set_transact_items(Some(writes));
        let error = match request.send().await {
            Ok(_) => return Ok(TransactionOutcome::Committed),
            Err(error) => error,
        };
        let cancelled = match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionInProgressException(_)) => return Ok(TransactionOutcome::Busy),
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => cancelled,
            Some(_) | None => return Err(request_error("TransactWriteItems", error)),
        };
        let reasons = cancelled.cancellation_reasons();
        let is_refused = |reason: &CancellationReason| reason.code() == Some("ConditionalCheckFailed");
        match reasons.first() {
            Some(first) if is_refused(first) => Ok(TransactionOutcome::Refused),
            Some(_) if reasons.iter().skip(first_change).any(is_refused) => Ok(TransactionOutcome::Overtaken),
            Some(_) | None => {
                let codes: Vec<_> =
                    reasons.iter().filter_map(|reason| reason.code()).filter(|c| *c != "None").collect();
                let transient = ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"];
                if !codes.is_empty() && codes.iter().all(|code| transient.contains(code)) {
                    return Ok(TransactionOutcome::Busy);
                }
                Err(permanent_reason(reasons).unwrap_or_else(|| {
                    StoreError::Unavailable(format!("TransactWriteItems was cancelled: {}", codes.join(", ")).into())
                }))
            }
        }
    }

    /// Lists the day and the function of a run, before the run is written, so that listings find
    /// the run.
    async fn list_day(&self, run: RunId, function: &str, now: Timestamp) -> StoreResult<()> {
        let keys = layout::listed_days(run, function);
        if self.listed_days.lock().get(&keys[0]).is_none() {
            self.put_listed_days(&keys, now.max(run.time())).await?;
            let [first, _] = keys;
            self.listed_days.lock().insert(first, ());
        }
        Ok(())
    }

    /// Lists a day for twice the retention: its runs may end late, and their retention starts when
    /// they end. The items keep the time at which they were first written: all timers of the runs
    /// are later.
    pub(super) async fn put_listed_days(&self, keys: &[ItemKey; 2], now: Timestamp) -> StoreResult<()> {
        let (ttl, since) = (self.ttl(now + self.retention), self.now().as_millis());
        let put = |key| async move {
            let request = self
                .dynamo
                .update_item()
                .table_name(&self.table)
                .set_key(Some(key_attributes(key)))
                .update_expression("SET #t = :ttl, since = if_not_exists(since, :since)")
                .expression_attribute_names("#t", "ttl")
                .expression_attribute_values(":ttl", number(ttl))
                .expression_attribute_values(":since", number(since));
            request.send().await.map(drop).map_err(|e| request_error("UpdateItem", e))
        };
        try_join_all(keys.iter().map(put)).await.map(drop)
    }
}

/// Adds the attributes of a run's row to the item of its first record.
fn add_row(first: &mut Item, row: &RunRow) {
    let shard = layout::shard_number(row.run, LISTING_SHARDS);
    first.insert("function".into(), text(&*row.function));
    first.insert("event".into(), text(row.event.to_string()));
    first.insert("created".into(), number(row.created_at.as_millis()));
    first.insert("day".into(), text(layout::day_shard(&row.function, layout::day_of(row.run.time()), shard)));
    if let Some((at, status)) = row.ended {
        first.insert("ended".into(), number(at.as_millis()));
        first.insert("status".into(), text(status.to_string()));
    }
}

/// The writes of an attempt to create a run.
struct StartWrites {
    /// The item of the first record, which is written last.
    first: Item,
    /// The keys of the items that were written before it and that no other attempt uses.
    own: Vec<ItemKey>,
}

/// The outcome of writing the first record of a run.
enum FirstRecordOutcome {
    Written,
    /// The run already exists. Contains the item of its first record, or an empty item if it has
    /// expired since.
    Exists(Item),
    /// The flow state has changed since the caller read it.
    Overtaken,
}

/// The name of an attribute, and the value that it must have.
pub(super) type ExpectedAttribute<'a> = (&'a str, &'a str);

pub(super) enum TransactionOutcome {
    Committed,
    /// The condition on the first item was false.
    Refused,
    /// The flow state was not the expected one.
    Overtaken,
    /// Another request writes to the same items, or the table is throttled.
    Busy,
}
