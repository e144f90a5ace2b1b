//! Creates runs. All items of a new run are written in one transaction (rule 16); then the first
//! wake of the run is sent.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{CancellationReason, Put, TransactWriteItem};
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use stepladder_core::{RunId, RunRow, Timestamp};
use stepladder_engine::ports::{FlowStateChange, RunCreation, RunStart, StartResult, StoreError, StoreResult};

use super::timers::timer_item;
use crate::Aws;
use crate::error::{permanent_reason, request_error};
use crate::item::{Item, new_item, number, text};
use crate::layout::{self, ItemKey, LISTING_SHARDS};
use crate::table::{IS_NEW, TableQuery};

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
        self.list_run(&start.row, now).await?;
        let (mut first, value) = self.record_item(run, &start.record, now)?;
        if value.has_parts() {
            self.put_parts(&value, self.ttl(now)).await?;
        }
        value.add_to(&mut first);
        let mut items = vec![
            self.row_item(&start.row, now),
            new_item(&layout::run_of(start.row.event, run), self.ttl(now)),
            timer_item(&start.watchdog, now),
        ];
        for (limit, ticket) in &start.tickets {
            items.extend(self.ticket_items(&limit.key, ticket, now));
        }
        let mut round = 0;
        loop {
            self.pause_before_round(&mut round, "TransactWriteItems", items.len() + start.flow_state.len() + 1).await?;
            match self.transact(&first, None, &items, &start.flow_state).await? {
                TransactionOutcome::Committed => return Ok(StartOutcome::New),
                TransactionOutcome::Overtaken => return Ok(StartOutcome::Overtaken),
                TransactionOutcome::Refused => return self.existing_run(run).await,
                TransactionOutcome::Busy => {}
            }
        }
    }

    /// Returns whether an existing run has further records. The run was created by an earlier call:
    /// if only the reply to a transaction of this call had been lost, the SDK would have repeated
    /// the transaction under its token.
    async fn existing_run(&self, run: RunId) -> StoreResult<StartOutcome> {
        let moved = TableQuery {
            partition: ("PK", layout::run_partition(run)),
            range: Some(("SK BETWEEN :a AND :b", vec![layout::record_sk(1), "J#~".into()])),
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

    fn row_item(&self, row: &RunRow, now: Timestamp) -> Item {
        let shard = layout::shard_number(row.run, LISTING_SHARDS);
        let at = row.run.time();
        let mut item = new_item(&layout::row_key(row.run), self.ttl(now));
        item.insert("run".into(), text(row.run.to_string()));
        item.insert("function".into(), text(&*row.function));
        item.insert("event".into(), text(row.event.to_string()));
        item.insert("created".into(), number(row.created_at.as_millis()));
        item.insert("hour".into(), text(layout::hour_shard(layout::hour_of(at), shard)));
        item.insert("day".into(), text(layout::day_shard(&row.function, layout::day_of(at), shard)));
        if let Some((at, status)) = row.ended {
            item.insert("ended".into(), number(at.as_millis()));
            item.insert("status".into(), text(status.to_string()));
        }
        item
    }

    /// Lists the hour of a run, and the day for its function, before the run is written, so that
    /// listings find the run.
    async fn list_run(&self, row: &RunRow, now: Timestamp) -> StoreResult<()> {
        let at = row.run.time();
        for key in layout::period_keys(row.run, &row.function) {
            let is_listed = self.listed_periods.lock().get(&key).is_some();
            if !is_listed {
                self.put_listed(&key, now.max(at)).await?;
                self.listed_periods.lock().insert(key, ());
            }
        }
        Ok(())
    }

    /// Lists an hour or a day for twice the retention: its runs may end late, and their retention
    /// starts when they end.
    pub(super) async fn put_listed(&self, key: &ItemKey, now: Timestamp) -> StoreResult<()> {
        self.put(new_item(key, self.ttl(now + self.retention))).await
    }
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
