//! Promotes tickets. If a slot is free, a waiting step is woken. Otherwise the first ticket of a
//! queue is woken when the first lease expires (rules 23 and 24).

use std::sync::Arc;

use stepladder_core::slot::{Holder, Limit, Ticket};
use stepladder_core::state::{RunState, StepState};
use stepladder_core::{RunOrStep, Timestamp, Wake, WakeCause};

use crate::ports::{Commit, QueueHead, QueuedStep, RefusalReason, SnapshotParts, StoreError};
use crate::retries::RepeatedCall;
use crate::slots::Slots;

/// How long after the end of a lease the first ticket is woken.
const GRACE: std::time::Duration = std::time::Duration::from_millis(100);

impl Slots {
    /// Makes sure that the tickets in a queue will be woken, after a step has joined the queue.
    pub(crate) async fn arrange_wake(&self, queued: &QueuedStep, holder: &Holder) -> Result<(), StoreError> {
        let Some(first) = &queued.first else { return Ok(()) };
        match queued.reason {
            RefusalReason::Behind => self.remove_stale_ticket(&queued.limit, first).await,
            // rule 23: the first ticket gets a wake at the end of the first lease
            RefusalReason::Full { free_at: Some(free_at) } if free_at < Timestamp::MAX && first.run == holder.run() => {
                self.wake_later(first, &queued.limit.key, free_at).await
            }
            RefusalReason::Full { .. } => Ok(()),
        }
    }

    /// Removes the first ticket if no step will use it. A stalled or dead worker may leave such a
    /// ticket behind, and it would block the queue until the watchdog checks its run.
    async fn remove_stale_ticket(&self, limit: &Limit, first: &Ticket) -> Result<(), StoreError> {
        let state = self.runs.state(first.run).await?;
        if state.is_none_or(|state| is_wanted(&state, &first.of)) {
            return Ok(());
        }
        self.dequeue(limit, first).await
    }

    /// Gives the first tickets of these queues a lease wake, after slots were acquired. This is a
    /// separate call, because the hop must know which slots it acquired even if this call fails.
    pub(crate) async fn pass_on_lease_wakes(&self, limits: &[Limit]) -> Result<(), StoreError> {
        for limit in limits {
            // most queues are empty, so the holders are read only if there is a first ticket
            let snapshot = self.runtime.backend.snapshot(&limit.key, SnapshotParts::first(1)).await?;
            let Some(first) = snapshot.first.first() else { continue };
            let holders = self.runtime.backend.snapshot(&limit.key, SnapshotParts::holders()).await?.holders;
            // the slot of a limit on runs has a lease that never expires; it is released when its
            // run ends
            let leases = holders.iter().map(|held| held.lease_until).filter(|until| *until < Timestamp::MAX);
            if let Some(free_at) = leases.min() {
                self.wake_later(first, &limit.key, free_at).await?;
            }
        }
        Ok(())
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
    /// free, a ticket may have been removed; then the new first ticket gets the wake at the end of
    /// the first lease (rule 23).
    pub(crate) async fn promote(&self, limits: &[Limit]) -> Result<(), StoreError> {
        self.release(Vec::new(), limits).await
    }

    pub(crate) async fn release(&self, slots: Vec<(Limit, Holder)>, limits: &[Limit]) -> Result<(), StoreError> {
        if slots.is_empty() && limits.is_empty() {
            return Ok(());
        }
        let mut wakes = Vec::new();
        let now = self.runtime.now();
        let release = || self.runtime.backend.release(slots.clone(), limits, now);
        let heads = match slots.is_empty() {
            true => release().await?,
            false => self.runtime.again(RepeatedCall::Release, None, release).await?,
        };
        for (limit, head) in limits.iter().zip(heads) {
            match head {
                QueueHead::Free(first) => {
                    let promoted = first.iter().filter(|ticket| self.promotions.may_promote(&limit.key, ticket, now));
                    wakes.extend(promoted.map(|ticket| slot_wake(ticket, &limit.key)));
                }
                QueueHead::Full { first: Some(first), free_at: Some(free_at) } => {
                    self.wake_later(&first, &limit.key, free_at).await?;
                }
                QueueHead::Full { .. } => {}
            }
        }
        if !wakes.is_empty() {
            self.runtime.carry_out(Commit { wakes, ..Commit::default() }).await?;
        }
        Ok(())
    }
}

/// Returns whether the run may still use this ticket, which it got at its creation or for this
/// step.
fn is_wanted(state: &RunState, of: &RunOrStep) -> bool {
    let is_over = || match of {
        RunOrStep::Run => state.started_at.is_some(),
        RunOrStep::Step(step) => {
            state.steps.get(step).is_some_and(|s| matches!(s.state, StepState::Done | StepState::Abandoned))
        }
    };
    state.end.is_none() && !is_over()
}

/// Returns the wake of a ticket. It names the step if separate wakes are sent for the step.
fn slot_wake(ticket: &Ticket, group: &Arc<str>) -> Wake {
    Wake { run: ticket.run, cause: WakeCause::of_ticket(ticket.of.clone()), group: group.clone() }
}
