//! Beginning runs: all that belongs to the beginning of a run in one transaction (rule 16), then its first wake.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use aws_sdk_dynamodb::types::{CancellationReason, Put, TransactWriteItem};
use futures::{StreamExt, stream};
use stepladder_core::{RunId, RunRow, Timestamp};
use stepladder_engine::ports::{FlowStateChange, RunCreation, RunStart, StartResult, StoreError, StoreResult};

use super::timers::timer_item;
use crate::Aws;
use crate::fault::{is_code, lasting, unavailable};
use crate::item::{Item, item, number, text};
use crate::layout::{self, Key, LISTING_SHARDS};
use crate::table::{Ask, IS_NEW};

/// How many runs are begun side by side.
const AT_ONCE: usize = 16;
/// How often a transaction that met another one is sent again.
const ROUNDS: u32 = 6;

/// What became of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Met {
    New,
    /// It exists and has not moved: its first wake may never have been sent.
    Unmoved,
    Moved,
    /// A note is not as it was seen.
    Overtaken,
}

#[async_trait]
impl RunCreation for Aws {
    async fn create_runs(&self, starts: Vec<RunStart>) -> StoreResult<Vec<StartResult>> {
        let now = self.now();
        let mut seen = HashSet::new();
        let overtaken: Mutex<HashSet<Arc<str>>> = Mutex::default();
        let begin = |start| {
            let overtaken = &overtaken;
            async move {
                let (start, first): (&RunStart, bool) = start;
                if !first {
                    return Ok(Met::Moved); // a second one of a run in the same call is the same run
                }
                let keys = || start.flow_state.iter().map(|note| note.key.clone());
                let known = || overtaken.lock().unwrap_or_else(PoisonError::into_inner);
                // it has seen what one before it did not get to change
                if keys().any(|key| known().contains(&key)) {
                    return Ok(Met::Overtaken);
                }
                let met = self.begin(start, now).await?;
                if met == Met::Overtaken {
                    known().extend(keys());
                }
                Ok(met)
            }
        };
        // those with notes may each have seen what the one before them changes
        let at_once = if starts.iter().any(|start| !start.flow_state.is_empty()) { 1 } else { AT_ONCE };
        let all: Vec<_> = starts.iter().map(|start| begin((start, seen.insert(start.row.run)))).collect();
        let mut all = stream::iter(all).buffered(at_once);
        let (mut met, mut failed): (Vec<Met>, Option<StoreError>) = (Vec::new(), None);
        while let Some(one) = all.next().await {
            match one {
                Ok(one) => met.push(one),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        drop(all);
        // also where a later one failed: a run that began and has no wake stands still until its watchdog
        let wakes = starts.into_iter().zip(&met).filter(|(_, met)| matches!(met, Met::New | Met::Unmoved));
        self.send(wakes.map(|(start, _)| (start.wake, now)).collect(), now).await?;
        if let Some(error) = failed {
            return Err(error);
        }
        let begun = |met| match met {
            Met::New => StartResult::New,
            Met::Unmoved | Met::Moved => StartResult::Known,
            Met::Overtaken => StartResult::Overtaken,
        };
        Ok(met.into_iter().map(begun).collect())
    }
}

impl Aws {
    async fn begin(&self, start: &RunStart, now: Timestamp) -> StoreResult<Met> {
        let run = start.row.run;
        self.list(&start.row, now).await?;
        let (mut first, value) = self.record_item(run, &start.record, now)?;
        if value.has_parts() {
            self.put_parts(&value, self.ttl(now)).await?;
        }
        value.add_to(&mut first);
        let mut items = vec![
            self.row_item(&start.row, now),
            item(&layout::run_of(start.row.event, run), self.ttl(now)),
            timer_item(&start.watchdog, now),
        ];
        for (limit, place) in &start.tickets {
            items.extend(self.place_items(limit, place, now));
        }
        let mut round = 0;
        loop {
            self.pause(&mut round, "TransactWriteItems", items.len() + start.flow_state.len() + 1).await?;
            match self.transact(&first, None, &items, &start.flow_state).await? {
                Transacted::Done => return Ok(Met::New),
                Transacted::Overtaken => return Ok(Met::Overtaken),
                Transacted::Refused => return self.begun_before(run).await,
                Transacted::Busy if round == ROUNDS => {
                    return Err(StoreError::Unavailable(format!("run {run} cannot be begun: others write to it")));
                }
                Transacted::Busy => {}
            }
        }
    }

    /// Whether a run that exists has moved. A transaction whose reply was lost is repeated by the SDK under its own
    /// token, and is no such case.
    async fn begun_before(&self, run: RunId) -> StoreResult<Met> {
        let moved = Ask {
            partition: ("PK", layout::run(run)),
            range: Some(("SK BETWEEN :a AND :b", vec![layout::record_sk(1), "J#~".into()])),
            strong: true,
            limit: Some(1),
            attributes: Some("PK"),
            ..Ask::default()
        };
        Ok(if self.query(moved).await?.is_empty() { Met::Unmoved } else { Met::Moved })
    }

    /// Writes all of these, or none: on the condition that the first is not there yet, or is as it was seen.
    pub(super) async fn transact(
        &self,
        first: &Item,
        seen: Option<Seen<'_>>,
        others: &[Item],
        notes: &[FlowStateChange],
    ) -> StoreResult<Transacted> {
        let put = Put::builder().table_name(&self.table).set_item(Some(first.clone()));
        let first = match seen {
            None => put.condition_expression(IS_NEW),
            Some((name, value)) => put
                .condition_expression("#n = :v")
                .expression_attribute_names("#n", name)
                .expression_attribute_values(":v", text(value)),
        };
        let others = others.iter().map(|item| Put::builder().table_name(&self.table).set_item(Some(item.clone())));
        let puts = std::iter::once(first).chain(others).map(|put| {
            let put = put.build().map_err(|e| StoreError::Unreadable(e.to_string()))?;
            Ok(TransactWriteItem::builder().put(put).build())
        });
        let writes = puts.chain(notes.iter().map(|note| self.note_write(note))).collect::<StoreResult<Vec<_>>>()?;
        let first_note = writes.len() - notes.len();
        let request = self.dynamo.transact_write_items().set_transact_items(Some(writes));
        let error = match request.send().await {
            Ok(_) => return Ok(Transacted::Done),
            Err(error) => error,
        };
        if is_code(&error, "TransactionInProgressException") {
            return Ok(Transacted::Busy);
        }
        use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError::TransactionCanceledException as Cancelled;
        let Some(Cancelled(cancelled)) = error.as_service_error() else {
            return Err(unavailable("TransactWriteItems", &error));
        };
        let reasons = cancelled.cancellation_reasons();
        let is_refused = |reason: &CancellationReason| reason.code() == Some("ConditionalCheckFailed");
        match reasons.first() {
            Some(first) if is_refused(first) => Ok(Transacted::Refused),
            Some(_) if reasons.iter().skip(first_note).any(is_refused) => Ok(Transacted::Overtaken),
            Some(_) | None => {
                let codes: Vec<_> =
                    reasons.iter().filter_map(|reason| reason.code()).filter(|c| *c != "None").collect();
                let passing = ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"];
                if !codes.is_empty() && codes.iter().all(|code| passing.contains(code)) {
                    return Ok(Transacted::Busy);
                }
                Err(lasting(reasons).unwrap_or_else(|| {
                    StoreError::Unavailable(format!("TransactWriteItems was cancelled: {}", codes.join(", ")))
                }))
            }
        }
    }

    fn row_item(&self, row: &RunRow, now: Timestamp) -> Item {
        let shard = layout::shard(row.run, LISTING_SHARDS);
        let at = row.run.time();
        let mut item = item(&layout::row(row.run), self.ttl(now));
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

    /// Lists the hour and the function's day before the run is in them: an index goes before what it leads to.
    async fn list(&self, row: &RunRow, now: Timestamp) -> StoreResult<()> {
        let at = row.run.time();
        for key in layout::listed(row.run, &row.function) {
            let known = self.listed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).contains(&key);
            if !known {
                self.put_listed(&key, now.max(at)).await?;
                let mut listed = self.listed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if listed.len() > 10_000 {
                    listed.clear();
                }
                listed.insert(key);
            }
        }
        Ok(())
    }

    /// An hour or a day is listed for twice the retention: its runs may end late, and are kept from their ends on.
    pub(super) async fn put_listed(&self, key: &Key, now: Timestamp) -> StoreResult<()> {
        self.put(item(key, self.ttl(now + self.retention))).await
    }
}

/// An attribute of an item, and its value.
pub(super) type Seen<'a> = (&'a str, &'a str);

/// What became of a transaction.
pub(super) enum Transacted {
    Done,
    /// Its first item is there, or is not as it was seen.
    Refused,
    /// One of the notes is not as it was seen.
    Overtaken,
    /// Another one touches the same items, or the table is throttled.
    Busy,
}
