//! Too late, too early: what a hop does with an invocation that has little time left, and with a wake that came before
//! its moment.
//!
//! Wakes come early because clocks differ between hosts, and because a queue may count whole seconds. A wake that did not
//! meet what it was sent for is repeated for that moment, like one that meets a lease (rule 10): one copy for one wake, so
//! that wakes never grow in number. Which wake may be for which timer is told by its cause; those that are for none
//! leave no copy, and those that met theirs neither.

use std::time::Duration;

use stepladder_core::decide::{Plan, ReadyStep};
use stepladder_core::limits::QUEUE_DELAY_SECONDS;
use stepladder_core::slot::ARRIVAL;
use stepladder_core::state::StepState;
use stepladder_core::{StepId, Timestamp, WakeCause};

use super::{Hop, MARGIN};
use crate::ports::{EarlyWrite, LateWrite};

/// A wake is for nothing that is due later than this: no clock is that far off.
const EARLY: Duration = Duration::from_secs(60);

/// For so long a free slot may wait for its taker.
const MOMENT: Duration = Duration::from_secs(5);

/// Whether a wake came at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Punctuality {
    /// Nothing has been looked at yet.
    Unknown,
    /// It met what it may have been sent for, or can have been sent for nothing that is still to come.
    InTime,
    /// It may have been sent for this moment.
    Early(Timestamp),
}

impl Hop<'_> {
    /// Whether too little is left of this invocation for a body that would be its first. Steps that fit no worker have
    /// been refused, so a fresh invocation has more time than this one, which has lost some. It starts what it is handed
    /// whether it fits or not: a hand-over is never followed by another.
    pub(crate) fn is_too_late_for(&self, ready: &ReadyStep) -> bool {
        let is_fresh = matches!(self.wake.cause, WakeCause::Fresh(_));
        !is_fresh && self.now() + ready.timeout + MARGIN > self.deadline
    }

    /// Looks, once, whether the wake came before its time.
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

    /// A retry that starts is what the wake was for.
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

    /// Nothing starts here. A lease that is alive is looked at again when it is over, by a copy of this wake: its holder
    /// may be dead (rule 10). A wake that came early comes again at its moment; where that is before the lease's end,
    /// it meets the lease then.
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

    /// The handler is run again at `due`; this wake may be the one for it, come too early.
    pub(crate) fn resend_if_early(&mut self, due: Timestamp) {
        if due <= self.now() + EARLY && self.is_for_any_timer() {
            self.commit.before.push(EarlyWrite::Wake { wake: self.wake(self.wake.cause.clone()), due });
        }
    }

    /// A slot may be free for this run, whose handler runs again at `due`. Where that is a moment away, by this clock, the
    /// wake comes again then; else the place is given up, and the slot is passed on (rule 24). The handler's next attempt
    /// asks anew.
    pub(crate) fn give_up_turn(&mut self, due: Timestamp) {
        let step = match self.wake.cause.step() {
            Some(step) => step.clone(),
            None if self.wake.cause == WakeCause::Slot => ARRIVAL.into(),
            None => return,
        };
        if due <= self.now() + MOMENT {
            self.commit.before.push(EarlyWrite::Wake { wake: self.wake(self.wake.cause.clone()), due });
            return;
        }
        let run = self.state.run;
        let leave = |limit| LateWrite::Dequeue { limit, run, step: Some(step.clone()) };
        self.commit.after.extend(self.limits.iter().cloned().map(leave));
    }

    /// Whether the wake can be the one that was sent for this step's sleep or retry.
    fn may_be_for(&self, step: &StepId) -> bool {
        match self.wake.cause.step() {
            Some(named) => named == step,
            // a step that has wakes of its own has one for its retries too
            None => self.is_for_any_timer() && self.state.steps.get(step).is_none_or(|step| !step.woken),
        }
    }

    /// Whether the wake can be one that was sent for a timer, and names none: the other causes have wakes beside it.
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
