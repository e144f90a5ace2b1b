//! The key layout: every kind of item of the one table, who reads it and how, and what that costs.
//!
//! The table has the keys `PK` and `SK` (text), a TTL attribute `ttl` (seconds since 1970), and two indexes. Items of
//! one run share a partition, so that a hop needs one Query. Units are DynamoDB's: a write unit (WRU) a KB, a read unit
//! (RRU) for 4 KB read strongly, half of one for an eventually consistent read; transactions cost twice as much.
//!
//! | item | `PK` / `SK` | written | read |
//! | --- | --- | --- | --- |
//! | journal record | `R#run` / `J#seq` (10 digits) | conditional put, 1 WRU a KB, refused ones too | Query from a number on, strong: 1 RRU for 4 KB |
//! | part of a value | `B#owner#token` / `i` | put, ≤ 350 KB each, before the item that names it | Query, eventual; strong where the hash does not fit |
//! | run's row | `R#run` / `M` | when the run starts (in its transaction) and ends: 1 WRU, and 1 for each index | Get; Query of the indexes |
//! | place, from its run's side | `R#run` / `P#key#step` | beside the place in line | Query of the run's places, strong |
//! | event | `E#id` / `M` | conditional put, 1 WRU a KB | Get, strong |
//! | event's runs | `E#id` / `R#run` | in the start's transaction; a put where another event created the run | Query, then the rows in batches of 100 |
//! | sender's id | `D#hash` / `M` | conditional put: 24 h | Get, strong |
//! | timer | `T#minute#shard` / `due#run#purpose` | put; in the start's transaction the first watchdog | Query of all 8 shards, strong: 8 RRU at least |
//! | cursor | `S#sweep` / `M` | conditional put a sweep that sent something | Get, strong |
//! | holders of slots | `C#key` / `S#shard` | conditional update, 1 WRU to take, 1 to give back | Query of all shards, strong |
//! | place in line | `Q#key` / `asked#event#run#step` | put and delete, 1 WRU each | Query of the first few, strong |
//! | who waits for an event, by a field's value | `W#event,field,value` (hashed) / `run#step` | put before the entry, 1 WRU; deleted when it is fulfilled, 1 WRU | Query of a value's partition, strong: 1 RRU an event and field |
//! | the same, looked at one by one | `W#event#shard` / `run#step` | the same | Query of the 4 shards in turn, strong: 4 RRU an event at least, where anybody waits so |
//! | note of flow control | `N#key` (hashed) / `M` | conditional put or delete; in the start's transaction where it belongs to one | Get or BatchGet, strong |
//! | by what events are waited for | `S#waits` / `event#field`, `event#*` (hashed) | conditional put: the first time, and once a week | Query of all, strong: 1 RRU for some 25, at most once a second and process |
//! | inbox: an event that met a run while it registered | `R#run` / `I#event` | put; deleted by the hop that takes it | Query, strong: 1 RRU, by a hop that was woken for it |
//! | hours with runs | `S#hours` / `hour` | put, once an hour and process | Query, newest first |
//! | days with runs | `S#days#function` / `day` | put, once a day, function and process | Query, newest first |
//! | queues' addresses | `S#queues` / `M` | put by the sweep, when they change | Get, by the command line |
//!
//! | index | keys | for |
//! | --- | --- | --- |
//! | `runs-by-hour` | `hour` = `hour#shard`, `run` | all runs, newest first |
//! | `runs-by-function` | `day` = `function#day#shard`, `run` | one function's runs, newest first |
//!
//! A run's status is an attribute and never a key: a change of an index key would be a delete and a put.
//!
//! Who waits stays until 7 days after the end of the wait, fulfilled or not, whatever the retention: a stale one is checked
//! against the journal and deleted when it is met. A signal has no item: its token names the run.
//!
//! The step path touches the first row of the first table only: one Query and two puts a step, or one put a step
//! within budget. No index, no transaction, no counter.
//!
//! Texts that users choose (step names, limit keys) may be longer than a key may be (1,024 bytes of `SK`): keys hold
//! their hashes, attributes the texts.

use sha2::{Digest, Sha256};
use stepladder_core::slot::{Limit, Ticket};
use stepladder_core::waiting::{Field, Subscription, SubscriptionKey};
use stepladder_core::wake::TimerPurpose;
use stepladder_core::{EventId, RunId, Timer, Timestamp};

