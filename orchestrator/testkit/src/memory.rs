//! Storage and queue in memory, for tests and for the SDK's `TestApp`. Nothing is durable. A single
//! lock protects everything.

mod costs;
mod flow_state;
mod intake;
mod queue;
mod registrations;
mod retention;
mod slots;
mod subscriptions;
mod trends;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use stepladder_core::journal::{Record, Seq};
use stepladder_core::{Event, EventId, Label, RunId, RunRow, Status, Timer, Timestamp};

use stepladder_engine::clock::Clock;
use stepladder_engine::local::{QueueMessages, WaitQueues};
use stepladder_engine::ports::*;

/// The adapter: the storage and the queue of one engine.
pub struct Memory {
    clock: Arc<dyn Clock>,
    inner: Mutex<MemoryTables>,
    /// Notified when a wake is added.
    arrivals: tokio::sync::Notify,
    /// Whether no other process can use the adapter.
    is_exclusive: AtomicBool,
}

#[derive(Default)]
struct MemoryTables {
    journals: HashMap<RunId, Vec<Record>>,
    rows: BTreeMap<RunId, RunRow>,
    /// All runs, in the order of their creation.
    created: Vec<RunId>,
    events: HashMap<EventId, Event>,
    /// For each sender id, the latest event with that id.
    external: HashMap<Arc<str>, EventId>,
    runs_of: HashMap<EventId, Vec<RunId>>,
    /// The events that ended a wait, each with the run.
    delivered: BTreeSet<(EventId, RunId)>,
    labels: BTreeSet<(RunId, Label)>,
    timers: BTreeMap<i64, Vec<Timer>>,
    cursor: Option<Cursor>,
    queue: QueueMessages,
    /// The number of wakes sent so far. The latest wake has this number.
    sent: i64,
    wait_queues: WaitQueues,
    subscriptions: subscriptions::SubscriptionTable,
    flow_state: flow_state::FlowStateTable,
    registrations: registrations::RegistrationTable,
    counts: CallCounts,
    /// The number of journal entries that reads have returned.
    entries_read: u64,
    /// Events that a request had no time for.
    postponed: Vec<EventId>,
}

/// The number of calls of each kind, for tests that limit them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallCounts {
    /// Reads of journals.
    pub reads: u64,
    /// Writes of journal records.
    pub appends: u64,
    /// Appends that were refused because the number was taken. `appends` includes them.
    pub conflicts: u64,
    /// Wakes sent, immediate and delayed ones.
    pub sends: u64,
    /// Wakes received.
    pub receives: u64,
    /// Calls that acquire, release or list slots and tickets.
    pub slots: u64,
    /// Reads of subscriptions and inboxes.
    pub subscription_reads: u64,
    /// Reads of registered apps and of their version.
    pub registration_reads: u64,
}

impl Memory {
    /// Creates an empty adapter.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let (arrivals, is_exclusive) = (tokio::sync::Notify::new(), AtomicBool::new(false));
        Self { clock, inner: Mutex::default(), arrivals, is_exclusive }
    }

    /// Says that no other process can use the adapter, as for a file that its process locks.
    pub fn set_exclusive(&self) {
        self.is_exclusive.store(true, Ordering::Relaxed);
    }

    /// Returns when the next wake becomes visible or the next timer is due; `None` if there is
    /// neither. Timers that are already due are ignored: the sweep sends them, and leaves them in
    /// their buckets for a while.
    pub fn next_due(&self) -> Option<Timestamp> {
        let now = self.now();
        let inner = self.lock();
        let timer = inner.timers.values().flatten().map(|timer| timer.due).filter(|due| *due > now).min();
        inner.queue.next_due().into_iter().chain(timer).min()
    }

    /// Makes all wakes visible again that were delivered but not acknowledged, as after a restart.
    pub fn redeliver(&self) {
        self.lock().queue.redeliver(self.clock.now());
        self.arrivals.notify_waiters();
    }

    /// Returns the number of timers in buckets that the cursor has not passed.
    pub fn timers(&self) -> usize {
        self.lock().timers.values().map(Vec::len).sum()
    }

    /// Returns the number of subscriptions.
    pub fn waiting(&self) -> usize {
        self.lock().subscriptions.len()
    }

    /// Returns the number of unacknowledged wakes, whether they were delivered or not.
    pub fn wakes(&self) -> usize {
        self.lock().queue.len()
    }

    /// Removes and returns the events for which requests had no time, in order.
    pub fn take_postponed(&self) -> Vec<EventId> {
        std::mem::take(&mut self.lock().postponed)
    }

    /// Drops every wake, as a queue does when its messages expire.
    pub fn lose_wakes(&self) {
        self.lock().queue = Default::default();
    }

    /// Returns all runs in the order of their creation, even if several were created in the same
    /// millisecond.
    pub fn created_runs(&self) -> Vec<RunId> {
        self.lock().created.clone()
    }

    /// Returns the number of calls so far.
    pub fn counts(&self) -> CallCounts {
        self.lock().counts
    }

    /// Returns the number of journal entries that reads have returned so far.
    pub fn entries_read(&self) -> u64 {
        self.lock().entries_read
    }

    fn lock(&self) -> MutexGuard<'_, MemoryTables> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

