//! Acquires slots, waits in queues, and releases slots (rules 20 to 22, and 25).

mod lease_wakes;
mod promote;
mod promoted;
mod unreleased;

use std::sync::Arc;

use stepladder_core::hop::SlotAnswer;
use stepladder_core::slot::{HeldSlot, Holder, Limit, Ticket};
use stepladder_core::spec::LazyExprScope;
use stepladder_core::state::RunState;
use stepladder_core::{RunOrStep, Spec, Timestamp};

use lease_wakes::LeaseWakes;
use promoted::Promotions;
use unreleased::UnreleasedSlots;

use crate::ports::{AcquireResult, Commit, LateWrite, StoreError};
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

/// The step that acquires slots.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotRequest<'a> {
    /// The holder of the slots.
    pub(crate) holder: &'a Holder,
    /// When the lease ends at the latest.
    pub(crate) lease_until: Timestamp,
    /// Whether the step has its own wake, and therefore its own ticket.
    pub(crate) by_itself: bool,
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

    /// Acquires a slot of each limit, or none (rule 25). If a limit refuses, enqueues the step and
    /// tries once more (rule 21): in between, another process may have released a slot and found
    /// the queue empty.
    ///
    /// A step waits in one queue only, because a second ticket would block steps that could
    /// continue there. The step stays in its queue as long as that limit refuses it, even if
    /// another limit refuses it, too. If each refusal moved the ticket to another queue, waiting
    /// steps would promote each other without end.
    pub(crate) async fn acquire_slots(
        &self,
        state: &RunState,
        limits: &[Limit],
        request: SlotRequest<'_>,
    ) -> Result<SlotAnswer, StoreError> {
        let mut refusals = self.try_acquire(limits, request).await?;
        let (mut joined, mut is_new) = (false, false);
        let mut tickets = match limits {
            // with one limit there is no other queue, so the ticket need not be read
            [_] => vec![None],
            _ if refusals.is_empty() => Vec::new(),
            _ => self.own_tickets(state, limits, request).await?,
        };
        loop {
            let refusal = refusals.iter().find(|(n, _)| tickets[*n].is_some()).or(refusals.first());
            let Some((at, answer)) = refusal.cloned() else { return Ok(SlotAnswer::Acquired) };
            let limit = &limits[at];
            if tickets[at].is_none() && self.should_enqueue(state, limit, request).await? {
                let queued_at = tickets.iter().flatten().map(|ticket| ticket.queued_at).min();
                let (ticket, newly) = self.enqueue(state, limit, request.holder, queued_at).await?;
                // a ticket moved from another queue is not new
                is_new |= newly && queued_at.is_none();
                tickets[at] = Some(ticket);
                joined = true;
                refusals = self.try_acquire(limits, request).await?;
                continue;
            }
            let mut is_dequeued = false;
            for (n, ticket) in tickets.iter().enumerate().filter(|(n, _)| *n != at) {
                let is_own = |ticket: &&Ticket| request.holder.may_use(ticket);
                let Some(ticket) = ticket.as_ref().filter(is_own) else { continue };
                self.dequeue(&limits[n], ticket).await?;
                is_dequeued = true;
            }
            // another hop of the same step may have removed this ticket at the same time
            if is_dequeued && self.own_tickets(state, std::slice::from_ref(limit), request).await? == [None] {
                tickets = self.own_tickets(state, limits, request).await?;
                refusals = self.try_acquire(limits, request).await?;
                continue;
            }
            self.arrange_wake(limit, answer, request.holder).await?;
            return Ok(SlotAnswer::Queued { key: limit.key.clone(), joined, is_new });
        }
    }

    /// Tries to acquire, and returns the refusing limits with their answers.
    async fn try_acquire(
        &self,
        limits: &[Limit],
        request: SlotRequest<'_>,
    ) -> Result<Vec<(usize, AcquireResult)>, StoreError> {
        let SlotRequest { holder, lease_until, .. } = request;
        let now = self.runtime.now();
        if let [limit] = limits {
            let answer = self.runtime.backend.acquire(limit, holder, lease_until, now).await?;
            return Ok(if answer == AcquireResult::Acquired { Vec::new() } else { vec![(0, answer)] });
        }
        Ok(self.runtime.backend.acquire_all(limits, holder, lease_until, now).await?.err().unwrap_or_default())
    }

    /// Returns the step's ticket at each limit: its own, or the one that the run got at its
    /// creation. Until the first step of a run has started, the steps that the run's wake starts
    /// share one ticket.
    async fn own_tickets(
        &self,
        state: &RunState,
        limits: &[Limit],
        request: SlotRequest<'_>,
    ) -> Result<Vec<Option<Ticket>>, StoreError> {
        let (run, own) = (request.holder.run(), request.holder.run_or_step());
        let mut tickets = Vec::with_capacity(limits.len());
        for limit in limits {
            let shares = state.started_at.is_none() && !request.by_itself;
            let mut ticket = self.runtime.backend.ticket(limit, run, Some(own.clone()).filter(|_| !shares)).await?;
            if ticket.is_none() && state.started_at.is_none() && request.by_itself {
                ticket = self.runtime.backend.ticket(limit, run, Some(RunOrStep::Run)).await?;
            }
            tickets.push(ticket);
        }
        Ok(tickets)
    }

    /// Returns whether a refused step needs a ticket. Until the first step of a run has started,
    /// one ticket of the run is enough for all its first steps. A step with its own wake always
    /// needs a ticket, because the run's wake does not start it.
    async fn should_enqueue(
        &self,
        state: &RunState,
        limit: &Limit,
        request: SlotRequest<'_>,
    ) -> Result<bool, StoreError> {
        if request.by_itself || state.started_at.is_some() {
            return Ok(true);
        }
        Ok(self.runtime.backend.ticket(limit, state.run, None).await?.is_none())
    }

    /// Enqueues the step. `queued_at` is the time of its ticket in another queue, if it has one: a
    /// step that moves to another queue keeps its time.
    async fn enqueue(
        &self,
        state: &RunState,
        limit: &Limit,
        holder: &Holder,
        queued_at: Option<Timestamp>,
    ) -> Result<(Ticket, bool), StoreError> {
        // the first steps have waited since the run was created
        let now = if state.started_at.is_none() { state.ready_at() } else { self.runtime.now() };
        let queued_at = queued_at.unwrap_or_else(|| match self.runtime.snapshot().spec(&state.created.function) {
            Some(spec) => self.queue_time(spec, &mut LazyExprScope::new(&state.created.event), now),
            None => now,
        });
        let ticket = Ticket { queued_at, event: state.created.event.id, run: holder.run(), of: holder.run_or_step() };
        let is_new = self.runtime.backend.enqueue(limit, ticket.clone()).await?;
        Ok((ticket, is_new))
    }

    /// Removes a ticket, and promotes the tickets behind it.
    pub(crate) async fn dequeue(&self, limit: &Limit, ticket: &Ticket) -> Result<(), StoreError> {
        let leave = LateWrite::Dequeue { limit: limit.clone(), run: ticket.run, of: Some(ticket.of.clone()) };
        self.runtime.carry_out(Commit { after: vec![leave], ..Commit::default() }).await?;
        self.promote(std::slice::from_ref(limit)).await
    }

    /// Releases the slots of ended runs, and promotes waiting tickets. An ended run keeps a slot if
    /// its function had a limit on runs and new code removed the limit before the run ended.
    pub(crate) async fn release_ended(&self, limits: &[Limit]) -> Result<(), StoreError> {
        let mut commit = Commit::default();
        for limit in limits {
            for HeldSlot { holder, .. } in self.runtime.backend.holders(limit).await? {
                if self.runs.state(holder.run()).await?.is_none_or(|state| state.end.is_some()) {
                    commit.after.push(release(limit, &holder));
                }
            }
        }
        if !commit.after.is_empty() {
            self.runtime.carry_out(commit).await?;
            self.promote(limits).await?;
        }
        Ok(())
    }

    /// Returns the time by which a run is sorted in wait queues: `at`, moved back by its priority.
    /// A priority that cannot be evaluated counts as 0.
    pub(crate) fn queue_time(&self, spec: &Spec, scope: &mut LazyExprScope<'_>, at: Timestamp) -> Timestamp {
        let ahead = spec.flow.priority_ms(scope).unwrap_or_else(|bad| {
            tracing::warn!(function = %spec.id, "a priority counts as 0: {bad}");
            0
        });
        Timestamp::from_millis(at.as_millis().saturating_sub(ahead))
    }
}

pub(crate) fn release(limit: &Limit, holder: &Holder) -> LateWrite {
    LateWrite::Release { limit: limit.clone(), holder: holder.clone() }
}
