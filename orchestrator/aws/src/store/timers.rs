//! The timers, in sharded buckets of one minute, and the cursor of the sweep.
//!
//! Timers are never deleted explicitly. After the cursor has passed a timer, its time to live
//! removes it.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::try_join_all;
use stepladder_core::wake::TimerPurpose;
use stepladder_core::{Timer, Timestamp};
use stepladder_engine::ports::{Cursor, StoreError, StoreResult, Timers};

use crate::Aws;
use crate::item::{Item, ReadItem, bytes, new_item, number, text};
use crate::layout::{self, TIMER_SHARDS};
use crate::table::{PutCondition, PutOutcome, TableQuery};

/// How long a timer is kept after it is due. A running sweep is only minutes behind.
const TIMER_RETENTION: Duration = Duration::from_secs(7 * 86_400);
/// The maximum number of marks in the item of the cursor. A mark of 8 bytes says that a timer was
/// sent. A timer without a mark is sent again, which is harmless.
const MAX_MARKS: usize = 40_000;

#[async_trait]
impl Timers for Aws {
    async fn bucket(&self, minute: i64, limit: usize) -> StoreResult<Vec<StoreResult<Timer>>> {
        // each shard returns its timers in order of time
        let query = |shard| TableQuery {
            partition: ("PK", layout::timers_partition(minute, shard)),
            strong: true,
            limit: (limit < usize::MAX).then_some(limit),
            ..TableQuery::default()
        };
        let shards = (0..TIMER_SHARDS).map(|shard| self.query(query(shard)));
        let items = try_join_all(shards).await?.concat();
        let mut timers: Vec<_> = items.iter().map(parse_timer_or_report).collect();
        // unreadable timers have no time, so they come first
        timers.sort_by_key(|timer| timer.as_ref().ok().map(|timer| timer.due));
        timers.truncate(limit);
        Ok(timers)
    }

    /// Returns the hour in which the first run was listed, because each timer belongs to a run that
    /// is listed before it. If timers may have expired unsent, returns the earliest time for which
    /// timers are still kept.
    async fn oldest(&self) -> StoreResult<Option<i64>> {
        let days = self.query_partition(layout::DAYS, true).await?;
        let since = days.iter().map(|item| item.time("since")).collect::<StoreResult<Vec<_>>>()?.into_iter().min();
        let hour = |at: Timestamp| at.minute().div_euclid(60) * 60;
        Ok(since.map(|since| hour(since).max((self.now() - TIMER_RETENTION).minute())))
    }

    async fn set(&self, timers: Vec<Timer>) -> StoreResult<()> {
        self.set_timers(timers).await
    }

    async fn cursor(&self) -> StoreResult<Option<Cursor>> {
        self.get(&layout::cursor_key()).await?.map(|item| decode_cursor(&item)).transpose()
    }

    async fn advance(&self, expected: Option<Cursor>, next: Cursor) -> StoreResult<bool> {
        let mut item =
            Item::from([("PK".into(), text(layout::cursor_key().pk)), ("SK".into(), text(layout::cursor_key().sk))]);
        let sent = encode_cursor(&next);
        let hash_of_next = hash(next.minute, &sent);
        item.insert("minute".into(), number(next.minute));
        item.insert("hash".into(), text(&hash_of_next));
        item.insert("sent".into(), bytes(sent));
        let put = match &expected {
            None => self.put_new(item).await?,
            Some(expected) => {
                let is_expected = PutCondition {
                    expression: "#hash = :expected",
                    alias: Some(("#hash", "hash")),
                    value: Some((":expected", text(hash(expected.minute, &encode_cursor(expected))))),
                };
                self.put_if(item, is_expected).await?
            }
        };
        // the stored cursor is already this one: an earlier reply was lost, or another sweep has
        // sent the same timers
        Ok(match put {
            PutOutcome::Written => true,
            PutOutcome::Refused(existing) => existing.text("hash").is_ok_and(|hash| hash == hash_of_next),
        })
    }
}

impl Aws {
    pub(super) async fn set_timers(&self, timers: Vec<Timer>) -> StoreResult<()> {
        let now = self.now();
        let mut items: HashMap<_, _> = HashMap::new();
        for timer in &timers {
            items.insert(layout::timer_key(timer), timer_item(timer, now));
        }
        match items.len() {
            0 => Ok(()),
            1 => try_join_all(items.into_values().map(|item| self.put(item))).await.map(drop),
            _ => self.put_many(items.into_values().collect()).await,
        }
    }
}

