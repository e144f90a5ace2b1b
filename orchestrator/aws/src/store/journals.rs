//! Reads journals, and converts journal records to items.

use async_trait::async_trait;
use stepladder_core::journal::{Record, Seq};
use stepladder_core::{RunId, Timestamp};
use stepladder_engine::ports::{Journals, StoreError, StoreResult};

use crate::Aws;
use crate::item::{Item, ReadItem, bytes, new_item, text};
use crate::layout;
use crate::table::TableQuery;
use crate::value::{PackedValue, pack};

/// A sort key that is greater than those of all records.
const AFTER_RECORDS: &str = "J#~";

#[async_trait]
impl Journals for Aws {
    async fn read(&self, run: RunId, from: Seq) -> StoreResult<Vec<Record>> {
        // the row of the run sorts after the records; a read of the whole journal includes the row,
        // to check that the journal is complete
        let last = if from == 0 { layout::MAIN } else { AFTER_RECORDS };
        let mut items = self
            .query(TableQuery {
                partition: ("PK", layout::run_partition(run)),
                range: Some(("SK BETWEEN :a AND :b", vec![layout::record_sk(from), last.into()])),
                strong: true,
                ..TableQuery::default()
            })
            .await?;
        let row = items.pop_if(|item| item.text("SK").is_ok_and(|sk| sk == layout::MAIN));
        if from == 0 && has_expired(&items, self.now()) {
            return Ok(Vec::new());
        }
        let mut records = Vec::with_capacity(items.len());
        for item in &items {
            records.push(self.record(item).await?);
        }
        let has_end = |records: &[Record]| records.iter().flat_map(|r| &r.entries).any(|entry| entry.fact.is_end());
        if row.is_some_and(|row| row.contains_key("ended")) && !has_end(&records) {
            return Ok(Vec::new());
        }
        Ok(records)
    }
}

/// Returns whether the journal has expired. After the retention, DynamoDB deletes the items of an
/// ended run one by one, in any order; the remaining items are not a valid run.
///
/// No other record expires before the first one, so the first record decides for all. If the
/// retention was shortened in the meantime, this is not true; then the caller finds that the row of
/// the run contains an end that the journal lacks.
fn has_expired(items: &[Item], now: Timestamp) -> bool {
    let Some(first) = items.first() else { return false };
    let is_first = first.text("SK").is_ok_and(|sk| sk == layout::record_sk(0));
    !is_first || first.number("ttl").is_ok_and(|ttl| ttl.saturating_mul(1_000) <= now.as_millis())
}

impl Aws {
    async fn record(&self, item: &Item) -> StoreResult<Record> {
        let seq = item.text("SK")?.strip_prefix("J#").and_then(|digits| digits.parse().ok());
        let seq = seq.ok_or_else(|| StoreError::Unreadable("a journal record has no number".into()))?;
        let entries = self.unpack(item).await?;
        let entries = serde_json::from_str(&entries).map_err(|e| {
            StoreError::Unreadable(format!("record {seq} of {}: {e}", item.text("PK").unwrap_or("?")).into()).because(e)
        })?;
        Ok(Record { seq, token: parse_token(item)?, code: item.text("c")?.into(), entries })
    }

    /// Converts a record to an item without its value, and returns the value separately.
    pub(super) fn record_item(&self, run: RunId, record: &Record, now: Timestamp) -> StoreResult<(Item, PackedValue)> {
        let json = serde_json::to_string(&record.entries).map_err(|e| {
            StoreError::Unreadable(format!("entries of run {run} cannot be written as JSON: {e}").into()).because(e)
        })?;
        let mut item = new_item(&layout::record(run, record.seq), self.ttl(now));
        item.insert("t".into(), bytes(record.token.to_be_bytes()));
        item.insert("c".into(), text(&*record.code));
        Ok((item, pack(json, &run.to_string(), &format!("{:032x}", record.token))?))
    }
}

/// Returns the token of the record in this item.
pub(super) fn parse_token(item: &Item) -> StoreResult<u128> {
    let bytes = item.bytes("t")?.try_into();
    bytes
        .map(u128::from_be_bytes)
        .map_err(|_| StoreError::Unreadable("the token of a record does not have 16 bytes".into()))
}