/// Partitions of a minute's timers: each takes 1,000 writes a second.
pub(crate) const TIMER_SHARDS: u64 = 8;
/// Partitions of an hour's, and of a day's, runs in the indexes.
pub(crate) const LISTING_SHARDS: u64 = 4;
/// Holders in one item: with ids and names it stays near 1 KB, one write unit.
pub(crate) const HOLDERS: u32 = 16;

/// Partitions of those who wait for an event and are looked at one by one.
pub(crate) const WAITER_SHARDS: u64 = 4;

/// The index of all runs.
pub(crate) const BY_HOUR: &str = "runs-by-hour";
/// The index of each function's runs.
pub(crate) const BY_FUNCTION: &str = "runs-by-function";
/// The sort key of an item that is alone in its kind.
pub(crate) const MAIN: &str = "M";

/// The two keys of an item.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) pk: String,
    pub(crate) sk: String,
}

impl Key {
    fn new(pk: String, sk: impl Into<String>) -> Self {
        Self { pk, sk: sk.into() }
    }
}

pub(crate) fn run(run: RunId) -> String {
    format!("R#{run}")
}

pub(crate) fn record(run: RunId, seq: u64) -> Key {
    Key::new(self::run(run), record_sk(seq))
}

/// Entries are far fewer than 10 digits can number; a larger number sorts behind all.
pub(crate) fn record_sk(seq: u64) -> String {
    format!("J#{:010}", seq.min(9_999_999_999))
}

pub(crate) fn row(run: RunId) -> Key {
    Key::new(self::run(run), MAIN)
}

pub(crate) fn parts(owner: &str, token: &str) -> String {
    format!("B#{owner}#{token}")
}

pub(crate) fn part(partition: &str, i: usize) -> Key {
    Key::new(partition.to_owned(), format!("{i:04}"))
}

pub(crate) fn event(event: EventId) -> Key {
    Key::new(format!("E#{event}"), MAIN)
}

pub(crate) fn run_of(event: EventId, run: RunId) -> Key {
    Key::new(format!("E#{event}"), format!("R#{run}"))
}

pub(crate) fn sender(external_id: &str) -> Key {
    Key::new(format!("D#{}", digest(&[external_id.as_bytes()])), MAIN)
}

pub(crate) fn timers(minute: i64, shard: u64) -> String {
    format!("T#{minute:010}#{shard}")
}

pub(crate) fn timer(timer: &Timer) -> Key {
    let purpose = match &timer.purpose {
        TimerPurpose::Watchdog => "watchdog".to_owned(),
        TimerPurpose::Deadline => "deadline".to_owned(),
        TimerPurpose::Step(step) => digest(&[step.as_bytes()]),
    };
    let shard = shard(timer.run, TIMER_SHARDS);
    let (due, run) = (timer.due.as_millis(), timer.run);
    Key::new(timers(timer.due.minute(), shard), format!("{due:015}#{run}#{purpose}"))
}

pub(crate) fn cursor() -> Key {
    Key::new("S#sweep".into(), MAIN)
}

pub(crate) fn queues() -> Key {
    Key::new("S#queues".into(), MAIN)
}

pub(crate) fn holders(limit: &Limit) -> String {
    format!("C#{}", hash_of(limit))
}

pub(crate) fn holders_shard(limit: &Limit, shard: u32) -> Key {
    Key::new(holders(limit), format!("S#{shard:05}"))
}

pub(crate) fn line(limit: &Limit) -> String {
    format!("Q#{}", hash_of(limit))
}

/// Sorts as a line is served.
pub(crate) fn place_sk(place: &Ticket) -> String {
    let asked = place.queued_at.as_millis();
    format!("{asked:015}#{}#{}#{}", place.event, place.run, digest(&[place.step.as_bytes()]))
}

/// Where a run's places in one line begin.
pub(crate) fn places_of(limit: &Limit) -> String {
    format!("P#{}#", hash_of(limit))
}

pub(crate) fn place_of(limit: &Limit, run: RunId, step: &str) -> Key {
    Key::new(self::run(run), format!("{}{}", places_of(limit), digest(&[step.as_bytes()])))
}

pub(crate) fn note(key: &str) -> Key {
    Key::new(format!("N#{}", digest(&[key.as_bytes()])), MAIN)
}

/// The partition that tells by what events are waited for.
pub(crate) const KINDS: &str = "S#waits";

/// The item that says that events of a name are waited for so: by this field, or one by one.
pub(crate) fn kind(waiter: &Subscription) -> Key {
    let by = waiter.key.as_ref().map_or_else(|| "*".to_owned(), |field| digest(&[field.path.as_bytes()]));
    Key::new(KINDS.into(), format!("{}#{by}", digest(&[waiter.event.as_bytes()])))
}

