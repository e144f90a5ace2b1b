//! The ports: what the engine needs from a storage and a queue, as small traits that every adapter
//! implements.
//!
//! Every adapter follows these rules, which the conformance suite of `stepladder-testkit` checks:
//!
//! - If a record with the number of an append already exists, the commit returns
//!   [`CommitResult::Conflict`]. But if that record has the token of the append, an earlier attempt
//!   has already written it, and the commit counts as successful (rule 1). The engine only appends
//!   at the number after the last record that it has read. So an adapter need not check for gaps or
//!   overlaps.
//! - The parts of a [`Commit`] are carried out in order: `before`, `append`, `after`, `wakes`,
//!   `acks`. An adapter with transactions does all or nothing. An adapter without them may stop
//!   between any two parts; then a redelivered wake repeats everything that has no entry yet. After
//!   a conflict, nothing after `append` is done.
//! - When a call returns `Ok`, its writes survive a crash of the machine. Slots and commits of
//!   [bookkeeping](Commit::is_bookkeeping) survive at least the death of the process.
//! - Every method that writes may be called again with the same arguments. The second call changes
//!   nothing. If the first result was lost, the second call returns the same result for a
//!   [`Commit`], a change of flow states, accepted events, timers and acquired slots. Five methods
//!   return another result. [`create_runs`](RunCreation::create_runs) returns
//!   [`StartResult::Known`]. [`acquire`](Slots::acquire) returns that a ticket is not new.
//!   [`advance`](Timers::advance) returns that the cursor was another one. The two methods of
//!   [`Registrations`] that write return that the version was another one. The engine does not rely
//!   on these results after a repeated call.
//! - [`receive`](Queue::receive) is an exception: a second call returns other wakes.

mod commit;
mod costs;
mod error;
mod intake;
mod queue;
pub mod queues;
mod registrations;
mod retention;
mod slots;
mod trends;

use std::sync::Arc;

use async_trait::async_trait;
use stepladder_core::journal::{Record, Seq};
use stepladder_core::row::{RunRow, Status};
use stepladder_core::slot::{Limit, Ticket};
use stepladder_core::waiting::{SubscribedFields, Subscription, SubscriptionKey};
use stepladder_core::wake::{Timer, Wake};
use stepladder_core::{Event, EventId, Fact, Label, RunId, StepId, Timestamp};

pub use commit::{Commit, CommitResult, EarlyWrite, JournalAppend, LateWrite};
pub use error::{StoreError, StoreErrorReason};
pub use intake::{AcceptedEvents, AppliedWrites, Decide, EventWrites, Intake};
pub use queue::{Backlog, Delivery, MIN_DELAY, Queue, Receipt};
pub use registrations::{Registration, Registrations, StoredRegistrations};
pub use retention::{PruneResult, Retention};
pub use slots::{
    AcquireRequest, AcquireResult, OwnTickets, QueueHead, QueuedStep, Refusal, RefusalReason, SlotOperations, Slots,
    Snapshot, SnapshotParts, acquire_by_operations, release_by_operations, snapshot_by_operations,
};

pub use costs::{COST_SLOT, CostQuery, CostSum, RunCost, RunCostCounter};
pub use trends::{DurationBin, TREND_SLOT, TrendCount, TrendCounts, TrendKind, TrendQuery, UnstartedRuns};

/// All ports together: everything that an adapter implements.
pub trait Backend:
    Journals
    + Commits
    + Intake
    + RunCreation
    + FlowStates
    + Listings
    + Slots
    + SubscriptionIndex
    + Timers
    + Retention
    + Registrations
    + Queue
{
}
impl<
    T: Journals
        + Commits
        + Intake
        + RunCreation
        + FlowStates
        + Listings
        + Slots
        + SubscriptionIndex
        + Timers
        + Retention
        + Registrations
        + Queue,
> Backend for T
{
}

/// The result of a method of a port.
pub type StoreResult<T> = Result<T, StoreError>;

/// Reads journals.
#[async_trait]
pub trait Journals: Send + Sync {
    /// Returns the records of a run that start at entry `from` or later, in order. The read is
    /// strongly consistent. The list is empty for an unknown run.
    async fn read(&self, run: RunId, from: Seq) -> StoreResult<Vec<Record>>;
}

/// Writes the decisions of hops.
#[async_trait]
pub trait Commits: Send + Sync {
    /// Carries out a commit.
    async fn commit(&self, commit: Commit) -> StoreResult<CommitResult>;

    /// Returns whether the adapter itself repeats its requests while the storage is unavailable. If
    /// so, the engine does not repeat them.
    fn repeats_requests(&self) -> bool {
        false
    }

    /// Returns whether no other process can use the store while it is open here, for example
    /// because it locks its file. Then leases of earlier processes are no longer valid.
    fn is_exclusive(&self) -> bool;
}

/// Stores accepted events.
#[async_trait]
pub trait Events: Send + Sync {
    /// Stores events and returns the stored events, in order. If an event with the same
    /// `external_id` was stored within 24 hours before `now`, that event is returned instead (rule
    /// 15). If an event with the same `id` exists, the existing event is returned.
    async fn accept(&self, events: Vec<Event>, now: Timestamp) -> StoreResult<Vec<Event>>;

