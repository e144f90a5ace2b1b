//! Reads journals, and converts journal records to items.

use async_trait::async_trait;
use stepladder_core::journal::{Record, Seq};
use stepladder_core::{RunId, Timestamp};
use stepladder_engine::ports::{Journals, StoreError, StoreResult};

use crate::Aws;
use crate::item::{Item, ReadItem, bytes, item_bytes, new_item, text};
use crate::layout;
use crate::table::TableQuery;
use crate::value::{PackedValue, pack};

/// The maximum size of a run's first item, in bytes, before the end of the run is marked in it. It
/// leaves room for the mark, so that the item never takes more than one write unit of 1 KB.
const MAX_FIRST_ITEM_BYTES: usize = 1_024 - 48;

#[async_trait]
impl Journals for Aws {
    async fn read(&self, run: RunId, from: Seq) -> StoreResult<Vec<Record>> {
        let mut items = self
            .query(TableQuery {
                partition: ("PK", layout::run_partition(run)),
                range: Some(("SK BETWEEN :a AND :b", vec![layout::record_sk(from), layout::AFTER_RECORDS.into()])),
                strong: true,
                ..TableQuery::default()
            })
            .await?;
        if from == 0 {
            if has_expired(&items, self.now()) {
                return Ok(Vec::new());
            }
            join_first_value(&mut items)?;
        }
        let is_marked = items.first().is_some_and(|first| first.contains_key("ended"));
        let mut records = Vec::with_capacity(items.len());
        for item in &items {
            records.push(self.record(item).await?);
        }
        let has_end = |records: &[Record]| records.iter().flat_map(|r| &r.entries).any(|entry| entry.fact.is_end());
        if from == 0 && is_marked && !has_end(&records) {
            return Ok(Vec::new());
        }
        Ok(records)
    }
}

/// Returns whether the journal has expired. After the retention, DynamoDB deletes the items of an
/// ended run one by one, in any order; the remaining items are not a valid run.
///
/// The first record is also the row of the run, so the end of the run extends its time to live. It
/// then contains the earlier one. No other record expires before that time, so it decides for all.
/// If the retention was shortened in the meantime, this is not true; then the caller finds that the
/// row of the run contains an end that the journal lacks.
///
/// If the first record is missing, the other items are left over from an attempt to create the run.
fn has_expired(items: &[Item], now: Timestamp) -> bool {
    let Some(first) = items.first() else { return false };
    let is_first = first.text("SK").is_ok_and(|sk| sk == layout::record_sk(0));
    let ttl = first.number("journal_ttl").or_else(|_| first.number("ttl"));
    !is_first || ttl.is_ok_and(|ttl| ttl.saturating_mul(1_000) <= now.as_millis())
}

/// Moves the value of the first record into the record, and removes the values of other attempts to
/// create the run.
fn join_first_value(items: &mut Vec<Item>) -> StoreResult<()> {
    let Some(first) = items.first() else { return Ok(()) };
    let own = layout::first_value_sk(parse_token(first)?);
    let is_value = |item: &Item| item.text("SK").is_ok_and(|sk| sk.contains('/'));
    let values: Vec<Item> = items.extract_if(1.., |item| is_value(item)).collect();
    if let Some(value) = values.into_iter().find(|value| value.text("SK").is_ok_and(|sk| sk == own)) {
        let attributes = value.into_iter().filter(|(name, _)| matches!(name.as_str(), "v" | "z"));
        items[0].extend(attributes);
    }
    Ok(())
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

/// Moves the value of a run's first record into an item of its own if the record would take more
/// than one write unit with it. Returns the new item, which must be written before the record.
///
/// The first record is written again at the end of the run, and a large value would be paid for
/// again. A value in parts stays where it is.
pub(super) fn split_first_value(first: &mut Item, run: RunId, token: u128, ttl: i64) -> Option<Item> {
    if item_bytes(first) <= MAX_FIRST_ITEM_BYTES {
        return None;
    }
    let (name, value) = ["v", "z"].iter().find_map(|name| first.remove_entry(*name))?;
    let mut item = new_item(&layout::first_value(run, token), ttl);
    item.insert(name, value);
    Some(item)
}

/// Returns the token of the record in this item.
pub(super) fn parse_token(item: &Item) -> StoreResult<u128> {
    let bytes = item.bytes("t")?.try_into();
    bytes
        .map(u128::from_be_bytes)
        .map_err(|_| StoreError::Unreadable("the token of a record does not have 16 bytes".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::number;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn first(value: &str) -> Item {
        let mut item = new_item(&layout::record(RunId::new(NOW, 1), 0), NOW.as_millis() / 1_000 + 60);
        item.extend([("t".into(), bytes(7_u128.to_be_bytes())), ("v".into(), text(value))]);
        item
    }

    #[test]
    fn a_small_value_stays_in_the_first_record_and_a_large_one_is_joined_again() {
        let run = RunId::new(NOW, 1);
        assert_eq!(split_first_value(&mut first("small"), run, 7, 1), None);
        let large = "x".repeat(1_000);
        let mut record = first(&large);
        let value = split_first_value(&mut record, run, 7, 1).unwrap();
        let of_other = split_first_value(&mut first(&"y".repeat(1_000)), run, 8, 1).unwrap();
        assert!(item_bytes(&record) <= MAX_FIRST_ITEM_BYTES);
        let mut items = vec![record, value, of_other];
        join_first_value(&mut items).unwrap();
        assert_eq!((items.len(), items[0].text("v").unwrap()), (1, &*large));
    }

    #[test]
    fn the_end_of_a_run_extends_the_row_and_not_the_journal() {
        let mut item = first("small");
        assert!(!has_expired(&[item.clone()], NOW));
        item.insert("journal_ttl".into(), number(NOW.as_millis() / 1_000));
        assert!(has_expired(&[item], NOW));
    }

    #[test]
    fn a_value_without_its_record_is_no_run() {
        let value = split_first_value(&mut first(&"x".repeat(1_000)), RunId::new(NOW, 1), 7, i64::MAX).unwrap();
        assert!(has_expired(&[value], NOW));
    }
}
