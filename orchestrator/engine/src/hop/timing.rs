//! Late and early wakes: what a hop does with little time left, or with a wake before its due time.
//!
//! Wakes come early because clocks differ between hosts, and because a queue may count whole
//! seconds. An early wake is sent again for its due time, like one that meets a lease (rule 10).
//! One wake leaves at most one copy, so the number of wakes never grows. A wake's cause says which
//! timers it may belong to. A wake that belongs to no timer leaves no copy. Nor does one that came
//! in time.

use std::time::Duration;

use stepladder_core::decide::{Plan, ReadyStep};
use stepladder_core::limits::QUEUE_DELAY_SECONDS;
use stepladder_core::state::StepState;
use stepladder_core::{RunOrStep, StepId, Timestamp, WakeCause};

use super::{Hop, MARGIN};
use crate::ports::{EarlyWrite, LateWrite, StoreError};

/// How early a wake may come: clocks differ by less than this.
const EARLY: Duration = Duration::from_secs(60);

/// How long a free slot may wait for its promoted ticket.
const MOMENT: Duration = Duration::from_secs(5);

/// Whether a wake came at its due time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Punctuality {
    /// Not checked yet.
    Unknown,
    /// It came in time, or belongs to nothing that is still to come.
    InTime,
    /// It came early: it may have been sent for this time.
    Early(Timestamp),
}

impl Hop<'_> {
    /// Returns whether this invocation has too little time left for its first body. Steps that fit
    /// no worker have been refused, so a fresh invocation has more time. That invocation starts a
    /// handed-over step in any case: a hand-over is never followed by another.
    pub(crate) fn is_too_late_for(&self, ready: &ReadyStep) -> bool {
        let is_fresh = matches!(self.wake.cause, WakeCause::Fresh(_));
        !is_fresh && self.now() + ready.timeout + MARGIN > self.deadline
    }

    /// Checks, once, whether the wake came early.
    pub(crate) fn notice(&mut self, plan: &Plan) {
        if self.punctuality != Punctuality::Unknown {
            return;
        }
        let soon = self.now() + EARLY;
        let ours = |step: &StepId| self.may_be_for(step);
        let next = plan.later.iter().filter(|(step, due)| *due <= soon && ours(step)).map(|(_, due)| *due).min();
        self.punctuality = match next {
            Some(due) if !plan.awake.iter().chain(&plan.expired).any(ours) => Punctuality::Early(due),
            Some(_) | None => Punctuality::InTime,
        };
    }

    /// Records that the wake came in time, if a retry starts that it may have been sent for.
    pub(crate) fn notice_retries(&mut self, starting: &[ReadyStep]) {
        let is_retry = |step: &StepId| {
            let state = self.state.steps.get(step).map(|step| &step.state);
            matches!(state, Some(StepState::Retrying { error: Some(_), .. }))
        };
        if starting.iter().any(|ready| is_retry(&ready.step) && self.may_be_for(&ready.step)) {
            self.punctuality = Punctuality::InTime;
        }
    }

    pub(crate) fn is_early(&self) -> bool {
        matches!(self.punctuality, Punctuality::Early(_))
    }

    /// Sends a copy of this wake when nothing starts here. A live lease is checked again at its
    /// end, because its holder may be dead (rule 10). An early wake is sent again for its due time.
    /// If that is before the lease's end, the copy meets the lease then.
    pub(crate) fn wake_again(&mut self, plan: &Plan) {
        let longest = self.now() + Duration::from_secs(QUEUE_DELAY_SECONDS as u64);
        let lease = plan.leased_until.map(|lease| (lease + Duration::from_millis(1)).min(longest));
        let early = match self.punctuality {
            Punctuality::Early(due) => Some(due).filter(|due| plan.later.iter().any(|(_, later)| later == due)),
            Punctuality::Unknown | Punctuality::InTime => None,
        };
        let cause = self.wake.cause.clone();
        let (cause, due) = match (early, lease) {
            (Some(due), lease) if lease.is_none_or(|lease| due <= lease) => (cause, due),
            (_, Some(lease)) => (cause.replaced_unless_needed(WakeCause::Lease), lease),
            (_, None) => return,
        };
        self.commit.before.push(EarlyWrite::Wake { wake: self.wake(cause), due });
    }

    /// Sends the wake again if it came early for the handler's retry at `due`.
    pub(crate) fn resend_if_early(&mut self, due: Timestamp) {
        if due <= self.now() + EARLY && self.is_for_any_timer() {
            self.commit.before.push(EarlyWrite::Wake { wake: self.wake(self.wake.cause.clone()), due });
        }
    }

    /// Gives up a promoted ticket, because the handler runs again only at `due`. If that is within
    /// a moment, the wake is sent again for then. Otherwise the ticket is removed and the next one
    /// is promoted (rule 24). The handler's next attempt enqueues again.
    pub(crate) async fn give_up_turn(&mut self, due: Timestamp) -> Result<(), StoreError> {
        let of = match self.wake.cause.step() {
            Some(step) => RunOrStep::Step(step.clone()),
            None if self.wake.cause == WakeCause::Slot => RunOrStep::Run,
            None => return Ok(()),
        };
        if due <= self.now() + MOMENT {
            self.commit.before.push(EarlyWrite::Wake { wake: self.wake(self.wake.cause.clone()), due });
            return Ok(());
        }
        let (run, before) = (self.state.run, self.commit.after.len());
        for limit in self.limits.clone() {
            if self.hops.runtime.backend.ticket(&limit, run, Some(of.clone())).await?.is_some() {
                self.commit.after.push(LateWrite::Dequeue { limit, run, of: Some(of.clone()) });
            }
        }
        if self.commit.after.len() > before {
            // before the ticket is removed, the handler's next attempt may find it and rely on it
            let wake = self.wake(self.wake.cause.clone());
            self.commit.wakes.push(wake);
        }
        Ok(())
    }

    /// Returns whether the wake may have been sent for this step's sleep or retry.
    fn may_be_for(&self, step: &StepId) -> bool {
        match self.wake.cause.step() {
            Some(named) => named == step,
            // a step that has wakes of its own has one for its retries too
            None => self.is_for_any_timer() && self.state.steps.get(step).is_none_or(|step| !step.woken),
        }
    }

    /// Returns whether the wake may have been sent for a timer without naming a step. Wakes with
    /// other causes have a separate timer wake.
    fn is_for_any_timer(&self) -> bool {
        match self.wake.cause {
            WakeCause::Due | WakeCause::Lease | WakeCause::Again | WakeCause::Fresh(None) => true,
            WakeCause::Created
            | WakeCause::Tick(_)
            | WakeCause::Next
            | WakeCause::Step(_)
            | WakeCause::Fresh(Some(_))
            | WakeCause::Slot
            | WakeCause::ChildEnded
            | WakeCause::Arrived
            | WakeCause::Offered
            | WakeCause::Watchdog
            | WakeCause::Deadline
            | WakeCause::Cancelled => false,
        }
    }
}
