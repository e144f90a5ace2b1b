//! The single operations from which [`Slots`] is composed, and how they are combined. Between two
//! operations, another process may change the same limits.

use async_trait::async_trait;
use stepladder_core::slot::{HeldSlot, Holder, Limit, QueueKey, Ticket};
use stepladder_core::{RunId, RunOrStep, Timestamp};

use super::{
    AcquireRequest, AcquireResult, OwnTickets, QueueHead, QueuedStep, Refusal, Slots, Snapshot, SnapshotParts,
};
use crate::ports::StoreResult;

/// The operations on the slots and wait queues of a store. Each operation is atomic.
#[async_trait]
pub trait SlotOperations: Send + Sync {
    /// Acquires a slot of each limit as [`Slots::acquire`] does, or no slot at all. Returns the
    /// limits that refused.
    async fn try_acquire(
        &self,
        limits: &[Limit],
        holder: &Holder,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> StoreResult<Vec<Refusal>>;

    /// Releases a slot. Does nothing if the holder has none.
    async fn release_slot(&self, limit: &Limit, holder: &Holder) -> StoreResult<()>;

    /// Returns the held slots, including those with an expired lease.
    async fn holders(&self, queue: &QueueKey) -> StoreResult<Vec<HeldSlot>>;

    /// Enqueues a ticket, and returns whether it is new. If the step already has a ticket, it is
    /// kept.
    async fn enqueue(&self, limit: &Limit, ticket: Ticket) -> StoreResult<bool>;

    /// Enqueues a run of a paused function. If the run already has a ticket, it is kept.
    async fn enqueue_without_slots(&self, queue: &QueueKey, ticket: Ticket) -> StoreResult<()>;

    /// Removes a ticket. Does nothing if the queue does not contain it.
    async fn dequeue(&self, limit: &Limit, ticket: &Ticket) -> StoreResult<()>;

    /// Returns the first `n` tickets of the queue.
    async fn first_tickets(&self, queue: &QueueKey, n: usize) -> StoreResult<Vec<Ticket>>;

    /// Returns the ticket of this step or run; if `of` is `None`, the run's first ticket.
    async fn ticket(&self, queue: &QueueKey, run: RunId, of: Option<&RunOrStep>) -> StoreResult<Option<Ticket>>;

    /// Returns the number of tickets in the queue before this one.
    async fn count_before(&self, queue: &QueueKey, ticket: &Ticket) -> StoreResult<usize>;
}

#[async_trait]
impl<T: SlotOperations> Slots for T {
    async fn acquire(&self, request: AcquireRequest) -> StoreResult<AcquireResult> {
        acquire_by_operations(self, request).await
    }

    async fn release(
        &self,
        slots: Vec<(Limit, Holder)>,
        limits: &[Limit],
        now: Timestamp,
    ) -> StoreResult<Vec<QueueHead>> {
        release_by_operations(self, slots, limits, now).await
    }

    async fn snapshot(&self, queue: &QueueKey, parts: SnapshotParts) -> StoreResult<Snapshot> {
        snapshot_by_operations(self, queue, parts).await
    }

