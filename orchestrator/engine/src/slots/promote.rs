//! Whose turn it is: those who wait for a slot are woken when one is free, and the head of a line at the end of the first
//! lease (rules 23 and 24).

use crate::slots::Slots;
use std::sync::Arc;

use stepladder_core::slot::{ARRIVAL, Holder, Limit, Ticket};
use stepladder_core::state::{RunState, StepState};
use stepladder_core::{StepId, Timestamp, Wake, WakeCause};

use crate::ports::{AcquireResult, Commit, StoreError};

/// After a lease's end, before the head of the line looks.
const GRACE: std::time::Duration = std::time::Duration::from_millis(100);

impl Slots {
    /// How many slots nobody holds.
    async fn free_slots(&self, limit: &Limit) -> Result<usize, StoreError> {
        let now = self.runtime.now();
        let held = self.runtime.backend.holders(limit).await?.iter().filter(|h| h.lease_until > now).count();
        Ok((limit.slots as usize).saturating_sub(held))
    }

    /// Sees to it that who waits at this limit is woken.
    pub(crate) async fn arrange_wake(
        &self,
        limit: &Limit,
        taken: AcquireResult,
        holder: &Holder,
    ) -> Result<(), StoreError> {
        let free_at = match taken {
            AcquireResult::Acquired => return Ok(()),
            AcquireResult::Behind => return self.remove_stale_ticket(limit).await,
            AcquireResult::Full { free_at } => free_at,
        };
        // rule 23: the head of the line owns a wake at the first lease's end
        let head = self.runtime.backend.tickets(limit, 1).await?.pop();
        if let (Some(free_at), Some(head)) = (free_at.filter(|at| *at < Timestamp::MAX), head)
            && head.run == holder.run
        {
            self.wake_later(&head, &limit.key, free_at).await?;
        }
        Ok(())
    }

    /// Who is first was woken for the free slot. A place that nobody will use, left by a worker that stood still or
    /// died, is removed by who waits behind it: it would be in the way until a watchdog came.
    async fn remove_stale_ticket(&self, limit: &Limit) -> Result<(), StoreError> {
        let Some(head) = self.runtime.backend.tickets(limit, 1).await?.pop() else { return Ok(()) };
        let state = self.runs.state(head.run).await?;
        if state.is_none_or(|state| is_wanted(&state, &head.step)) {
            return Ok(());
        }
        self.dequeue(limit, &head).await
    }

    /// Slots were taken: see [`inherit_lease_wake`](Self::inherit_lease_wake). By itself, for who takes is to know what it has
    /// taken, whatever becomes of this.
    pub(crate) async fn pass_on_lease_wakes(&self, limits: &[Limit]) -> Result<(), StoreError> {
        for limit in limits {
            self.give_lease_wake_to_head(limit).await?;
        }
        Ok(())
    }

    /// Whoever is first in line now owns the wake at the first lease's end (rule 23).
    async fn give_lease_wake_to_head(&self, limit: &Limit) -> Result<(), StoreError> {
        let Some(head) = self.runtime.backend.tickets(limit, 1).await?.pop() else { return Ok(()) };
        let holders = self.runtime.backend.holders(limit).await?;
        // one that is held for as long as its run lives is given back, and never runs out
        match holders.iter().map(|h| h.lease_until).filter(|until| *until < Timestamp::MAX).min() {
            Some(free_at) => self.wake_later(&head, &limit.key, free_at).await,
            None => Ok(()),
        }
    }

    async fn wake_later(&self, place: &Ticket, group: &Arc<str>, free_at: Timestamp) -> Result<(), StoreError> {
        let (due, now) = (free_at + GRACE, self.runtime.now());
        if self.lease_wakes.owns(group, place, due, now) {
            return Ok(());
        }
        let later = self.runtime.later(slot_wake(place, group), due);
        self.runtime.carry_out(Commit { before: vec![later], ..Commit::default() }).await?;
        self.lease_wakes.note(group, place, due, now);
        Ok(())
    }

    /// Wakes as many of each line as there are free slots (rule 24). Where there is none, a place was given up: the new
    /// head inherits the wake at the first lease's end (rule 23).
    pub(crate) async fn promote(&self, limits: &[Limit]) -> Result<(), StoreError> {
        let mut wakes = Vec::new();
        let now = self.runtime.now();
        for limit in limits {
            let free = self.free_slots(limit).await?;
            if free == 0 {
                self.give_lease_wake_to_head(limit).await?;
            } else {
                let turns = self.runtime.backend.tickets(limit, free).await?.into_iter();
                let turns = turns.filter(|place| self.promotions.may_promote(&limit.key, place, now));
                wakes.extend(turns.map(|place| slot_wake(&place, &limit.key)));
            }
        }
        if !wakes.is_empty() {
            self.runtime.carry_out(Commit { wakes, ..Commit::default() }).await?;
        }
        Ok(())
    }
}

/// Whether the run may still use the place of this step, or of its arrival.
fn is_wanted(state: &RunState, step: &StepId) -> bool {
    let is_settled = || {
        let step = state.steps.get(step);
        step.is_some_and(|s| matches!(s.state, StepState::Done | StepState::Abandoned))
    };
    state.end.is_none() && !(if **step == *ARRIVAL { state.started_at.is_some() } else { is_settled() })
}

/// The wake of a place: a step that has a wake of its own is named by it.
fn slot_wake(place: &Ticket, group: &Arc<str>) -> Wake {
    let cause = if place.step.is_empty() { WakeCause::Slot } else { WakeCause::Step(place.step.clone()) };
    Wake { run: place.run, cause, group: group.clone() }
}
