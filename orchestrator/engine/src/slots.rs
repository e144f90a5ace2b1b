//! How the engine uses slots: acquire several, wait in a queue, and release (rules 20 to 22, and
//! 25).

mod lease_wakes;
mod promote;
mod promoted;
mod unreleased;

use std::sync::Arc;

use stepladder_core::slot::{ARRIVAL, HeldSlot, Holder, Limit, Ticket};
use stepladder_core::spec::LazyScope;
use stepladder_core::state::{RunState, StepState};
use stepladder_core::{Spec, StepId, Timestamp};

use lease_wakes::LeaseWakes;
use promoted::Promotions;
use unreleased::Unreleased;

use crate::ports::{AcquireResult, Commit, LateWrite, StoreError};
use crate::runs::Runs;
use crate::runtime::Runtime;

/// Acquires and releases the slots of limits, and promotes waiting tickets.
pub(crate) struct Slots {
    runtime: Arc<Runtime>,
    runs: Arc<Runs>,
    lease_wakes: LeaseWakes,
    pub(crate) unreleased: Unreleased,
    pub(crate) promotions: Promotions,
}

/// The result of acquiring a step's slots.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Acquisition {
    /// The step has a slot of each limit.
    Acquired,
    /// The step waits in a queue, and has no slot.
    Queued {
        /// The key of the queue's limit.
        key: Arc<str>,
        /// Whether it was enqueued just now; it may have had a ticket already.
        joined: bool,
        /// Whether its ticket is new.
        is_new: bool,
    },
}

/// The step that acquires slots.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotRequest<'a> {
    /// The holder of the slots.
    pub(crate) holder: &'a Holder,
    /// When the lease ends at the latest.
    pub(crate) lease_until: Timestamp,
    /// Whether the step has a wake of its own, and so a ticket of its own.
    pub(crate) by_itself: bool,
}

impl Slots {
    pub(crate) fn new(runtime: Arc<Runtime>, runs: Arc<Runs>) -> Self {
        let (heads, owed, refused) = (LeaseWakes::default(), Unreleased::default(), Promotions::default());
        Self { runtime, runs, lease_wakes: heads, unreleased: owed, promotions: refused }
    }

    /// Acquires a slot of each limit, or none (rule 25). If refused, enqueues the step and tries
    /// once more (rule 21): a slot may have been freed in between by a process that found the queue
    /// empty.
    ///
    /// A step waits in one queue only. A second ticket would block others that could continue
    /// there. It stays in that queue while that limit refuses it. If each refusing limit moved the
    /// ticket to another queue, waiting steps would promote each other without end.
    pub(crate) async fn acquire_slots(
        &self,
        state: &RunState,
        limits: &[Limit],
        asker: SlotRequest<'_>,
    ) -> Result<Acquisition, StoreError> {
        let mut refused = self.try_acquire(limits, asker).await?;
        let (mut joined, mut is_new) = (false, false);
        let mut places = match limits {
            // only enqueuing is left to do
            [_] => vec![None],
            _ if refused.is_empty() => Vec::new(),
            _ => self.own_tickets(state, limits, asker).await?,
        };
        loop {
            let waits = refused.iter().find(|(n, _)| places[*n].is_some()).or(refused.first());
            let Some((at, taken)) = waits.cloned() else { return Ok(Acquisition::Acquired) };
            let limit = &limits[at];
            if places[at].is_none() && self.should_enqueue(state, limit, asker).await? {
                let asked = places.iter().flatten().map(|place| place.queued_at).min();
                let (place, newly) = self.enqueue(state, limit, asker.holder, asked).await?;
                // a ticket moved from another queue is not new
                is_new |= newly && asked.is_none();
                places[at] = Some(place);
                joined = true;
                refused = self.try_acquire(limits, asker).await?;
                continue;
            }
            let mut has_left = false;
            for (n, place) in places.iter().enumerate().filter(|(n, _)| *n != at) {
                let is_own = |place: &&Ticket| place.step == asker.holder.step || *place.step == *ARRIVAL;
                let Some(place) = place.as_ref().filter(is_own) else { continue };
                self.dequeue(&limits[n], place).await?;
                has_left = true;
            }
            // another hop of the step may have moved its ticket to another queue at the same time
            if has_left && self.own_tickets(state, std::slice::from_ref(limit), asker).await? == [None] {
                places = self.own_tickets(state, limits, asker).await?;
                refused = self.try_acquire(limits, asker).await?;
                continue;
            }
            self.arrange_wake(limit, taken, asker.holder).await?;
            return Ok(Acquisition::Queued { key: limit.key.clone(), joined, is_new });
        }
    }

    /// Tries to acquire, and returns the refusing limits with their answers.
    async fn try_acquire(
        &self,
        limits: &[Limit],
        asker: SlotRequest<'_>,
    ) -> Result<Vec<(usize, AcquireResult)>, StoreError> {
        let SlotRequest { holder, lease_until, .. } = asker;
        let now = self.runtime.now();
        if let [limit] = limits {
            let taken = self.runtime.backend.acquire(limit, holder, lease_until, now).await?;
            return Ok(if taken == AcquireResult::Acquired { Vec::new() } else { vec![(0, taken)] });
        }
        Ok(self.runtime.backend.acquire_all(limits, holder, lease_until, now).await?.err().unwrap_or_default())
    }