/// The partitions of those who wait in a bucket, in the order in which they are read.
pub(crate) fn waiters(event: &str, bucket: &SubscriptionKey) -> Vec<String> {
    match bucket {
        Some(Field { path, value }) => {
            vec![format!("W#{}", digest(&[event.as_bytes(), path.as_bytes(), value.as_bytes()]))]
        }
        None => {
            let event = digest(&[event.as_bytes()]);
            (0..WAITER_SHARDS).map(|shard| format!("W#{event}#{shard}")).collect()
        }
    }
}

/// Which of these partitions a run is in.
pub(crate) fn waiter_shard(bucket: &SubscriptionKey, run: RunId) -> usize {
    if bucket.is_some() { 0 } else { shard(run, WAITER_SHARDS) as usize }
}

pub(crate) fn waiter_sk(run: RunId, step: &str) -> String {
    format!("{run}#{}", digest(&[step.as_bytes()]))
}

pub(crate) fn waiter(waiter: &Subscription) -> Key {
    let Subscription { event, key: bucket, run, step, .. } = waiter;
    let partition = waiters(event, bucket).swap_remove(waiter_shard(bucket, *run));
    Key::new(partition, waiter_sk(*run, step))
}

/// Where the events in a run's inbox begin.
pub(crate) const INBOX: &str = "I#";

pub(crate) fn offer(run: RunId, event: EventId) -> Key {
    Key::new(self::run(run), format!("{INBOX}{event}"))
}

pub(crate) fn hour_of(at: Timestamp) -> i64 {
    at.minute().div_euclid(60)
}

pub(crate) fn day_of(at: Timestamp) -> i64 {
    hour_of(at).div_euclid(24)
}

/// The `hour` attribute of a run's row.
pub(crate) fn hour_shard(hour: i64, shard: u64) -> String {
    format!("{hour:08}#{shard}")
}

/// The `day` attribute of a run's row.
pub(crate) fn day_shard(function: &str, day: i64, shard: u64) -> String {
    format!("{function}#{day:06}#{shard}")
}

/// The partition that lists the hours with runs.
pub(crate) const HOURS: &str = "S#hours";

/// The partition that lists the days on which a function had runs.
pub(crate) fn days(function: &str) -> String {
    format!("S#days#{function}")
}

/// The items that list the run's hour and its function's day.
pub(crate) fn listed(run: RunId, function: &str) -> [Key; 2] {
    let at = run.time();
    [Key::new(HOURS.into(), format!("{:08}", hour_of(at))), Key::new(days(function), format!("{:06}", day_of(at)))]
}

/// Which of `n` shards a run belongs to.
pub(crate) fn shard(run: RunId, n: u64) -> u64 {
    let bytes = run.to_bytes();
    // the last bytes are of a hash
    u64::from(bytes[15]) % n
}

fn hash_of(limit: &Limit) -> String {
    digest(&[limit.key.as_bytes()])
}

/// 128 bits of SHA-256 over length-prefixed parts, as hexadecimal text.
pub(crate) fn digest(parts: &[&[u8]]) -> String {
    let mut sha = Sha256::new();
    for part in parts {
        sha.update((part.len() as u64).to_be_bytes());
        sha.update(part);
    }
    sha.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(asked: i64, n: u128) -> Ticket {
        let at = Timestamp::from_millis(asked);
        Ticket { queued_at: at, event: EventId::new(at, n), run: RunId::new(at, n), step: "é".repeat(255).into() }
    }

    #[test]
    fn keys_stay_below_their_limits_whatever_a_name_holds() {
        let limit = Limit { key: "k".repeat(5_000).into(), slots: 1 };
        assert!(place_sk(&place(1, 1)).len() <= 1_024);
        assert!(place_of(&limit, place(1, 1).run, &"é".repeat(255)).sk.len() <= 1_024);
        assert!(line(&limit).len() <= 2_048);
    }

    #[test]
    fn places_sort_by_time_then_by_event() {
        let mut keys = [place(1_000, 1), place(999, 9), place(1_000, 0)].map(|place| place_sk(&place));
        let first = keys[1].clone();
        keys.sort();
        assert_eq!(keys[0], first);
        assert!(place_sk(&place(999_999, 9)) < place_sk(&place(1_000_000, 0)));
    }

    #[test]
    fn records_sort_by_number() {
        assert!(record_sk(9) < record_sk(10));
        assert!(record_sk(u64::MAX) >= record_sk(5_000));
    }
}
