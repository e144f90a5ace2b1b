//! Reading journals, and records as items.

use async_trait::async_trait;
use stepladder_core::journal::{Record, Seq};
use stepladder_core::{RunId, Timestamp};
use stepladder_engine::ports::{Journals, StoreError, StoreResult};

use crate::Aws;
use crate::item::{Item, Read, bytes, item, text};
use crate::layout;
use crate::table::Ask;
use crate::value::{Packed, pack};

/// Past every record.
const LAST: &str = "J#~";

#[async_trait]
impl Journals for Aws {
    async fn read(&self, run: RunId, from: Seq) -> StoreResult<Vec<Record>> {
        // the row sorts behind the records: whoever reads all of them gets it along, to see whether they are all
        let last = if from == 0 { layout::MAIN } else { LAST };
        let mut items = self
            .query(Ask {
                partition: ("PK", layout::run(run)),
                range: Some(("SK BETWEEN :a AND :b", vec![layout::record_sk(from), last.into()])),
                strong: true,
                ..Ask::default()
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

    async fn renew_retention(&self, run: RunId, event: stepladder_core::EventId, now: Timestamp) -> StoreResult<()> {
        self.renew(run, event, now).await
    }
}

/// Items of a run that is over and past its retention go one by one, in any order: what is left of them is no run. The
/// first record lives no longer than any other, so it speaks for all, unless the retention was shortened meanwhile: then
/// it may outlive the run's end, which its row still knows of.
fn has_expired(items: &[Item], now: Timestamp) -> bool {
    let Some(first) = items.first() else { return false };
    let is_first = first.text("SK").is_ok_and(|sk| sk == layout::record_sk(0));
    !is_first || first.number("ttl").is_ok_and(|ttl| ttl.saturating_mul(1_000) <= now.as_millis())
}

impl Aws {
    async fn record(&self, item: &Item) -> StoreResult<Record> {
        let seq = item.text("SK")?.strip_prefix("J#").and_then(|digits| digits.parse().ok());
        let seq = seq.ok_or_else(|| StoreError::Unreadable("a journal record without a number".into()))?;
        let entries = self.unpack(item).await?;
        let entries = serde_json::from_str(&entries)
            .map_err(|e| StoreError::Unreadable(format!("record {seq} of {}: {e}", item.text("PK").unwrap_or("?"))))?;
        Ok(Record { seq, token: token(item)?, code: item.text("c")?.into(), entries })
    }

    /// A record as its item, but for its value; and the value.
    pub(super) fn record_item(&self, run: RunId, record: &Record, now: Timestamp) -> StoreResult<(Item, Packed)> {
        let json = serde_json::to_string(&record.entries)
            .map_err(|e| StoreError::Unreadable(format!("entries of run {run} are no JSON: {e}")))?;
        let mut item = item(&layout::record(run, record.seq), self.ttl(now));
        item.insert("t".into(), bytes(record.token.to_be_bytes()));
        item.insert("c".into(), text(&*record.code));
        Ok((item, pack(json, &run.to_string(), &format!("{:032x}", record.token))?))
    }
}

/// The token of a record that is there.
pub(super) fn token(item: &Item) -> StoreResult<u128> {
    let bytes = item.bytes("t")?.try_into();
    bytes.map(u128::from_be_bytes).map_err(|_| StoreError::Unreadable("a record's token has not 16 bytes".into()))
}