    /// Returns an event by its id.
    async fn event(&self, id: EventId) -> StoreResult<Option<Event>>;

    /// Returns the id of the event to which the sender gave this id, however old it is. If there
    /// are several such events, returns the id of the latest.
    async fn resolve(&self, external_id: &str) -> StoreResult<Option<EventId>>;
}

/// Creates runs.
#[async_trait]
pub trait RunCreation: Send + Sync {
    /// Creates runs, in their order. For each run, this writes entry 0, the row, the link from the
    /// event, the watchdog, the tickets, the flow states and the wake. A run that already exists is
    /// not changed. A run is not created if one of its flow states has changed since it was read.
    ///
    /// Entry 0, the row, the tickets and the flow states are written together or not at all (rule
    /// 16). An adapter may write the link and the watchdog before them, and the wake after them.
    /// Then a failure in between may leave a link and a watchdog without a run, or a run without
    /// its first wake. A repeated call completes the start; otherwise the watchdog wakes the run.
    async fn create_runs(&self, starts: Vec<RunStart>) -> StoreResult<Vec<StartResult>>;
}

/// The result of creating a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartResult {
    /// The run is new.
    New,
    /// The run already exists.
    Known,
    /// Another process has changed a flow state, so the caller must decide again.
    Overtaken,
}

/// Stores flow states: what flow control remembers between starts, as short strings under keys that
/// the engine chooses.
#[async_trait]
pub trait FlowStates: Send + Sync {
    /// Returns the flow states of these keys. The read is strongly consistent. A flow state that
    /// has expired may be returned or not.
    async fn read_flow_state(&self, keys: Vec<Arc<str>>) -> StoreResult<Vec<Option<Arc<str>>>>;

    /// Changes flow states, each in a separate write. For each, returns whether it now has the
    /// wanted value.
    async fn change_flow_state(&self, changes: Vec<FlowStateChange>) -> StoreResult<Vec<bool>>;
}

/// A change of a flow state. The change is made only if the flow state still has the value that was
/// read. A change to the same value extends the expiry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowStateChange {
    /// The key of the flow state.
    pub key: Arc<str>,
    /// The value that was read; `None` if there was no flow state.
    pub seen: Option<Arc<str>>,
    /// The new value; `None` removes the flow state.
    pub becomes: Option<Arc<str>>,
    /// When the flow state expires. The store may remove it from then on.
    pub until: Timestamp,
}

/// A run to create, with everything that is written together with it.
#[derive(Clone, Debug)]
pub struct RunStart {
    /// The row of the run, which contains the run's id.
    pub row: RunRow,
    /// The first record of the journal, with the number 0.
    pub record: Record,
    /// The watchdog timer of the run (rule 12).
    pub watchdog: Timer,
    /// The first wake of the run.
    pub wake: Wake,
    /// The tickets that the run gets at its creation, so that slots are assigned in the order of
    /// creation.
    pub tickets: Vec<(Limit, Ticket)>,
    /// The flow states that change in the same transaction. A change to the same value only checks
    /// that the flow state has not changed.
    pub flow_state: Vec<FlowStateChange>,
}

impl RunStart {
    /// Returns the labels of the run, which the store indexes.
    pub fn labels(&self) -> &[Label] {
        match self.record.entries.first().map(|entry| &entry.fact) {
            Some(Fact::RunCreated(created)) => &created.labels,
            Some(_) | None => &[],
        }
    }
}

/// Lists runs and events. Listings are eventually consistent.
#[async_trait]
pub trait Listings: Send + Sync {
    /// Returns the rows of runs, newest first (by id, which starts with the event's time).
    async fn runs(&self, query: RunQuery) -> StoreResult<Vec<RunRow>>;

    /// Returns events older than `before`, newest first (by id, which starts with the event's
    /// time). If listing would cost a write for each event, a store may leave out events that
    /// created no run.
    async fn events(&self, before: Option<EventId>, limit: usize) -> StoreResult<Vec<Event>>;

    /// Returns the runs of an event, oldest first: the runs that the event created, and the runs to
    /// which it was [linked](EarlyWrite::LinkEvent).
    async fn runs_of(&self, event: EventId) -> StoreResult<Vec<RunRow>>;

    /// Returns the runs that waited for an event and received it
    /// ([`EarlyWrite::NoteDelivery`]), oldest first.
    async fn resumed_by(&self, event: EventId) -> StoreResult<Vec<RunRow>> {
        let _ = event;
        Ok(Vec::new())
    }

    /// Returns the row of a run.
    async fn row(&self, run: RunId) -> StoreResult<Option<RunRow>>;

    /// Counts the newest `limit` runs of a query by status; live runs have none. Returns `None` if
    /// the store would read each of them.
    async fn count_runs(&self, query: RunQuery) -> StoreResult<Option<Vec<(Option<Status>, usize)>>> {
        let _ = query;
        Ok(None)
    }

