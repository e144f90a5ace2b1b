//! The ports: what the engine needs of storage and queue, in small traits that every adapter implements.
//!
//! The rules for adapters, checked by the [conformance suite](mod@crate::conformance):
//!
//! - A write at a taken number is a [`Committed::Conflict`], unless the token found there is one's own (rule 1). A number
//!   is taken when a record begins at it: the engine only ever appends at the number after the last record that it has
//!   read, so an adapter need not look for gaps, or for records that reach past the number.
//! - A [`Commit`] is carried out in its order: `before`, `append`, `after`, `wakes`, `acks`. An adapter with
//!   transactions does all of it or nothing; one without may stop anywhere between, and everything that has no entry
//!   yet is then redone by a redelivered wake. After a conflict, nothing past `append` happens.
//! - When a call returns `Ok`, what it wrote survives a crash, but for commits of [bookkeeping](Commit::is_bookkeeping)
//!   and slots, which survive the death of the process at least.
//! - Every method may be called again with the same arguments and changes nothing the second time.

mod commit;
pub mod queues;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use stepladder_core::journal::{Record, Seq};
use stepladder_core::row::{RunRow, Status};
use stepladder_core::slot::{HeldSlot, Holder, Limit, Ticket};
use stepladder_core::waiting::{SubscribedFields, Subscription, SubscriptionKey};
use stepladder_core::wake::{Timer, Wake};
use stepladder_core::{Event, EventId, RunId, StepId, Timestamp};

pub use commit::{Commit, CommitResult, EarlyWrite, JournalAppend, LateWrite};

/// Everything an adapter provides.
pub trait Backend:
    Journals + Commits + Events + RunCreation + FlowStates + Listings + Slots + SubscriptionIndex + Timers + Queue
{
}
impl<T: Journals + Commits + Events + RunCreation + FlowStates + Listings + Slots + SubscriptionIndex + Timers + Queue>
    Backend for T
{
}

/// A failure of the storage or the queue. The work is not lost: it is tried again, soon or (where it
/// [is permanent](StoreError::is_permanent)) after the queue has given up.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Throttled, unreachable, out of disk: trying again later may help.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// What was read cannot be understood; trying again does not help.
    #[error("the store holds something unreadable: {0}")]
    Unreadable(String),
    /// Refused for a reason that lasts, for example a missing permission or a deleted queue. The text says what to do.
    #[error("the store refuses this: {0}")]
    Refused(String),
}

impl StoreError {
    /// Whether no repetition can help before a person has changed something (rule 34).
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Unavailable(_) => false,
            Self::Unreadable(_) | Self::Refused(_) => true,
        }
    }

    /// The adapter's sentence, without the words for its kind.
    pub fn reason(&self) -> &str {
        match self {
            Self::Unavailable(why) | Self::Unreadable(why) | Self::Refused(why) => why,
        }
    }
}

/// What ports return.
pub type StoreResult<T> = Result<T, StoreError>;

/// Reading journals.
#[async_trait]
pub trait Journals: Send + Sync {
    /// The records of a run whose first entry is numbered `from` or later, in order; strongly consistent. Empty for an
    /// unknown run.
    async fn read(&self, run: RunId, from: Seq) -> StoreResult<Vec<Record>>;

    /// Keeps what belongs to a live run: journal, row, places and event (rule 27). A store that forgets by itself renews
    /// them, so that all of it outlives the next visits of the watchdog, which asks for this at each; it is free to do
    /// nothing while there is time left. One that forgets nothing has nothing to do.
    async fn renew_retention(&self, run: RunId, event: EventId, now: Timestamp) -> StoreResult<()> {
        let _ = (run, event, now);
        Ok(())
    }
}

/// Writing what a hop wants to happen.
#[async_trait]
pub trait Commits: Send + Sync {
    /// Carries out a commit.
    async fn commit(&self, commit: Commit) -> StoreResult<CommitResult>;
}