#[async_trait]
impl Journals for Memory {
    async fn read(&self, run: RunId, from: Seq) -> StoreResult<Vec<Record>> {
        let mut inner = self.lock();
        inner.counts.reads += 1;
        let records = inner.journals.get(&run).map_or(&[][..], Vec::as_slice);
        let records = records[records.partition_point(|record| record.seq < from)..].to_vec();
        inner.entries_read += records.iter().map(|record| record.entries.len() as u64).sum::<u64>();
        Ok(records)
    }
}

#[async_trait]
impl Commits for Memory {
    async fn commit(&self, commit: Commit) -> StoreResult<CommitResult> {
        let now = self.now();
        let mut inner = self.lock();
        let Commit { before, append, after, wakes, acks } = commit;
        if let Some(append) = append
            && inner.append(Arc::unwrap_or_clone(append)) == CommitResult::Conflict
        {
            return Ok(CommitResult::Conflict);
        }
        before.into_iter().for_each(|early| inner.write_early(early));
        for after in after {
            inner.write_late(after);
        }
        wakes.into_iter().for_each(|wake| inner.send(wake, now));
        acks.iter().for_each(|receipt| inner.acknowledge(receipt));
        drop(inner);
        self.arrivals.notify_waiters();
        Ok(CommitResult::Done)
    }

    fn is_exclusive(&self) -> bool {
        self.is_exclusive.load(Ordering::Relaxed)
    }
}

impl MemoryTables {
    fn append(&mut self, JournalAppend { run, record }: JournalAppend) -> CommitResult {
        self.counts.appends += 1;
        let records = self.journals.entry(run).or_default();
        let is_own = |known: &Record| known.seq == record.seq && known.token == record.token;
        if records.iter().any(is_own) {
            // Rule 1: the caller wrote this record before, and its reply was lost.
            return CommitResult::Done;
        }
        if record.seq != records.last().map_or(0, Record::next) {
            self.counts.conflicts += 1;
            return CommitResult::Conflict;
        }
        records.push(record);
        CommitResult::Done
    }

    fn link_event(&mut self, run: RunId, event: EventId) {
        let runs = self.runs_of.entry(event).or_default();
        if !runs.contains(&run) {
            runs.push(run);
        }
    }

    fn send(&mut self, wake: stepladder_core::Wake, due: Timestamp) {
        self.counts.sends += 1;
        self.sent += 1;
        self.queue.send(self.sent, wake, due);
    }

    fn acknowledge(&mut self, receipt: &Receipt) {
        if let Some(number) = self.queue.number_of_receipt(receipt) {
            self.queue.remove(number);
        }
    }

    fn set_timer(&mut self, timer: Timer) {
        let bucket = self.timers.entry(timer.due.minute()).or_default();
        if !bucket
            .iter()
            .any(|known| known.due == timer.due && known.run == timer.run && known.purpose == timer.purpose)
        {
            bucket.push(timer);
            bucket.sort_by_key(|timer| timer.due);
        }
    }

    fn write_late(&mut self, after: LateWrite) {
        match after {
            LateWrite::MarkEnded { run, at, status } => {
                if let Some(row) = self.rows.get_mut(&run) {
                    row.ended = Some((at, status));
                }
            }
            LateWrite::Release { limit, holder } => self.wait_queues.change(&limit.key, |queue| queue.release(&holder)),
            LateWrite::Unsubscribe(subscription) => self.subscriptions.unsubscribe(&subscription),
            LateWrite::TakeFromInbox { run, event } => self.subscriptions.take_from_inbox(run, event),
            LateWrite::Dequeue { limit, run, of } => {
                self.wait_queues.change(&limit.key, |queue| queue.dequeue(run, of.as_ref()))
            }
            LateWrite::DequeuePaused { queue, run } => {
                self.wait_queues.change(&queue, |waiting| waiting.dequeue(run, None))
            }
        }
    }
}

#[async_trait]
impl Events for Memory {
    async fn accept(&self, events: Vec<Event>, now: Timestamp) -> StoreResult<Vec<Event>> {
        Ok(self.lock().accept(events, now).0)
    }

    async fn event(&self, id: EventId) -> StoreResult<Option<Event>> {
        Ok(self.lock().events.get(&id).cloned())
    }

    async fn resolve(&self, external_id: &str) -> StoreResult<Option<EventId>> {
        Ok(self.lock().external.get(external_id).copied())
    }
}

#[async_trait]
impl RunCreation for Memory {
    async fn create_runs(&self, starts: Vec<RunStart>) -> StoreResult<Vec<StartResult>> {
        let results = self.lock().create_runs(starts, self.now());
        self.arrivals.notify_waiters();
        Ok(results)
    }
}

