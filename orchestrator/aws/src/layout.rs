//! The key layout: each kind of item in the table, its readers and its costs.
//!
//! The table has the keys `PK` and `SK` (text), the TTL attribute `ttl` (seconds since 1970), and
//! one index. All items of a run share a partition, so that a hop needs one Query.
//!
//! | item | `PK` | `SK` |
//! | --- | --- | --- |
//! | journal record; the first one is also the row of the run | `R#run` | `J#seq` (10 digits) |
//! | value of a first record that is too large for a write unit | `R#run` | `J#0000000000/token` |
//! | ticket, by run | `R#run` | `P#key#step` |
//! | event in the inbox of a run | `R#run` | `I#event` |
//! | part of a large value | `B#owner#token` | `i` |
//! | event | `E#id` | `M` |
//! | run of an event, unless its id derives from the event | `E#id` | `R#run` |
//! | run that received an event | `E#id` | `W#run` |
//! | external id | `D#hash` | `M` |
//! | timer | `T#minute#shard` | `due#run#purpose`, and `/token` for a first watchdog |
//! | cursor of the sweep | `S#sweep` | `M` |
//! | holders of slots | `C#key` | `S#shard` |
//! | ticket, by limit | `Q#key` | `queued_at#event#run#step` |
//! | subscription by a field's value | `W#event,field,value` (hashed) | `run#step` |
//! | subscription without a field | `W#event#shard` | `run#step` |
//! | subscribed names and fields | `S#waits` | `event#field`, `event#*` (hashed) |
//! | flow state | `N#key` (hashed) | `M` |
//! | run by a label | `L#key,value` (hashed) | `run` |
//! | functions with runs on a day; days with runs of a function | `S#days`, `S#days#function` | `day#function` |
//! | addresses of queues | `S#queues` | `M` |
//! | version of the registered apps | `S#apps` | `M` |
//! | registered app | `S#apps` | `app#name` (hashed) |
//!
//! | index | keys | purpose |
//! | --- | --- | --- |
//! | `runs` | `day` = `function#day#shard`, `PK` | rows of a function's runs, newest first |
//!
//! A listing of all runs merges those of the functions that had runs on a day. A second index would
//! list them directly, but it would cost a write unit for each start and each end.
//!
//! Costs are in DynamoDB's units. A write unit (WRU) writes 1 KB. A read unit (RRU) reads 4 KB
//! strongly; an eventually consistent read costs half. A transaction costs twice as much. Reads are
//! strong unless stated otherwise.
//!
//! - **Journal record.** Written by a conditional put, 1 WRU per KB, also if it is refused. Read by
//!   a Query from a number on, 1 RRU per 4 KB.
//! - **Part of a large value.** Written by a put of at most 350 KB, before the item that names it.
//!   Read by an eventually consistent Query, or a strong one if the hash does not match.
//! - **First record, with the row of its run.** Written when the run is created and when it ends,
//!   with 1 WRU for the item and 1 for its index entry. To keep the item within 1 KB, a larger
//!   value is put into an item of its own, which the same Query reads. Read by a Get, or a Query of
//!   the index.
//! - **Tickets.** Both items are put in one transaction and deleted one by one. A run's tickets,
//!   and the first tickets of a limit, are read by a Query each.
//! - **Event.** Written by a conditional put, 1 WRU per KB. Read by a Get.
//! - **Run of an event.** The id of a run that an event triggers derives from the event and the
//!   function, so such a run needs no item: a Query reads the functions with runs on the day of the
//!   event. Called runs, reruns, handlers of failures, and runs that further events joined have an
//!   item, written by a put. Read by a Query; the rows follow in batches of 100.
//! - **Run that received an event.** Written by a put before the entry, 1 WRU. Read by a Query, 1
//!   RRU per about 40; the rows follow in batches of 100.
//! - **External id.** Written by a conditional put, valid for 24 h. Read by a Get.
//! - **Timer.** Written by a put; the first watchdog comes before the first record of its run. Read
//!   by a Query of each of the 8 shards: at least 8 RRU.
//! - **Cursor.** Written by a conditional put of a sweep that sent something. Read by a Get.
//! - **Holders of slots.** Conditional updates, 1 WRU to acquire and 1 to release. Read by a Query
//!   of all shards.
//! - **Subscription.** Written before the entry, 1 WRU, and deleted when it is fulfilled, 1 WRU. A
//!   Query per event and field reads the partition of a value, 1 RRU. Subscriptions without a field
//!   are in 4 shards, which are read in turn: at least 4 RRU per event if there are any.
//! - **Subscribed names and fields.** A conditional put for the first subscription, and once a
//!   week. Read by a Query, 1 RRU per about 25, at most once per second and process.
//! - **Event in an inbox.** It arrived while its run registered a subscription. Written by a put,
//!   deleted by the hop that delivers it. Read by a Query, 1 RRU, in a hop that was woken for it.
//! - **Flow state.** A conditional put or delete, in the transaction of a run's creation if it
//!   belongs to one. Read by a Get or BatchGet.
//! - **Run by a label.** A put per label, before the entry that adds it: 1 WRU. Read by a Query, 1
//!   RRU per about 40; the rows follow in batches of 100.
//! - **Functions and days with runs.** An update of each of the two items, once per day, function
//!   and process. Read by a Query, newest first.
//! - **Registered apps.** A registration is a transaction of two items: 2 WRU, and 2 per KB of its
//!   compressed configs. Read by a Query, 1 RRU per 4 KB, once per change and process. A process
//!   with a front end for such apps reads the version by a Get, 1 RRU, at most once in two seconds.
//! - **Addresses of queues.** Put by the sweep, once per process. Read by a Get of the command line
//!   tool.
//!
//! The status of a run is never a key: a change of an index key would be a delete and a put.
//!
//! A subscription is kept until 7 days after the end of its wait, whatever the retention. A stale
//! one is checked against the journal and deleted when an event finds it. A callback token has no
//! item, because it names the run.
//!
//! A step reads and writes journal records only: one Query and two puts, or one put within the
//! budget. It needs no index, no transaction and no counter.
//!
//! Texts that users choose (step names, limit keys) may be longer than a key may be (1,024 bytes of
//! `SK`). Keys contain the hashes, and attributes contain the strings.