/// Accepted events.
#[async_trait]
pub trait Events: Send + Sync {
    /// Stores events and gives them back as stored, in order. An event whose `external_id` was stored within 24 hours
    /// before `now` comes back as the first one was, under the first one's id (rule 15). So does one whose `id` exists.
    async fn accept(&self, events: Vec<Event>, now: Timestamp) -> StoreResult<Vec<Event>>;

    /// An event by its id.
    async fn event(&self, id: EventId) -> StoreResult<Option<Event>>;

    /// The id of the event that a sender's id stands for, however long ago it came; the latest where it came again.
    async fn resolve(&self, external_id: &str) -> StoreResult<Option<EventId>>;
}

/// Beginning runs.
#[async_trait]
pub trait RunCreation: Send + Sync {
    /// Creates runs, in their order: entry 0, row, link from the event, watchdog, places in line, notes and wake of each in
    /// one transaction (rule 16). A run that exists is left as it is, with all that belongs to it; so is one of which a
    /// note is not as it was seen.
    async fn create_runs(&self, starts: Vec<RunStart>) -> StoreResult<Vec<StartResult>>;
}

/// What became of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartResult {
    /// The run is new.
    New,
    /// It exists.
    Known,
    /// A note was changed by somebody else: decide again.
    Overtaken,
}

/// Notes: what flow control keeps between starts, as small texts under keys of the engine's.
#[async_trait]
pub trait FlowStates: Send + Sync {
    /// What is noted under these keys; strongly consistent. A note whose time is over may be gone, or still be there.
    async fn read_flow_state(&self, keys: Vec<Arc<str>>) -> StoreResult<Vec<Option<Arc<str>>>>;

    /// Changes notes, each by itself. The answer says of each whether it is now as it was to become.
    async fn change_flow_state(&self, changes: Vec<FlowStateChange>) -> StoreResult<Vec<bool>>;
}

/// A change of a note: it happens only if the note is as it was seen. One that becomes what it was is kept for longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowStateChange {
    /// Which note.
    pub key: Arc<str>,
    /// What was seen; `None` for nothing.
    pub seen: Option<Arc<str>>,
    /// What is noted from then on; `None` for nothing.
    pub becomes: Option<Arc<str>>,
    /// From then on it may be forgotten.
    pub until: Timestamp,
}

/// One run to create.
#[derive(Clone, Debug)]
pub struct RunStart {
    /// The row; says which run.
    pub row: RunRow,
    /// The first record, numbered 0.
    pub record: Record,
    /// The watchdog (rule 12).
    pub watchdog: Timer,
    /// The first wake.
    pub wake: Wake,
    /// Places in waiting lines that the run takes on arrival, so that slots are given in the order of arrival.
    pub tickets: Vec<(Limit, Ticket)>,
    /// Notes that change with it. One that becomes what it was is only to be as it was seen.
    pub flow_state: Vec<FlowStateChange>,
}

/// Listings, which may be a moment old.
#[async_trait]
pub trait Listings: Send + Sync {
    /// Rows, newest first (by id, which begins with the event's time).
    async fn runs(&self, query: RunQuery) -> StoreResult<Vec<RunRow>>;

    /// Events older than `before`, newest first (by id, which begins with the time at which it was given). A store in which
    /// listing them costs a write for each event may leave out those that started nothing.
    async fn events(&self, before: Option<EventId>, limit: usize) -> StoreResult<Vec<Event>>;

    /// The runs that an event led to, oldest first: those that it created, and those that it was [linked](Later::Link) to.
    async fn runs_of(&self, event: EventId) -> StoreResult<Vec<RunRow>>;

    /// One row.
    async fn row(&self, run: RunId) -> StoreResult<Option<RunRow>>;
}