    /// Returns the step's ticket at each limit. It is the step's own, or that of its run's
    /// creation. While nothing of the run has started, it may belong to a step that is woken
    /// together with it.
    async fn own_tickets(
        &self,
        state: &RunState,
        limits: &[Limit],
        asker: SlotRequest<'_>,
    ) -> Result<Vec<Option<Ticket>>, StoreError> {
        let Holder { run, step, .. } = asker.holder;
        let mut places = Vec::with_capacity(limits.len());
        for limit in limits {
            let shares = state.started_at.is_none() && !asker.by_itself;
            let mut place = self.runtime.backend.ticket(limit, *run, Some(step.clone()).filter(|_| !shares)).await?;
            if place.is_none() && state.started_at.is_none() && asker.by_itself {
                place = self.runtime.backend.ticket(limit, *run, Some(ARRIVAL.into())).await?;
            }
            places.push(place);
        }
        Ok(places)
    }

    /// Returns whether a refused step is enqueued. A run that has the ticket of its creation is in
    /// the queue already, with all its first steps. Steps with wakes of their own are excepted: a
    /// wake of the run does not start them.
    async fn should_enqueue(
        &self,
        state: &RunState,
        limit: &Limit,
        asker: SlotRequest<'_>,
    ) -> Result<bool, StoreError> {
        if asker.by_itself || state.started_at.is_some() {
            return Ok(true);
        }
        Ok(self.runtime.backend.ticket(limit, state.run, None).await?.is_none())
    }

    /// Enqueues the step with this time: a ticket from another queue keeps its time.
    async fn enqueue(
        &self,
        state: &RunState,
        limit: &Limit,
        holder: &Holder,
        asked: Option<Timestamp>,
    ) -> Result<(Ticket, bool), StoreError> {
        // the first steps have waited since the run was created
        let now = if state.started_at.is_none() { state.ready_at() } else { self.runtime.now() };
        let asked = asked.unwrap_or_else(|| match self.runtime.spec_of(&state.created) {
            Some(spec) => self.queue_time(spec, &mut LazyScope::new(&state.created.event), now),
            None => now,
        });
        let place =
            Ticket { queued_at: asked, event: state.created.event.id, run: holder.run, step: holder.step.clone() };
        let is_new = self.runtime.backend.enqueue(limit, place.clone()).await?;
        Ok((place, is_new))
    }

    /// Removes a ticket, and promotes the tickets behind it.
    pub(crate) async fn dequeue(&self, limit: &Limit, place: &Ticket) -> Result<(), StoreError> {
        let leave = LateWrite::Dequeue { limit: limit.clone(), run: place.run, step: Some(place.step.clone()) };
        self.runtime.carry_out(Commit { after: vec![leave], ..Commit::default() }).await?;
        self.promote(std::slice::from_ref(limit)).await
    }

    /// Releases the slots of ended runs, and promotes waiting tickets. Such a run's function
    /// limited its runs, and no longer did when the run ended.
    pub(crate) async fn release_ended(&self, limits: &[Limit]) -> Result<(), StoreError> {
        let mut commit = Commit::default();
        for limit in limits {
            for HeldSlot { holder, .. } in self.runtime.backend.holders(limit).await? {
                if self.runs.state(holder.run).await?.is_none_or(|state| state.end.is_some()) {
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

    /// Adds the release of slots without a running attempt in the journal (rules 20 and
    /// 22). A crash may have come between an outcome and its release.
    pub(crate) async fn release_settled(
        &self,
        state: &RunState,
        limits: &[Limit],
        commit: &mut Commit,
    ) -> Result<(), StoreError> {
        for limit in limits {
            for holding in self.runtime.backend.holders(limit).await? {
                let holder = &holding.holder;
                if holder.run == state.run && !is_running(state, &holder.step, holder.attempt) {
                    commit.after.push(release(limit, holder));
                }
            }
        }
        Ok(())
    }

    /// Returns the run's time in wait queues: its creation, shifted by its priority. A priority
    /// that cannot be evaluated has no effect.
    pub(crate) fn queue_time(&self, spec: &Spec, scope: &mut LazyScope<'_>, at: Timestamp) -> Timestamp {
        let ahead = spec.flow.priority_ms(scope).unwrap_or_else(|bad| {
            tracing::warn!(function = %spec.id, "a priority counts as 0: {bad}");
            0
        });
        Timestamp::from_millis(at.as_millis().saturating_sub(ahead))
    }
}

/// Returns whether the attempt runs in the journal, or may be about to: a slot is acquired before
/// its `StepStarted`.
fn is_running(state: &RunState, step: &StepId, attempt: u32) -> bool {
    if state.end.is_some() {
        // a cancelled run's body may still execute; its own worker releases the slot
        return matches!(state.steps.get(step), Some(s) if s.attempt == attempt && matches!(s.state, StepState::Running { .. }));
    }
    match state.steps.get(step) {
        None => true,
        Some(s) => match s.state {
            StepState::Running { .. } => attempt >= s.attempt,
            StepState::Wanted | StepState::Retrying { .. } => attempt > s.attempt,
            StepState::Sleeping { .. }
            | StepState::Invoking { .. }
            | StepState::Awaiting { .. }
            | StepState::Done
            | StepState::Abandoned => false,
        },
    }
}

pub(crate) fn release(limit: &Limit, holder: &Holder) -> LateWrite {
    LateWrite::Release { limit: limit.clone(), holder: holder.clone() }
}
