//! Slots of limits, and the wait queues of limits and of paused functions.

mod operations;

use async_trait::async_trait;
use stepladder_core::slot::{HeldSlot, Holder, Limit, QueueKey, Ticket};
use stepladder_core::{RunId, RunOrStep, Timestamp};

use super::StoreResult;

pub use operations::{SlotOperations, acquire_by_operations, release_by_operations, snapshot_by_operations};

/// Stores slots and wait queues (rules 20 to 25). Wait queues are stored by [`Limit::key`]; the
/// queue of a paused function has no slots.
///
/// A store with transactions over limits and queues implements this trait directly. Any other store
/// implements [`SlotOperations`], from which these calls are composed.
#[async_trait]
pub trait Slots: Send + Sync {
    /// Acquires a slot of each limit for the holder, or no slot at all (rule 25):
    ///
    /// - Holders with a lease that has expired at `now` are removed first.
    /// - [`may_acquire`](stepladder_core::slot::may_acquire) decides whether a slot may be
    ///   acquired. The position that counts is that of the first ticket that the holder [may
    ///   use](Holder::may_use). If the slot is acquired, the first ticket that the holder
    ///   [owns](Holder::owns) is removed.
    /// - If the holder already has a slot, its lease is extended.
    ///
    /// If a limit refuses, the ticket of the request is enqueued, and the store tries once more
    /// (rule 21), because another process may have released a slot in between and found the queue
    /// empty. If the step already has a ticket, it is kept.
    ///
    /// A step waits in one queue only, because a second ticket would block steps there that could
    /// continue. The step stays in its queue as long as the limit of this queue refuses it, even if
    /// another limit refuses it too. If each refusal moved the ticket to another queue, waiting
    /// steps would promote each other without end. A ticket that is moved keeps its time.
    async fn acquire(&self, request: AcquireRequest) -> StoreResult<AcquireResult>;

    /// Releases these slots. Does nothing for a slot that the holder does not have. Then returns
    /// the head of each limit's queue (rule 24). Without slots to release, only reads the heads.
    async fn release(
        &self,
        slots: Vec<(Limit, Holder)>,
        limits: &[Limit],
        now: Timestamp,
    ) -> StoreResult<Vec<QueueHead>>;

    /// Returns the requested parts of a limit's state. The read is strongly consistent.
    async fn snapshot(&self, queue: &QueueKey, parts: SnapshotParts) -> StoreResult<Snapshot>;

    /// Enqueues a run of a paused function. If the run already has a ticket, it is kept.
    async fn enqueue_paused(&self, queue: &QueueKey, ticket: Ticket) -> StoreResult<()>;
}

/// A request for a slot of each of several limits.
#[derive(Clone, Debug)]
pub struct AcquireRequest {
    /// The limits, in the order of their keys.
    pub limits: Vec<Limit>,
    /// The holder that needs the slots.
    pub holder: Holder,
    /// The time at which the lease ends.
    pub lease_until: Timestamp,
    /// The time of the request.
    pub now: Timestamp,
    /// The ticket to enqueue if a limit refuses; `None` if the holder must not wait.
    pub ticket: Option<Ticket>,
    /// Which tickets of the run the step may use.
    pub own: OwnTickets,
}

/// Which tickets of a run a step may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnTickets {
    /// Only the ticket of the step, because the run has started.
    OfStep,
    /// The ticket of the step or the ticket of the run's creation. The step has separate wakes.
    OfStepOrCreation,
    /// Any ticket of the run. Until the first step of a run has started, all steps that the run's
    /// wake starts share one ticket.
    OfRun,
}

/// The result of [`Slots::acquire`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AcquireResult {
    /// The holder has acquired a slot of each limit.
    Acquired {
        /// The limits at which the step had a ticket that it did not use. The ticket was removed,
        /// so tickets behind it may have to be promoted.
        left: Vec<Limit>,
    },
    /// The step has a ticket in a wait queue, and no slot.
    Queued(Box<QueuedStep>),
    /// The holder has no slot, and must not wait. Contains the refusal of each limit that refused.
    Refused(Vec<Refusal>),
}

/// A step that has a ticket in a wait queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedStep {
    /// The limit to which the queue belongs.
    pub limit: Limit,
    /// Why the limit refused.
    pub reason: RefusalReason,
    /// The first ticket of the queue.
    pub first: Option<Ticket>,
    /// Whether the step was enqueued by this request. Otherwise it already had a ticket.
    pub joined: bool,
    /// Whether the ticket is new. Otherwise it was moved from another queue.
    pub is_new: bool,
    /// The limits of the queues that the step has left. Tickets behind it may have to be promoted.
    pub left: Vec<Limit>,
}

/// The refusal of one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The index of the limit in the request.
    pub limit: usize,
    /// Why the limit refused.
    pub reason: RefusalReason,
}

/// Why a limit refused a slot.
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

/// The head of a wait queue: the tickets that can be promoted, or the first one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueHead {
    /// Slots are free. Contains as many of the first tickets as there are free slots.
    Free(Vec<Ticket>),
    /// No slot is free.
    Full {
        /// The first ticket of the queue, if there is one.
        first: Option<Ticket>,
        /// When the first lease expires. The lease of a limit on runs never expires, so it is not
        /// included.
        free_at: Option<Timestamp>,
    },
}

/// The parts of a [`Snapshot`] that a caller needs. Each part may cost a request.
#[derive(Clone, Debug, Default)]
pub struct SnapshotParts {
    /// Whether to read the holders.
    pub holders: bool,
    /// The number of first tickets to read.
    pub first: usize,
    /// Whose ticket to read: that of this step or of the run's creation, or else the run's first
    /// ticket.
    pub ticket_of: Option<(RunId, Option<RunOrStep>)>,
    /// Whether to compute the position of the ticket of `ticket_of`.
    pub position: bool,
}

impl SnapshotParts {
    /// Requests the holders.
    pub fn holders() -> Self {
        Self { holders: true, ..Self::default() }
    }

    /// Requests the first `n` tickets.
    pub fn first(n: usize) -> Self {
        Self { first: n, ..Self::default() }
    }

    /// Requests the ticket of this step; if `of` is `None`, the run's first ticket.
    pub fn ticket(run: RunId, of: Option<RunOrStep>) -> Self {
        Self { ticket_of: Some((run, of)), ..Self::default() }
    }

    /// Requests the position of the run's first ticket. Only queries use this.
    pub fn position(run: RunId) -> Self {
        Self { position: true, ..Self::ticket(run, None) }
    }
}

/// The requested parts of a limit's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The held slots, including those with an expired lease.
    pub holders: Vec<HeldSlot>,
    /// The first tickets of the queue.
    pub first: Vec<Ticket>,
    /// The requested ticket, if it exists.
    pub ticket: Option<Ticket>,
    /// The position of the requested ticket in the queue, counted from 0.
    pub position: Option<usize>,
}