#[async_trait]
impl Listings for Memory {
    async fn runs(&self, query: RunQuery) -> StoreResult<Vec<RunRow>> {
        let inner = self.lock();
        let rows = inner.rows.values().rev();
        let rows = rows.filter(|row| query.before.is_none_or(|before| row.run < before));
        let rows = rows.take_while(|row| query.from.is_none_or(|from| row.run >= from));
        let rows = rows.filter(|row| query.function.as_ref().is_none_or(|f| **f == *row.function));
        let has_label =
            |row: &&RunRow| query.label.as_ref().is_none_or(|label| inner.labels.contains(&(row.run, label.clone())));
        let rows = rows.filter(|row| query.status.includes(row)).filter(has_label);
        Ok(rows.take(query.limit).cloned().collect())
    }

    async fn events(&self, before: Option<EventId>, limit: usize) -> StoreResult<Vec<Event>> {
        let inner = self.lock();
        let mut events: Vec<_> = inner.events.values().filter(|e| before.is_none_or(|before| e.id < before)).collect();
        events.sort_by_key(|event| std::cmp::Reverse(event.id));
        Ok(events.into_iter().take(limit).cloned().collect())
    }

    async fn runs_of(&self, event: EventId) -> StoreResult<Vec<RunRow>> {
        let inner = self.lock();
        let runs = inner.runs_of.get(&event).map_or(&[][..], Vec::as_slice);
        let mut rows: Vec<_> = runs.iter().filter_map(|run| inner.rows.get(run)).cloned().collect();
        rows.sort_by_key(|row| (row.created_at, row.run));
        Ok(rows)
    }

    async fn row(&self, run: RunId) -> StoreResult<Option<RunRow>> {
        Ok(self.lock().rows.get(&run).cloned())
    }

    async fn count_runs(&self, query: RunQuery) -> StoreResult<Option<Vec<(Option<Status>, usize)>>> {
        let mut counts: Vec<(Option<Status>, usize)> = Vec::new();
        for row in self.runs(query).await? {
            let status = row.ended.map(|(_, status)| status);
            match counts.iter_mut().find(|(known, _)| *known == status) {
                Some((_, n)) => *n += 1,
                None => counts.push((status, 1)),
            }
        }
        Ok(Some(counts))
    }

    async fn first_records(&self, runs: Vec<RunId>) -> StoreResult<Option<Vec<(RunId, Record)>>> {
        let inner = self.lock();
        let first = |run: RunId| Some((run, inner.journals.get(&run)?.first()?.clone()));
        Ok(Some(runs.into_iter().filter_map(first).collect()))
    }

    async fn resumed_by(&self, event: EventId) -> StoreResult<Vec<RunRow>> {
        let inner = self.lock();
        let runs = inner.delivered.iter().filter(|(of, _)| *of == event);
        let mut rows: Vec<_> = runs.filter_map(|(_, run)| inner.rows.get(run)).cloned().collect();
        rows.sort_by_key(|row| (row.created_at, row.run));
        Ok(rows)
    }

    async fn labels_of(&self, runs: Vec<RunId>) -> StoreResult<Option<Vec<(RunId, Label)>>> {
        Ok(Some(self.lock().labels.iter().filter(|(run, _)| runs.contains(run)).cloned().collect()))
    }

    async fn trends(&self, query: TrendQuery) -> StoreResult<Option<TrendCounts>> {
        let inner = self.lock();
        Ok(Some(trends::count(inner.rows.values(), &inner.journals, &query)))
    }

    async fn costs(&self, query: CostQuery) -> StoreResult<Option<Vec<CostSum>>> {
        let inner = self.lock();
        Ok(Some(costs::sum(inner.rows.values(), &inner.journals, &query)))
    }
}

#[async_trait]
impl Timers for Memory {
    async fn bucket(&self, minute: i64, limit: usize) -> StoreResult<Vec<StoreResult<Timer>>> {
        let inner = self.lock();
        Ok(inner.timers.get(&minute).into_iter().flatten().take(limit).cloned().map(Ok).collect())
    }

    async fn oldest(&self) -> StoreResult<Option<i64>> {
        Ok(self.lock().timers.first_key_value().map(|(minute, _)| *minute))
    }

    async fn set(&self, timers: Vec<Timer>) -> StoreResult<()> {
        let mut inner = self.lock();
        timers.into_iter().for_each(|timer| inner.set_timer(timer));
        Ok(())
    }

    async fn cursor(&self) -> StoreResult<Option<Cursor>> {
        Ok(self.lock().cursor.clone())
    }

    async fn advance(&self, expected: Option<Cursor>, next: Cursor) -> StoreResult<bool> {
        let mut inner = self.lock();
        if inner.cursor != expected {
            return Ok(false);
        }
        inner.timers = inner.timers.split_off(&next.minute);
        inner.cursor = Some(next);
        Ok(true)
    }
}
