//! Slots of limits, and the wait queues of limits and of paused functions.

mod operations;

use async_trait::async_trait;
use stepladder_core::slot::{HeldSlot, Holder, Limit, QueueKey, Ticket};
use stepladder_core::{RunId, RunOrStep, Timestamp};

use super::StoreResult;

pub use operations::{SlotOperations, acquire_by_operations, release_by_operations, snapshot_by_operations};

/// Stores slots and wait queues (rules 20 to 25). Wait queues are keyed by [`Limit::key`]; the queue
/// of a paused function has no slots.
///
/// A store whose transactions span limits and queues implements this directly. Any other store
/// implements [`SlotOperations`], of which these calls consist.
#[async_trait]
pub trait Slots: Send + Sync {
    /// Acquires a slot of each limit for the holder, or none (rule 25):
    ///
    /// - Holders with a lease that has ended at `now` are removed first.
    /// - [`may_acquire`](stepladder_core::slot::may_acquire) decides. The position that counts is that
    ///   of the first ticket that the holder [may use](Holder::may_use). This ticket is removed.
    /// - If the holder has a slot already, the call extends its lease.
    ///
    /// If a limit refuses, the request's ticket is enqueued, and the store tries once more (rule 21):
    /// in between, another process may have released a slot and found the queue empty. A step that
    /// has a ticket keeps it.
    ///
    /// A step waits in one queue only, because a second ticket would block steps that could continue
    /// there. The step stays in its queue as long as that limit refuses it, even if another limit
    /// refuses it, too. If each refusal moved the ticket to another queue, waiting steps would promote
    /// each other without end. A ticket that moves keeps its time.
    async fn acquire(&self, request: AcquireRequest) -> StoreResult<AcquireResult>;

    /// Releases these slots; nothing happens where the holder has none. Then returns the head of each
    /// limit's queue (rule 24). Without slots to release, this only reads the heads.
    async fn release(
        &self,
        slots: Vec<(Limit, Holder)>,
        limits: &[Limit],
        now: Timestamp,
    ) -> StoreResult<Vec<QueueHead>>;

    /// Returns parts of a limit's state; strongly consistent.
    async fn snapshot(&self, queue: &QueueKey, parts: SnapshotParts) -> StoreResult<Snapshot>;

    /// Enqueues a run whose function is paused. A run that has a ticket keeps it.
    async fn enqueue_paused(&self, queue: &QueueKey, ticket: Ticket) -> StoreResult<()>;
}

/// A request for a slot of each of some limits.
#[derive(Clone, Debug)]
pub struct AcquireRequest {
    /// The limits, in the order of their keys.
    pub limits: Vec<Limit>,
    /// The holder of the slots.
    pub holder: Holder,
    /// When the lease ends at the latest.
    pub lease_until: Timestamp,
    /// The time of the request.
    pub now: Timestamp,
    /// The ticket to enqueue if a limit refuses; `None` if the holder must not wait.
    pub ticket: Option<Ticket>,
    /// Which tickets of the run count as the step's own.
    pub own: OwnTickets,
}

/// Which tickets of a run count as those of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnTickets {
    /// The step's own: the run has started.
    OfStep,
    /// The step's own, or that of its run's creation: the step has its own wake.
    OfStepOrCreation,
    /// Any ticket of the run. Until the first step of a run has started, the steps that the run's wake
    /// starts share one ticket.
    OfRun,
}

/// The result of [`Slots::acquire`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AcquireResult {
    /// The holder has a slot of each limit.
    Acquired {
        /// Limits at which the step had a ticket that it did not use. The ticket is removed, so
        /// tickets behind it may have to be promoted.
        left: Vec<Limit>,
    },
    /// The step waits in a queue, and has no slot.
    Queued(Box<QueuedStep>),
    /// The holder has no slot, and must not wait: the refusal of each limit that refuses.
    Refused(Vec<Refusal>),
}

/// A step in a wait queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedStep {
    /// The limit whose queue it is.
    pub limit: Limit,
    /// Why the limit refuses.
    pub reason: RefusalReason,
    /// The first ticket of the queue.
    pub first: Option<Ticket>,
    /// Whether the step was enqueued just now; it may have had a ticket already.
    pub joined: bool,
    /// Whether the ticket is new, and not moved from another queue.
    pub is_new: bool,
    /// Limits whose queues the step has left. Tickets behind it may have to be promoted.
    pub left: Vec<Limit>,
}

/// A limit that refuses a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The index of the limit in the request.
    pub limit: usize,
    /// Why it refuses.
    pub reason: RefusalReason,
}

/// Why a limit refuses a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// No slot is free.
    Full {
        /// When the first lease expires; `None` if no slot is held.
        free_at: Option<Timestamp>,
    },
    /// A slot is free, but other tickets are before this one.
    Behind,
}

/// The head of a wait queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueHead {
    /// Slots are free: the first tickets, as many as there are free slots.
    Free(Vec<Ticket>),
    /// No slot is free.
    Full {
        /// The first ticket.
        first: Option<Ticket>,
        /// When the first lease ends. The lease of a limit on runs never ends, and does not count.
        free_at: Option<Timestamp>,
    },
}

/// The parts of a [`Snapshot`] that a caller needs. Each may cost a request.
#[derive(Clone, Debug, Default)]
pub struct SnapshotParts {
    /// Whether to read the holders.
    pub holders: bool,
    /// How many of the first tickets to read.
    pub first: usize,
    /// Whose ticket to read: that of this step or of the run's creation, or else the run's first.
    pub ticket_of: Option<(RunId, Option<RunOrStep>)>,
    /// Whether to compute the position of that ticket.
    pub position: bool,
}

impl SnapshotParts {
    /// The holders.
    pub fn holders() -> Self {
        Self { holders: true, ..Self::default() }
    }

    /// The first `n` tickets.
    pub fn first(n: usize) -> Self {
        Self { first: n, ..Self::default() }
    }

    /// The ticket of this step, or the run's first ticket if `of` is `None`.
    pub fn ticket(run: RunId, of: Option<RunOrStep>) -> Self {
        Self { ticket_of: Some((run, of)), ..Self::default() }
    }

    /// The position of the run's first ticket. Only queries use it; no hop needs it.
    pub fn position(run: RunId) -> Self {
        Self { position: true, ..Self::ticket(run, None) }
    }
}

/// The state of a limit, as far as it was requested.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The slots held, including those with an ended lease.
    pub holders: Vec<HeldSlot>,
    /// The first tickets.
    pub first: Vec<Ticket>,
    /// The ticket that was asked for.
    pub ticket: Option<Ticket>,
    /// The position of that ticket in the queue, counted from 0.
    pub position: Option<usize>,
}