    /// Returns the first records of runs, in any order. Unknown runs are left out. Returns `None`
    /// if the store would need a request for each of them.
    async fn first_records(&self, runs: Vec<RunId>) -> StoreResult<Option<Vec<(RunId, Record)>>> {
        let _ = runs;
        Ok(None)
    }

    /// Counts what runs did, by function and in steps of time. Returns `None` if the store keeps no
    /// such counts.
    async fn trends(&self, query: TrendQuery) -> StoreResult<Option<TrendCounts>> {
        let _ = query;
        Ok(None)
    }

    /// Sums the cost of ended runs, by function and in steps of time. Returns `None` if the store
    /// keeps no such sums.
    async fn costs(&self, query: CostQuery) -> StoreResult<Option<Vec<CostSum>>> {
        let _ = query;
        Ok(None)
    }

    /// Returns the labels of runs, in any order. Returns `None` if the store would need a request
    /// for each of them.
    async fn labels_of(&self, runs: Vec<RunId>) -> StoreResult<Option<Vec<(RunId, Label)>>> {
        let _ = runs;
        Ok(None)
    }
}

/// Selects the rows of a listing.
#[derive(Clone, Debug, Default)]
pub struct RunQuery {
    /// If set, selects only runs of this function.
    pub function: Option<String>,
    /// Selects only runs with this status.
    pub status: RunStatusFilter,
    /// If set, selects only runs older than this one, which was the last run of the previous page.
    pub before: Option<RunId>,
    /// If set, selects only runs at least as new as this one. A store need not search beyond it.
    pub from: Option<RunId>,
    /// If set, selects only runs with this label.
    pub label: Option<Label>,
    /// The maximum number of rows to return.
    pub limit: usize,
}

/// The status of the runs in a listing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunStatusFilter {
    /// Runs with any status.
    #[default]
    All,
    /// Live runs.
    Live,
    /// Runs that ended with this status.
    Ended(Status),
}

impl RunStatusFilter {
    /// Returns whether the listing includes this row.
    pub fn includes(self, row: &RunRow) -> bool {
        match self {
            Self::All => true,
            Self::Live => row.ended.is_none(),
            Self::Ended(status) => row.ended.is_some_and(|(_, ended)| ended == status),
        }
    }
}

/// Stores subscriptions and the inboxes of runs. Commits add them ([`EarlyWrite::Subscribe`],
/// [`EarlyWrite::PutInInbox`]) and remove them ([`LateWrite::Unsubscribe`],
/// [`LateWrite::TakeFromInbox`]). This is only an index: the run's journal decides whether a run
/// waits.
#[async_trait]
pub trait SubscriptionIndex: Send + Sync {
    /// Returns what must be looked up when an event with this name arrives: the fields by which
    /// runs subscribe to it, and whether there are subscriptions without a field. The read is
    /// strongly consistent. The result may contain too much, but never too little. It contains the
    /// field of a subscription before the subscription itself is stored (rule 18).
    async fn subscribed_fields(&self, event: &str) -> StoreResult<SubscribedFields>;

    /// Returns at most `limit` subscriptions to events with this name and key. The read is strongly
    /// consistent. The adapter chooses a fixed order. The page starts after the run and step in
    /// `after`. A page with fewer than `limit` subscriptions is the last one.
    async fn subscriptions(
        &self,
        event: &str,
        bucket: &SubscriptionKey,
        after: Option<(RunId, StepId)>,
        limit: usize,
    ) -> StoreResult<Vec<Subscription>>;

    /// Returns the events in the inbox of a run, in the order of their ids. The read is strongly
    /// consistent.
    async fn inbox(&self, run: RunId) -> StoreResult<Vec<EventId>>;
}

/// Stores timers in buckets of one minute, and the cursor of the sweep (rule 26).
#[async_trait]
pub trait Timers: Send + Sync {
    /// Returns at most `limit` timers of a minute (counted from the epoch), soonest first. A timer
    /// that cannot be read becomes an error that names it; the others are still returned (rule 34).
    async fn bucket(&self, minute: i64, limit: usize) -> StoreResult<Vec<StoreResult<Timer>>>;

    /// Returns a minute before which there are no timers; `None` if there are no timers at all. The
    /// first sweep calls this. If the exact minute is expensive to find, a store returns an earlier
    /// one, and the sweep reads the buckets from there.
    async fn oldest(&self) -> StoreResult<Option<i64>>;

    /// Stores timers. A timer with the same run, purpose and due time is stored only once.
    async fn set(&self, timers: Vec<Timer>) -> StoreResult<()>;

    /// Returns the cursor; `None` before the first sweep.
    async fn cursor(&self) -> StoreResult<Option<Cursor>>;

    /// Replaces the cursor if it is still `expected`, and returns whether it did. Afterwards the
    /// store may remove the buckets before the cursor's minute.
    async fn advance(&self, expected: Option<Cursor>, next: Cursor) -> StoreResult<bool>;
}

/// How far the sweep has progressed.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cursor {
    /// A minute since 1970. The timers of all earlier minutes were sent.
    pub minute: i64,
    /// For later minutes, the hashes of the timers that were already sent.
    pub sent: Vec<(i64, Vec<u64>)>,
}