/// Which rows.
#[derive(Clone, Debug, Default)]
pub struct RunQuery {
    /// Of this function only.
    pub function: Option<String>,
    /// Ended with this status, or (`Live`) not ended.
    pub status: RunStatusFilter,
    /// Older than this run; the last one of the page before.
    pub before: Option<RunId>,
    /// Not older than this one: where a stretch of time begins. A store need not look past it.
    pub from: Option<RunId>,
    /// At most so many.
    pub limit: usize,
}

/// Which runs a listing shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunStatusFilter {
    /// All.
    #[default]
    All,
    /// Those that have not ended.
    Live,
    /// Those that ended so.
    Ended(Status),
}

impl RunStatusFilter {
    /// Whether this row is shown.
    pub fn includes(self, row: &RunRow) -> bool {
        match self {
            Self::All => true,
            Self::Live => row.ended.is_none(),
            Self::Ended(status) => row.ended.is_some_and(|(_, ended)| ended == status),
        }
    }
}

/// Slots and lines, keyed by [`Limit::key`]. Each call is atomic; the engine combines them (rules 20 to 25).
#[async_trait]
pub trait Slots: Send + Sync {
    /// Takes a slot for `holder` until `lease_until`, if [`may_take`](stepladder_core::slot::may_take) allows it to the
    /// place of (`holder.run`, `holder.step`) or, lacking that, of the run's arrival. Holders whose lease is over at
    /// `now` are reaped first. Who takes leaves the line. A holder that holds already holds on, with the new lease.
    async fn acquire(
        &self,
        limit: &Limit,
        holder: &Holder,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> StoreResult<AcquireResult>;

    /// Takes a slot of each limit, or of none: what [`take`](Self::take) says holds for each. Gives the limits that refuse,
    /// by their numbers, and what each says.
    async fn acquire_all(
        &self,
        limits: &[Limit],
        holder: &Holder,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> StoreResult<Result<(), Vec<(usize, AcquireResult)>>>;

    /// Joins the line, and returns whether the place is new. A step that is in it keeps its place.
    async fn enqueue(&self, limit: &Limit, place: Ticket) -> StoreResult<bool>;

    /// The first `n` of the line.
    async fn tickets(&self, limit: &Limit, n: usize) -> StoreResult<Vec<Ticket>>;

    /// Who holds slots, dead leases included.
    async fn holders(&self, limit: &Limit) -> StoreResult<Vec<HeldSlot>>;

    /// The place of this step, or the first of all that the run has in the line, if there is one: cheaper than to count
    /// who stands before it.
    async fn ticket(&self, limit: &Limit, run: RunId, step: Option<StepId>) -> StoreResult<Option<Ticket>>;

    /// Where (`run`, any of its steps) stands in the line, counted from 0. For people who ask: no hop needs it.
    async fn position(&self, limit: &Limit, run: RunId) -> StoreResult<Option<usize>>;
}

/// The answer to [`Slots::take`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AcquireResult {
    /// The slot is held.
    Acquired,
    /// None is free.
    Full {
        /// When the first of the holders' leases ends; `None` when nobody holds a slot.
        free_at: Option<Timestamp>,
    },
    /// Some are free, but not for the asker: others stand before him.
    Behind,
}

/// Who waits for events, and the inboxes of runs. They are written by commits ([`Later::Waiter`], [`Later::Offer`]) and
/// removed by them ([`After::Forget`], [`After::Taken`]). An index: whoever reads it asks the journal.
#[async_trait]
pub trait SubscriptionIndex: Send + Sync {
    /// What is to be looked at when an event of this name arrives; strongly consistent. It may say more than there is, and
    /// never less: what tells of a waiter is there before the waiter is (rule 18).
    async fn subscribed_fields(&self, event: &str) -> StoreResult<SubscribedFields>;