mod days;

use sha2::{Digest, Sha256};
use stepladder_core::slot::Ticket;
use stepladder_core::waiting::{EventField, Subscription, SubscriptionKey};
use stepladder_core::wake::TimerPurpose;
use stepladder_core::{EventId, Label, RunId, RunOrStep, Timer};

pub(crate) use days::{
    DAYS, LISTING_SHARDS, RUNS_INDEX, day_of, day_prefix, day_shard, days_partition, listed_days, parse_listed_day,
};

/// The number of partitions for the timers of a minute. Each partition accepts 1,000 writes per
/// second.
pub(crate) const TIMER_SHARDS: u64 = 8;

/// The maximum number of holders in one item. It keeps the item at about 1 KB, which costs one
/// write unit.
pub(crate) const MAX_HOLDERS: u32 = 16;

/// The number of partitions for subscriptions to an event without a field.
pub(crate) const SUBSCRIPTION_SHARDS: u64 = 4;

/// The sort key of an item that is the only one in its partition, or the only one of its kind
/// there.
pub(crate) const MAIN: &str = "M";

/// The partition key and the sort key of an item.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ItemKey {
    pub(crate) pk: String,
    pub(crate) sk: String,
}

impl ItemKey {
    fn new(pk: String, sk: impl Into<String>) -> Self {
        Self { pk, sk: sk.into() }
    }
}

pub(crate) fn run_partition(run: RunId) -> String {
    format!("R#{run}")
}

/// Returns the run from the key of its partition.
pub(crate) fn run_of_partition(pk: &str) -> Option<RunId> {
    pk.strip_prefix("R#")?.parse().ok()
}

pub(crate) fn record(run: RunId, seq: u64) -> ItemKey {
    ItemKey::new(self::run_partition(run), record_sk(seq))
}

/// Returns the sort key of a journal record: 10 digits. A journal has far fewer than 10^10 entries;
/// a larger number would sort after all others.
pub(crate) fn record_sk(seq: u64) -> String {
    format!("J#{:010}", seq.min(9_999_999_999))
}

/// Returns the key of the item that contains the row of a run: that of its first record.
pub(crate) fn row_key(run: RunId) -> ItemKey {
    record(run, 0)
}

/// Returns the key of the value of a run's first record, if the value has an item of its own. The
/// key contains the token of the record, so values of two attempts never mix.
pub(crate) fn first_value(run: RunId, token: u128) -> ItemKey {
    ItemKey::new(self::run_partition(run), first_value_sk(token))
}

/// Returns the sort key of the value of a first record. It sorts directly after the record.
pub(crate) fn first_value_sk(token: u128) -> String {
    format!("{}/{token:032x}", record_sk(0))
}

/// A sort key that is greater than those of all records.
pub(crate) const AFTER_RECORDS: &str = "J#~";