pub(super) fn timer_item(timer: &Timer, now: Timestamp) -> Item {
    let ttl = (timer.due.max(now) + TIMER_RETENTION).as_millis() / 1_000;
    let mut item = new_item(&layout::timer_key(timer), ttl);
    item.insert("due".into(), number(timer.due.as_millis()));
    item.insert("run".into(), text(timer.run.to_string()));
    item.insert("group".into(), text(&*timer.group));
    match &timer.purpose {
        TimerPurpose::Due(of) => drop(item.insert("step".into(), text(of.as_stored()))),
        TimerPurpose::Deadline => drop(item.insert("deadline".into(), AttributeValue::Bool(true))),
        TimerPurpose::Heartbeat(step) => drop(item.insert("heartbeat".into(), text(&**step))),
        TimerPurpose::Watchdog => {}
    }
    item
}

/// Reads a timer from its item. If the item is unreadable, the error names its keys.
fn parse_timer_or_report(item: &Item) -> StoreResult<Timer> {
    parse_timer(item).map_err(|error| {
        let [pk, sk] = ["PK", "SK"].map(|key| item.text(key).unwrap_or("?"));
        StoreError::Unreadable(format!("the timer {pk} / {sk}: {}", error.reason()).into())
    })
}

fn parse_timer(item: &Item) -> StoreResult<Timer> {
    let purpose = match item.contains_key("step") {
        true => TimerPurpose::Due(item.run_or_step()?),
        false if item.contains_key("deadline") => TimerPurpose::Deadline,
        false if item.contains_key("heartbeat") => TimerPurpose::Heartbeat(item.text("heartbeat")?.into()),
        false => TimerPurpose::Watchdog,
    };
    Ok(Timer { due: item.time("due")?, run: item.run("run")?, group: item.text("group")?.into(), purpose })
}

/// Encodes the marks of sent timers: for each minute the number of the minute, the number of marks,
/// and 8 bytes per mark.
fn encode_cursor(cursor: &Cursor) -> Vec<u8> {
    let mut left = MAX_MARKS;
    let mut bytes = Vec::new();
    for (minute, marks) in &cursor.sent {
        let kept = &marks[..marks.len().min(left)];
        left -= kept.len();
        bytes.extend_from_slice(&minute.to_be_bytes());
        bytes.extend_from_slice(&(kept.len() as u64).to_be_bytes());
        kept.iter().for_each(|mark| bytes.extend_from_slice(&mark.to_be_bytes()));
    }
    bytes
}

fn decode_cursor(item: &Item) -> StoreResult<Cursor> {
    let broken = || StoreError::Unreadable("the cursor of the sweep is not valid".into());
    let mut words = item.bytes("sent")?.chunks_exact(8).map(|word| word.try_into().map(u64::from_be_bytes));
    let mut next = || words.next().and_then(Result::ok);
    let mut sent = Vec::new();
    while let Some(minute) = next() {
        let n = next().ok_or_else(broken)?;
        let marks = (0..n).map(|_| next()).collect::<Option<Vec<_>>>().ok_or_else(broken)?;
        sent.push((minute as i64, marks));
    }
    Ok(Cursor { minute: item.number("minute")?, sent })
}

fn hash(minute: i64, sent: &[u8]) -> String {
    layout::digest(&[&minute.to_be_bytes(), sent])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored_item(cursor: &Cursor) -> Item {
        Item::from([("minute".into(), number(cursor.minute)), ("sent".into(), bytes(encode_cursor(cursor)))])
    }

    #[test]
    fn a_cursor_is_decoded_as_it_was_encoded() {
        let cursor = Cursor { minute: 7, sent: vec![(7, vec![1, u64::MAX]), (8, Vec::new()), (9, vec![3])] };
        assert_eq!(decode_cursor(&stored_item(&cursor)).unwrap(), cursor);
    }

    #[test]
    fn a_cursor_with_too_many_marks_drops_some_and_keeps_its_hash() {
        let cursor = Cursor { minute: 7, sent: vec![(7, vec![5; MAX_MARKS - 1]), (8, vec![6; 10])] };
        let kept = decode_cursor(&stored_item(&cursor)).unwrap();
        assert_eq!(kept.sent[1].1.len(), 1);
        assert_eq!(hash(kept.minute, &encode_cursor(&kept)), hash(cursor.minute, &encode_cursor(&cursor)));
    }
}