    /// Those who wait in a bucket for events of this name, in an order of the adapter's own that does not change; strongly
    /// consistent. At most `limit` of them, those behind the run and step `after`. Fewer than `limit` are the last.
    async fn subscriptions(
        &self,
        event: &str,
        bucket: &SubscriptionKey,
        after: Option<(RunId, StepId)>,
        limit: usize,
    ) -> StoreResult<Vec<Subscription>>;

    /// The events in a run's inbox, in the order of their ids; strongly consistent.
    async fn inbox(&self, run: RunId) -> StoreResult<Vec<EventId>>;
}

/// The sweep's timers, in minute buckets, and its cursor (rule 26).
#[async_trait]
pub trait Timers: Send + Sync {
    /// The timers of a minute (counted from the epoch), soonest first; at most `limit` of them. One that cannot be read
    /// is an error in its place, which names it, and keeps none of the others back (rule 34).
    async fn bucket(&self, minute: i64, limit: usize) -> StoreResult<Vec<StoreResult<Timer>>>;

    /// A minute before which there are no timers; `None` when there is none. The first sweep asks for it: a store that
    /// cannot tell at little cost says an earlier minute, of which the sweep reads the buckets.
    async fn oldest(&self) -> StoreResult<Option<i64>>;

    /// Sets timers. One that is set already (same run, purpose and due time) stays single.
    async fn set(&self, timers: Vec<Timer>) -> StoreResult<()>;

    /// The cursor; `None` before the first sweep.
    async fn cursor(&self) -> StoreResult<Option<Cursor>>;

    /// Replaces the cursor if it still is `expected`; buckets before its minute may be forgotten from then on.
    async fn advance(&self, expected: Option<Cursor>, next: Cursor) -> StoreResult<bool>;
}

/// How far the sweep has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cursor {
    /// All buckets before this minute have been sent.
    pub minute: i64,
    /// What has been sent of later, still open buckets: hashes of the timers.
    pub sent: Vec<(i64, Vec<u64>)>,
}

/// The queue of wakes.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Waits for wakes and takes up to `max`. Each stays invisible for `visibility` and comes again if it is not
    /// acknowledged by then.
    async fn receive(&self, max: usize, visibility: Duration) -> StoreResult<Vec<Delivery>>;

    /// What waits in this process's memory, at no greater cost than a look at a few counters: it is asked for with each
    /// request that starts runs. `None` where the queue is a service of its own, which does not fill this process.
    fn backlog(&self) -> Option<Backlog> {
        None
    }

    /// Makes a delivery that could not be dealt with visible again at `due`, if that is before its time is up. Writes
    /// nothing: it is asked for when nothing can be written. A queue that cannot do it, or gives a wake up after so many
    /// deliveries, does nothing and says `false`.
    async fn put_back(&self, receipt: &Receipt, due: Timestamp) -> StoreResult<bool> {
        let _ = (receipt, due);
        Ok(false)
    }

    /// Leaves stored events to a later delivery, which applies them. A queue that carries wakes alone does nothing and
    /// says `false`.
    async fn postpone(&self, events: Vec<EventId>) -> StoreResult<bool> {
        let _ = events;
        Ok(false)
    }
}

/// How much waits, and what has been done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Wakes that are due and not received: work that is late.
    pub due: usize,
    /// Everything else that takes up memory until its time comes: wakes for later, wakes that are being served, places in
    /// lines.
    pub waiting: usize,
    /// Wakes that were acknowledged since the process began: the pace of serving is a difference of two.
    pub served: u64,
}

/// A wake that was received.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The wake.
    pub wake: Wake,
    /// To acknowledge it with.
    pub receipt: Receipt,
    /// How often it has been delivered, this time included.
    pub receives: u32,
}

/// Stands for one delivery towards its queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Receipt {
    /// A row of a local queue.
    Row(i64),
    /// A receipt handle of SQS.
    Handle(String),
    /// None of its own: the wake came with an invocation of a Lambda function, whose answer acknowledges it. In a commit,
    /// adapters pass over it.
    Invocation,
}
