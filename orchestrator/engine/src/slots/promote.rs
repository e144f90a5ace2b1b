//! Promotes tickets: wakes waiting steps when a slot is free, and the first ticket of a queue at
//! the end of the first lease (rules 23 and 24).

use std::sync::Arc;

use stepladder_core::slot::{Holder, Limit, Ticket};
use stepladder_core::state::{RunState, StepState};
use stepladder_core::{RunOrStep, Timestamp, Wake, WakeCause};

use crate::ports::{AcquireResult, Commit, StoreError};
use crate::slots::Slots;

/// How long after a lease's end the first ticket is woken.
const GRACE: std::time::Duration = std::time::Duration::from_millis(100);

impl Slots {
    /// Returns the number of free slots.
    async fn free_slots(&self, limit: &Limit) -> Result<usize, StoreError> {
        let now = self.runtime.now();
        let held = self.runtime.backend.holders(limit).await?.iter().filter(|h| h.lease_until > now).count();
        Ok((limit.slots as usize).saturating_sub(held))
    }

    /// Makes sure that the tickets of this limit are woken.
    pub(crate) async fn arrange_wake(
        &self,
        limit: &Limit,
        answer: AcquireResult,
        holder: &Holder,
    ) -> Result<(), StoreError> {
        let free_at = match answer {
            AcquireResult::Acquired => return Ok(()),
            AcquireResult::Behind => return self.remove_stale_ticket(limit).await,
            AcquireResult::Full { free_at } => free_at,
        };
        // rule 23: the first ticket gets a wake at the first lease's end
        let first = self.runtime.backend.tickets(&limit.key, 1).await?.pop();
        if let (Some(free_at), Some(first)) = (free_at.filter(|at| *at < Timestamp::MAX), first)
            && first.run == holder.run()
        {
            self.wake_later(&first, &limit.key, free_at).await?;
        }
        Ok(())
    }

    /// Removes the first ticket if no step will use it. A stalled or dead worker may leave such a
    /// ticket behind. Such a ticket would block the queue until the watchdog visits its run.
    async fn remove_stale_ticket(&self, limit: &Limit) -> Result<(), StoreError> {
        let Some(first) = self.runtime.backend.tickets(&limit.key, 1).await?.pop() else { return Ok(()) };
        let state = self.runs.state(first.run).await?;
        if state.is_none_or(|state| is_wanted(&state, &first.of)) {
            return Ok(());
        }
        self.dequeue(limit, &first).await
    }

    /// Gives the first tickets of these queues a lease wake, after slots were acquired. This is a
    /// separate call, because the acquiring hop must know its slots even if this fails.
    pub(crate) async fn pass_on_lease_wakes(&self, limits: &[Limit]) -> Result<(), StoreError> {
        for limit in limits {
            self.give_lease_wake_to_first(limit).await?;
        }
        Ok(())
    }

    /// Gives the first ticket the wake at the first lease's end (rule 23).
    async fn give_lease_wake_to_first(&self, limit: &Limit) -> Result<(), StoreError> {
        let Some(first) = self.runtime.backend.tickets(&limit.key, 1).await?.pop() else { return Ok(()) };
        let holders = self.runtime.backend.holders(limit).await?;
        // the lease of a limit on runs never ends; the end of its run releases the slot
        match holders.iter().map(|h| h.lease_until).filter(|until| *until < Timestamp::MAX).min() {
            Some(free_at) => self.wake_later(&first, &limit.key, free_at).await,
            None => Ok(()),
        }
    }

    async fn wake_later(&self, ticket: &Ticket, group: &Arc<str>, free_at: Timestamp) -> Result<(), StoreError> {
        let (due, now) = (free_at + GRACE, self.runtime.now());
        if self.lease_wakes.has_wake(group, ticket, due, now) {
            return Ok(());
        }
        let later = self.runtime.later(slot_wake(ticket, group), due);
        self.runtime.carry_out(Commit { before: vec![later], ..Commit::default() }).await?;
        self.lease_wakes.remember(group, ticket, due, now);
        Ok(())
    }

    /// Promotes as many tickets of each queue as there are free slots (rule 24). If no slot is
    /// free, a ticket may have been removed: then the new first ticket gets the wake at the end of
    /// the first lease (rule 23).
    pub(crate) async fn promote(&self, limits: &[Limit]) -> Result<(), StoreError> {
        let mut wakes = Vec::new();
        let now = self.runtime.now();
        for limit in limits {
            let free = self.free_slots(limit).await?;
            if free == 0 {
                self.give_lease_wake_to_first(limit).await?;
            } else {
                let promoted = self.runtime.backend.tickets(&limit.key, free).await?.into_iter();
                let promoted = promoted.filter(|ticket| self.promotions.may_promote(&limit.key, ticket, now));
                wakes.extend(promoted.map(|ticket| slot_wake(&ticket, &limit.key)));
            }
        }
        if !wakes.is_empty() {
            self.runtime.carry_out(Commit { wakes, ..Commit::default() }).await?;
        }
        Ok(())
    }
}

/// Returns whether the run may still use the ticket of its creation, or of this step.
fn is_wanted(state: &RunState, of: &RunOrStep) -> bool {
    let is_over = || match of {
        RunOrStep::Run => state.started_at.is_some(),
        RunOrStep::Step(step) => {
            state.steps.get(step).is_some_and(|s| matches!(s.state, StepState::Done | StepState::Abandoned))
        }
    };
    state.end.is_none() && !is_over()
}

/// Returns the wake of a ticket. It names the step if the step has a wake of its own.
fn slot_wake(ticket: &Ticket, group: &Arc<str>) -> Wake {
    Wake { run: ticket.run, cause: WakeCause::of_ticket(ticket.of.clone()), group: group.clone() }
}