pub(crate) fn parts_partition(owner: &str, token: &str) -> String {
    format!("B#{owner}#{token}")
}

pub(crate) fn part_key(partition: &str, i: usize) -> ItemKey {
    ItemKey::new(partition.to_owned(), format!("{i:04}"))
}

pub(crate) fn event(event: EventId) -> ItemKey {
    ItemKey::new(format!("E#{event}"), MAIN)
}

pub(crate) fn run_of(event: EventId, run: RunId) -> ItemKey {
    ItemKey::new(format!("E#{event}"), format!("R#{run}"))
}

/// Returns the key of the item that says that an event was delivered to a run.
pub(crate) fn delivery(event: EventId, run: RunId) -> ItemKey {
    ItemKey::new(format!("E#{event}"), format!("W#{run}"))
}

pub(crate) fn external_id(external_id: &str) -> ItemKey {
    ItemKey::new(format!("D#{}", digest(&[external_id.as_bytes()])), MAIN)
}

pub(crate) fn timers_partition(minute: i64, shard: u64) -> String {
    format!("T#{minute:010}#{shard}")
}

pub(crate) fn timer_key(timer: &Timer) -> ItemKey {
    let purpose = match &timer.purpose {
        TimerPurpose::Watchdog => "watchdog".to_owned(),
        TimerPurpose::Deadline => "deadline".to_owned(),
        TimerPurpose::Heartbeat(step) => digest(&[b"heartbeat", step.as_bytes()]),
        TimerPurpose::Due(of) => digest(&[of.as_stored().as_bytes()]),
    };
    let shard = shard_number(timer.run, TIMER_SHARDS);
    let (due, run) = (timer.due.as_millis(), timer.run);
    ItemKey::new(timers_partition(timer.due.minute(), shard), format!("{due:015}#{run}#{purpose}"))
}

/// Returns the key of a run's first watchdog. It contains the token of the run's first record, so
/// an attempt to create the run never replaces or deletes the watchdog of another attempt.
pub(crate) fn first_watchdog(watchdog: &Timer, token: u128) -> ItemKey {
    let ItemKey { pk, sk } = timer_key(watchdog);
    ItemKey { pk, sk: format!("{sk}/{token:032x}") }
}

pub(crate) fn cursor_key() -> ItemKey {
    ItemKey::new("S#sweep".into(), MAIN)
}

pub(crate) fn queues_key() -> ItemKey {
    ItemKey::new("S#queues".into(), MAIN)
}

/// The partition of the registered apps. The version of the apps sorts first, so that a Query with
/// several pages never returns apps that are older than the version.
pub(crate) const APPS: &str = "S#apps";

pub(crate) fn apps_version() -> ItemKey {
    ItemKey::new(APPS.into(), MAIN)
}

pub(crate) fn app(app: &str) -> ItemKey {
    ItemKey::new(APPS.into(), format!("app#{}", digest(&[app.as_bytes()])))
}

pub(crate) fn holders_partition(key: &str) -> String {
    format!("C#{}", digest(&[key.as_bytes()]))
}

pub(crate) fn holders_shard(key: &str, shard: u32) -> ItemKey {
    ItemKey::new(holders_partition(key), format!("S#{shard:05}"))
}

pub(crate) fn wait_queue(queue: &str) -> String {
    format!("Q#{}", digest(&[queue.as_bytes()]))
}

/// Returns the sort key of a ticket. The keys sort in the order of the wait queue.
pub(crate) fn ticket_sk(ticket: &Ticket) -> String {
    let queued_at = ticket.queued_at.as_millis();
    format!("{queued_at:015}#{}#{}#{}", ticket.event, ticket.run, digest(&[ticket.of.as_stored().as_bytes()]))
}

/// Returns the common prefix of the sort keys of a run's tickets at a limit.
pub(crate) fn tickets_prefix(queue: &str) -> String {
    format!("P#{}#", digest(&[queue.as_bytes()]))
}

pub(crate) fn ticket_of_run(queue: &str, run: RunId, of: &RunOrStep) -> ItemKey {
    ItemKey::new(self::run_partition(run), format!("{}{}", tickets_prefix(queue), digest(&[of.as_stored().as_bytes()])))
}

/// Returns the partition with the runs that have a label.
pub(crate) fn label_partition(label: &Label) -> String {
    format!("L#{}", digest(&[label.key.as_bytes(), label.value.as_bytes()]))
}

