//! Slots as the engine uses them: taking several, waiting in line, and giving back (rules 20 to 22, and 25).

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

/// Acquires and releases the slots of limits, and promotes those that wait for one.
pub(crate) struct Slots {
    runtime: Arc<Runtime>,
    runs: Arc<Runs>,
    lease_wakes: LeaseWakes,
    pub(crate) unreleased: Unreleased,
    pub(crate) promotions: Promotions,
}

/// The answer to a step that asked for its slots.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Acquisition {
    /// It has one of each limit.
    Acquired,
    /// It waits in line, and has none.
    Queued {
        /// The line's.
        key: Arc<str>,
        /// Whether it asked to join the line just now; it may have been in it.
        joined: bool,
        /// Whether its place in the line is new.
        is_new: bool,
    },
}

/// Who asks for slots.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotRequest<'a> {
    /// In whose name they are held.
    pub(crate) holder: &'a Holder,
    /// Until when at the latest.
    pub(crate) lease_until: Timestamp,
    /// Whether the step has a wake of its own, and so a place of its own.
    pub(crate) by_itself: bool,
}

impl Slots {
    pub(crate) fn new(runtime: Arc<Runtime>, runs: Arc<Runs>) -> Self {
        let (heads, owed, refused) = (LeaseWakes::default(), Unreleased::default(), Promotions::default());
        Self { runtime, runs, lease_wakes: heads, unreleased: owed, promotions: refused }
    }

    /// Takes a slot of each limit, or of none (rule 25). Refused, joins a line and asks once more (rule 21): a slot may have
    /// been freed between the two, by someone who found the line empty. Who waits at one limit waits at no other: he would
    /// stand in the way of those who could go on there. And he stays where he waits while he is refused there: sent to
    /// another line by each limit that refuses, those who wait would pass each other on without end.
    pub(crate) async fn acquire_slots(
        &self,
        state: &RunState,
        limits: &[Limit],
        asker: SlotRequest<'_>,
    ) -> Result<Acquisition, StoreError> {
        let mut refused = self.try_acquire(limits, asker).await?;
        let (mut joined, mut is_new) = (false, false);
        let mut places = match limits {
            // joining is all that there is to do
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
                // one that comes from another line waits on
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
            // another hop of the step, refused elsewhere, may have left this line at the same time
            if has_left && self.own_tickets(state, std::slice::from_ref(limit), asker).await? == [None] {
                places = self.own_tickets(state, limits, asker).await?;
                refused = self.try_acquire(limits, asker).await?;
                continue;
            }
            self.arrange_wake(limit, taken, asker.holder).await?;
            return Ok(Acquisition::Queued { key: limit.key.clone(), joined, is_new });
        }
    }

    /// The limits that refuse, and what each says.
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

    /// Where the asker waits already, at each limit: in its own place, in that of its run's arrival, or, as long as nothing of
    /// the run has started, with a step that is woken together with it.
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

    /// Whether who is refused joins the line. A run that still has the place of its arrival is in line already, with all
    /// its first steps but those that have wakes of their own: a wake of the run is none of theirs.
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

    /// Joins the line as one who asked at this time: who comes from another line has waited there.
    async fn enqueue(
        &self,
        state: &RunState,
        limit: &Limit,
        holder: &Holder,
        asked: Option<Timestamp>,
    ) -> Result<(Ticket, bool), StoreError> {
        // the first steps wait since the run's arrival
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

    /// Gives up a place, and lets those behind it go on.
    pub(crate) async fn dequeue(&self, limit: &Limit, place: &Ticket) -> Result<(), StoreError> {
        let leave = LateWrite::Dequeue { limit: limit.clone(), run: place.run, step: Some(place.step.clone()) };
        self.runtime.carry_out(Commit { after: vec![leave], ..Commit::default() }).await?;
        self.promote(std::slice::from_ref(limit)).await
    }

    /// Gives back what runs hold that have ended, and wakes who waits: such a run was of a function that counted its runs,
    /// and did not any more when it ended.
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

    /// Adds the release of slots that this run holds for attempts that the journal gives to nobody (rules 20 and 22):
    /// a crash may have come between an outcome and its release.
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

    /// The time by which a run stands in lines: earlier or later than it came, as its priority says. One that cannot be
    /// evaluated says nothing.
    pub(crate) fn queue_time(&self, spec: &Spec, scope: &mut LazyScope<'_>, at: Timestamp) -> Timestamp {
        let ahead = spec.flow.priority_ms(scope).unwrap_or_else(|bad| {
            tracing::warn!(function = %spec.id, "a priority counts as 0: {bad}");
            0
        });
        Timestamp::from_millis(at.as_millis().saturating_sub(ahead))
    }
}

/// Whether the journal shows this attempt as running, or it may be about to: a slot is taken before its `StepStarted`.
fn is_running(state: &RunState, step: &StepId, attempt: u32) -> bool {
    if state.end.is_some() {
        // a cancelled run's body may still execute; its own worker gives the slot back
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