    async fn enqueue_paused(&self, queue: &QueueKey, ticket: Ticket) -> StoreResult<()> {
        self.enqueue_without_slots(queue, ticket).await
    }
}

/// Acquires slots, or enqueues a ticket: implements [`Slots::acquire`] with several operations.
///
/// # Errors
/// The error of an operation. A repeated call continues where this one ended.
pub async fn acquire_by_operations(
    store: &(impl SlotOperations + ?Sized),
    request: AcquireRequest,
) -> StoreResult<AcquireResult> {
    let AcquireRequest { limits, holder, lease_until, now, .. } = &request;
    let mut refusals = store.try_acquire(limits, holder, *lease_until, *now).await?;
    let Some(new_ticket) = &request.ticket else {
        return Ok(match refusals.is_empty() {
            true => AcquireResult::Acquired { left: Vec::new() },
            false => AcquireResult::Refused(refusals),
        });
    };
    let (mut joined, mut is_new, mut left) = (false, false, Vec::new());
    let mut tickets = match &limits[..] {
        // with a single limit there is no other queue, so the ticket need not be read
        [_] => vec![None],
        _ if refusals.is_empty() => Vec::new(),
        _ => own_tickets(store, limits, &request).await?,
    };
    loop {
        let refusal = refusals.iter().find(|refusal| tickets[refusal.limit].is_some()).or(refusals.first());
        let Some(Refusal { limit: at, reason }) = refusal.cloned() else {
            return Ok(AcquireResult::Acquired { left });
        };
        let limit = &limits[at];
        if tickets[at].is_none() && needs_ticket(store, limit, &request).await? {
            let earlier = tickets.iter().flatten().map(|ticket| ticket.queued_at).min();
            let ticket = Ticket { queued_at: earlier.unwrap_or(new_ticket.queued_at), ..new_ticket.clone() };
            // a ticket that was moved from another queue does not count as new
            is_new |= store.enqueue(limit, ticket.clone()).await? && earlier.is_none();
            tickets[at] = Some(ticket);
            joined = true;
            refusals = store.try_acquire(limits, holder, *lease_until, *now).await?;
            continue;
        }
        let mut is_dequeued = false;
        for (n, ticket) in tickets.iter().enumerate().filter(|(n, _)| *n != at) {
            let Some(ticket) = ticket.as_ref().filter(|ticket| holder.owns(ticket)) else { continue };
            store.dequeue(&limits[n], ticket).await?;
            left.push(limits[n].clone());
            is_dequeued = true;
        }
        // another hop of the same step may have removed this ticket at the same time
        if is_dequeued && own_tickets(store, std::slice::from_ref(limit), &request).await? == [None] {
            tickets = own_tickets(store, limits, &request).await?;
            refusals = store.try_acquire(limits, holder, *lease_until, *now).await?;
            continue;
        }
        let first = store.first_tickets(&limit.key, 1).await?.pop();
        let queued = QueuedStep { limit: limit.clone(), reason, first, joined, is_new, left };
        return Ok(AcquireResult::Queued(Box::new(queued)));
    }
}

/// Returns, for each limit, the ticket that the step may use.
async fn own_tickets(
    store: &(impl SlotOperations + ?Sized),
    limits: &[Limit],
    request: &AcquireRequest,
) -> StoreResult<Vec<Option<Ticket>>> {
    let (run, own) = (request.holder.run(), request.holder.run_or_step());
    let mut tickets = Vec::with_capacity(limits.len());
    for limit in limits {
        let mut ticket = match request.own {
            OwnTickets::OfRun => store.ticket(&limit.key, run, None).await?,
            OwnTickets::OfStep | OwnTickets::OfStepOrCreation => store.ticket(&limit.key, run, Some(&own)).await?,
        };
        if ticket.is_none() && request.own == OwnTickets::OfStepOrCreation {
            ticket = store.ticket(&limit.key, run, Some(&RunOrStep::Run)).await?;
        }
        tickets.push(ticket);
    }
    Ok(tickets)
}

/// Returns whether a refused step needs a ticket. If the first steps of a run share a ticket, one
/// is enough for all of them.
async fn needs_ticket(
    store: &(impl SlotOperations + ?Sized),
    limit: &Limit,
    request: &AcquireRequest,
) -> StoreResult<bool> {
    match request.own {
        OwnTickets::OfStep | OwnTickets::OfStepOrCreation => Ok(true),
        OwnTickets::OfRun => Ok(store.ticket(&limit.key, request.holder.run(), None).await?.is_none()),
    }
}

/// Releases slots and reads the heads of queues: implements [`Slots::release`] with several
/// operations.
///
/// # Errors
/// The error of an operation. A repeated call continues where this one ended.
pub async fn release_by_operations(
    store: &(impl SlotOperations + ?Sized),
    slots: Vec<(Limit, Holder)>,
    limits: &[Limit],
    now: Timestamp,
) -> StoreResult<Vec<QueueHead>> {
    for (limit, holder) in &slots {
        store.release_slot(limit, holder).await?;
    }
    let mut heads = Vec::with_capacity(limits.len());
    for limit in limits {
        let holders = store.holders(&limit.key).await?;
        let held = holders.iter().filter(|held| held.lease_until > now).count();
        let free = (limit.slots as usize).saturating_sub(held);
        let mut first = store.first_tickets(&limit.key, free.max(1)).await?;
        heads.push(match free {
            0 => QueueHead::Full { first: first.pop(), free_at: first_lease_end(&holders) },
            _ => QueueHead::Free(first),
        });
    }
    Ok(heads)
}

fn first_lease_end(holders: &[HeldSlot]) -> Option<Timestamp> {
    holders.iter().map(|held| held.lease_until).filter(|until| *until < Timestamp::MAX).min()
}

/// Reads parts of a limit's state: implements [`Slots::snapshot`] with several operations.
///
/// # Errors
/// The error of an operation.
pub async fn snapshot_by_operations(
    store: &(impl SlotOperations + ?Sized),
    queue: &QueueKey,
    parts: SnapshotParts,
) -> StoreResult<Snapshot> {
    let mut snapshot = Snapshot::default();
    if parts.holders {
        snapshot.holders = store.holders(queue).await?;
    }
    if parts.first > 0 {
        snapshot.first = store.first_tickets(queue, parts.first).await?;
    }
    if let Some((run, of)) = &parts.ticket_of {
        snapshot.ticket = store.ticket(queue, *run, of.as_ref()).await?;
    }
    if let Some(ticket) = snapshot.ticket.as_ref().filter(|_| parts.position) {
        snapshot.position = Some(store.count_before(queue, ticket).await?);
    }
    Ok(snapshot)
}