/// Returns the key of the item by which a run is found by its label.
pub(crate) fn label(label: &Label, run: RunId) -> ItemKey {
    ItemKey::new(label_partition(label), run.to_string())
}

pub(crate) fn flow_state(key: &str) -> ItemKey {
    ItemKey::new(format!("N#{}", digest(&[key.as_bytes()])), MAIN)
}

/// The partition that lists the event names and fields to which runs subscribe.
pub(crate) const SUBSCRIPTION_INDEX: &str = "S#waits";

/// Returns the key of the entry that lists the event name and the field of a subscription.
pub(crate) fn index_entry(subscription: &Subscription) -> ItemKey {
    let by = subscription.key.as_ref().map_or_else(|| "*".to_owned(), |field| digest(&[field.path.as_bytes()]));
    ItemKey::new(SUBSCRIPTION_INDEX.into(), format!("{}#{by}", digest(&[subscription.event.as_bytes()])))
}

/// Returns the partitions that contain the subscriptions with this key, in the order in which they
/// are read.
pub(crate) fn subscription_partitions(event: &str, bucket: &SubscriptionKey) -> Vec<String> {
    match bucket {
        Some(EventField { path, value }) => {
            vec![format!("W#{}", digest(&[event.as_bytes(), path.as_bytes(), value.as_bytes()]))]
        }
        None => {
            let event = digest(&[event.as_bytes()]);
            (0..SUBSCRIPTION_SHARDS).map(|shard| format!("W#{event}#{shard}")).collect()
        }
    }
}

/// Returns which of these partitions contains the subscriptions of a run, as an index.
pub(crate) fn subscription_shard(bucket: &SubscriptionKey, run: RunId) -> usize {
    if bucket.is_some() { 0 } else { shard_number(run, SUBSCRIPTION_SHARDS) as usize }
}

pub(crate) fn subscription_sk(run: RunId, step: &str) -> String {
    format!("{run}#{}", digest(&[step.as_bytes()]))
}

pub(crate) fn subscription(subscription: &Subscription) -> ItemKey {
    let Subscription { event, key: bucket, run, step, .. } = subscription;
    let partition = subscription_partitions(event, bucket).swap_remove(subscription_shard(bucket, *run));
    ItemKey::new(partition, subscription_sk(*run, step))
}

/// The prefix of the sort keys of events in a run's inbox.
pub(crate) const INBOX_PREFIX: &str = "I#";

pub(crate) fn inbox_event(run: RunId, event: EventId) -> ItemKey {
    ItemKey::new(self::run_partition(run), format!("{INBOX_PREFIX}{event}"))
}

/// Returns which of `n` shards contains a run.
pub(crate) fn shard_number(run: RunId, n: u64) -> u64 {
    let bytes = run.to_bytes();
    // the last bytes of a run id are part of a hash
    u64::from(bytes[15]) % n
}

/// Returns the first 128 bits of the SHA-256 hash over the length-prefixed parts, in hexadecimal.
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
    use stepladder_core::Timestamp;

    use super::*;

    fn ticket(queued_at: i64, n: u128) -> Ticket {
        let at = Timestamp::from_millis(queued_at);
        Ticket {
            queued_at: at,
            event: EventId::new(at, n),
            run: RunId::new(at, n),
            of: RunOrStep::Step("é".repeat(255).into()),
        }
    }

    #[test]
    fn keys_stay_within_their_limits_for_any_name() {
        let queue = "k".repeat(5_000);
        assert!(ticket_sk(&ticket(1, 1)).len() <= 1_024);
        assert!(ticket_of_run(&queue, ticket(1, 1).run, &ticket(1, 1).of).sk.len() <= 1_024);
        assert!(wait_queue(&queue).len() <= 2_048);
    }

    #[test]
    fn tickets_sort_by_time_then_by_event() {
        let mut keys = [ticket(1_000, 1), ticket(999, 9), ticket(1_000, 0)].map(|ticket| ticket_sk(&ticket));
        let first = keys[1].clone();
        keys.sort();
        assert_eq!(keys[0], first);
        assert!(ticket_sk(&ticket(999_999, 9)) < ticket_sk(&ticket(1_000_000, 0)));
    }

    #[test]
    fn the_version_sorts_before_the_apps() {
        assert!(apps_version().sk < app("").sk);
    }

    #[test]
    fn records_sort_by_number() {
        assert!(record_sk(9) < record_sk(10));
        assert!(record_sk(u64::MAX) >= record_sk(5_000));
        let value = first_value_sk(u128::MAX);
        assert!(record_sk(0) < value && value < record_sk(1), "{value}");
    }
}
