//! Acquires slots, enqueues tickets, and releases slots (rules 20 to 22, and 25).

mod lease_wakes;
mod promote;
mod promoted;
mod unreleased;

use std::sync::Arc;

use stepladder_core::hop::{SlotAnswer, SlotRequest};
use stepladder_core::slot::{HeldSlot, Holder, Limit, Ticket};
use stepladder_core::spec::LazyExprScope;
use stepladder_core::state::RunState;
use stepladder_core::{Spec, Timestamp};

use lease_wakes::LeaseWakes;
use promoted::Promotions;
use unreleased::UnreleasedSlots;

use crate::ports::{AcquireRequest, AcquireResult, Commit, LateWrite, OwnTickets, SnapshotParts, StoreError};
use crate::runs::Runs;
use crate::runtime::Runtime;

/// Acquires and releases the slots of limits, and promotes waiting tickets.
pub(crate) struct Slots {
    runtime: Arc<Runtime>,
    runs: Arc<Runs>,
    lease_wakes: LeaseWakes,
    pub(crate) unreleased: UnreleasedSlots,
    pub(crate) promotions: Promotions,
}

impl Slots {
    pub(crate) fn new(runtime: Arc<Runtime>, runs: Arc<Runs>) -> Self {
        Self {
            runtime,
            runs,
            lease_wakes: LeaseWakes::default(),
            unreleased: UnreleasedSlots::default(),
            promotions: Promotions::default(),
        }
    }

    /// Acquires a slot of each limit, or enqueues the step (rules 21 and 25). In the second case,
    /// makes sure that the first ticket of the queue will be woken.
    pub(crate) async fn acquire_slots(
        &self,
        state: &RunState,
        request: Box<SlotRequest>,
    ) -> Result<SlotAnswer, StoreError> {
        let SlotRequest { limits, holder, lease_until, by_itself } = *request;
        let own = match (state.started_at, by_itself) {
            (Some(_), _) => OwnTickets::OfStep,
            (None, true) => OwnTickets::OfStepOrCreation,
            (None, false) => OwnTickets::OfRun,
        };
        let now = self.runtime.now();
        let ticket = Some(self.new_ticket(state, &holder, now));
        let request = AcquireRequest { limits, holder: holder.clone(), lease_until, now, ticket, own };
        let queued = match self.runtime.backend.acquire(request).await? {
            AcquireResult::Acquired { left } => {
                // the hop must know which slots it acquired even if this call fails
                if let Err(error) = self.promote(&left).await {
                    tracing::debug!(%error, "waiting steps could not be promoted yet");
                    self.unreleased.add_unwoken(&left);
                }
                return Ok(SlotAnswer::Acquired);
            }
            AcquireResult::Queued(queued) => *queued,
            AcquireResult::Refused(_) => {
                return Err(StoreError::Unreadable("the store has not enqueued a step that may wait".into()));
            }
        };
        self.promote(&queued.left).await?;
        self.arrange_wake(&queued, &holder).await?;
        Ok(SlotAnswer::Queued { key: queued.limit.key, joined: queued.joined, is_new: queued.is_new })
    }

    /// Returns the ticket of a step that is being enqueued. The first steps of a run have been
    /// waiting since the run was created.
    fn new_ticket(&self, state: &RunState, holder: &Holder, now: Timestamp) -> Ticket {
        let since = if state.started_at.is_none() { state.ready_at() } else { now };
        let queued_at = match self.runtime.snapshot().spec(&state.created.function) {
            Some(spec) => self.queue_time(spec, &mut LazyExprScope::new(&state.created.event), since),
            None => since,
        };
        Ticket { queued_at, event: state.created.event.id, run: holder.run(), of: holder.run_or_step() }
    }

    /// Removes a ticket, and promotes the tickets behind it.
    pub(crate) async fn dequeue(&self, limit: &Limit, ticket: &Ticket) -> Result<(), StoreError> {
        let leave = LateWrite::Dequeue { limit: limit.clone(), run: ticket.run, of: Some(ticket.of.clone()) };
        self.runtime.carry_out(Commit { after: vec![leave], ..Commit::default() }).await?;
        self.promote(std::slice::from_ref(limit)).await
    }

    /// Releases the slots of ended runs, and promotes waiting tickets. An ended run may still have
    /// a slot: its function had a limit on runs, and new code removed the limit before the run
    /// ended.
    pub(crate) async fn release_ended(&self, limits: &[Limit]) -> Result<(), StoreError> {
        let mut slots = Vec::new();
        for limit in limits {
            let snapshot = self.runtime.backend.snapshot(&limit.key, SnapshotParts::holders()).await?;
            for HeldSlot { holder, .. } in snapshot.holders {
                if self.runs.state(holder.run()).await?.is_none_or(|state| state.end.is_some()) {
                    slots.push((limit.clone(), holder));
                }
            }
        }
        if slots.is_empty() { Ok(()) } else { self.release(slots, limits).await }
    }

    /// Returns the time that determines the position of a run in wait queues: `at`, moved back by
    /// the run's priority. A priority that cannot be evaluated counts as 0.
    pub(crate) fn queue_time(&self, spec: &Spec, scope: &mut LazyExprScope<'_>, at: Timestamp) -> Timestamp {
        let ahead = spec.flow.priority_ms(scope).unwrap_or_else(|bad| {
            tracing::warn!(function = %spec.id, "a priority counts as 0: {bad}");
            0
        });
        Timestamp::from_millis(at.as_millis().saturating_sub(ahead))
    }
}
