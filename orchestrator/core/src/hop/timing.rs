//! Late and early wakes: what a hop does if little time is left, or if its wake arrived before the
//! due time.
//!
//! Wakes arrive early because the clocks of hosts differ, and because a queue may count whole
//! seconds. An early wake is sent again for its due time. The same is done for a wake that finds a
//! live lease (rule 10). A wake leaves at most one copy, so the number of wakes never grows. The
//! cause of a wake says to which timers it may belong. A wake that belongs to no timer, or that
//! arrived in time, leaves no copy.

use std::time::Duration;

use crate::decide::{Plan, ReadyStep};
use crate::hop::active::{ActiveHop, ActivePhase, Turn};
use crate::hop::effect::{EarlyWrite, Effect, LateWrite, TicketSearch};
use crate::hop::unreachable::is_soon;
use crate::hop::writing::{Ack, Draft, Next};
use crate::slot::Limit;
use crate::state::StepState;
use crate::{RunOrStep, StepId, Timestamp, Wake, WakeCause};

/// The time that an invocation reserves for its own work when it continues with another step.
pub(super) const MARGIN: Duration = Duration::from_secs(2);

/// How early a wake may arrive. Clocks differ by less than this.
pub(super) const EARLY: Duration = Duration::from_secs(60);

/// Whether a wake arrived at its due time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Punctuality {
    /// Whether the wake arrived in time was not checked yet.
    Unknown,
    /// The wake arrived in time, or nothing that is still due later belongs to it.
    InTime,
    /// The wake arrived early: it may have been sent for this time.
    Early(Timestamp),
}

/// A promoted ticket that is given up, because the run continues later.
#[derive(Clone, Debug)]
pub(super) struct GivenUpTicket {
    pub(super) draft: Draft,
    pub(super) of: RunOrStep,
    /// The wake that is sent if a queue still contains the ticket.
    pub(super) wake: Option<Wake>,
}

impl ActiveHop {
    /// Returns whether this invocation has too little time left for its first body. A step that
    /// does not fit into any invocation was already refused, so a new invocation has enough time.
    /// The new invocation starts the step in any case, so that a step is never handed over twice.
    pub(super) fn is_too_late_for(&self, ready: &ReadyStep, now: Timestamp) -> bool {
        let is_fresh = matches!(self.cause(), WakeCause::Fresh(_));
        !is_fresh && now + ready.timeout + MARGIN > self.time.deadline
    }

    /// Checks whether the wake arrived early. This is checked only once.
    pub(super) fn notice(&mut self, plan: &Plan, now: Timestamp) {
        if self.progress.punctuality != Punctuality::Unknown {
            return;
        }
        let soon = now + EARLY;
        let ours = |step: &StepId| self.may_be_for(step);
        let next = plan.later.iter().filter(|(step, due)| *due <= soon && ours(step)).map(|(_, due)| *due).min();
        let over = plan.children.iter().filter(|call| call.until.is_some_and(|until| until <= now));
        let mut in_time = plan.awake.iter().chain(&plan.expired).chain(over.map(|call| &call.step));
        self.progress.punctuality = match next {
            Some(due) if !in_time.any(ours) => Punctuality::Early(due),
            Some(_) | None => Punctuality::InTime,
        };
    }

    /// Records that the wake arrived in time, if it may have been sent for one of the retries that
    /// are starting.
    pub(super) fn notice_retries(&mut self, starting: &[ReadyStep]) {
        let is_retry = |step: &StepId| {
            let state = self.run.steps.get(step).map(|step| &step.state);
            matches!(state, Some(StepState::Retrying { error: Some(_), .. }))
        };
        if starting.iter().any(|ready| is_retry(&ready.step) && self.may_be_for(&ready.step)) {
            self.progress.punctuality = Punctuality::InTime;
        }
    }

    pub(super) fn is_early(&self) -> bool {
        matches!(self.progress.punctuality, Punctuality::Early(_))
    }

    /// Adds a copy of this wake if nothing starts here. If a worker has a live lease, the copy is
    /// due when the lease ends, because that worker may be dead (rule 10). If the wake arrived
    /// early, the copy is due at the wake's due time, if that is before the end of the lease.
    pub(super) fn wake_again(&self, plan: &Plan, now: Timestamp, draft: &mut Draft) {
        let longest = now + self.invocation.worker.max_delay;
        let lease = plan.leased_until.map(|lease| (lease + Duration::from_millis(1)).min(longest));
        let early = match self.progress.punctuality {
            Punctuality::Early(due) => Some(due).filter(|due| plan.later.iter().any(|(_, later)| later == due)),
            Punctuality::Unknown | Punctuality::InTime => None,
        };
        let cause = self.cause().clone();
        let (cause, due) = match (early, lease) {
            (Some(due), lease) if lease.is_none_or(|lease| due <= lease) => (cause, due),
            (_, Some(lease)) => (cause.replaced_unless_needed(WakeCause::Lease), lease),
            (_, None) => return,
        };
        draft.before.push(EarlyWrite::Wake { wake: self.wake(cause), due });
    }

    /// Adds the wake again, if it arrived early for the handler's retry at `due`.
    pub(super) fn resend_if_early(&self, due: Timestamp, now: Timestamp, draft: &mut Draft) {
        if due <= now + EARLY && self.is_for_any_timer() {
            draft.before.push(EarlyWrite::Wake { wake: self.wake(self.cause().clone()), due });
        }
    }

    /// Returns the promoted ticket to give up, because the handler runs again only at `due`. If
    /// that is within a moment, the ticket is kept, and the wake is sent again for that time.
    /// Otherwise the ticket is removed and the next one is promoted (rule 24); the handler's next
    /// attempt enqueues a ticket again.
    pub(super) fn ticket_to_give_up(&self, due: Timestamp, now: Timestamp, draft: &mut Draft) -> Option<RunOrStep> {
        let is_for_ticket = self.cause().step().is_some() || *self.cause() == WakeCause::Slot;
        if is_for_ticket && is_soon(due, now) {
            draft.before.push(EarlyWrite::Wake { wake: self.wake(self.cause().clone()), due });
            return None;
        }
        self.promoted_ticket()
    }

    /// Returns the ticket that was promoted, if a promotion sent this wake.
    pub(super) fn promoted_ticket(&self) -> Option<RunOrStep> {
        let of = match self.cause().step() {
            Some(step) => RunOrStep::Step(step.clone()),
            None if *self.cause() == WakeCause::Slot => RunOrStep::Run,
            None => return None,
        };
        Some(of).filter(|_| !self.limits.of_steps.is_empty())
    }

    /// Looks up which queues contain a promoted ticket that is given up.
    pub(super) fn find_given_up_ticket(&mut self, given_up: GivenUpTicket, turn: &mut Turn<'_>) -> ActivePhase {
        let place = TicketSearch::Own(given_up.of.clone());
        turn.emit(Effect::FindTickets { limits: self.limits.of_steps.clone(), place });
        ActivePhase::GivingUpTurn(Box::new(given_up))
    }

    /// Leaves a run that continues later, and removes its promoted ticket.
    pub(super) fn give_up_turn(
        &mut self,
        given_up: GivenUpTicket,
        limits: Vec<Limit>,
        turn: &mut Turn<'_>,
    ) -> ActivePhase {
        let GivenUpTicket { mut draft, of, wake } = given_up;
        if !limits.is_empty() {
            // before the ticket is removed, the handler's next attempt may find the ticket and rely
            // on it
            draft.wakes.extend(wake);
        }
        let run = self.run.run;
        let leave = |limit| LateWrite::Dequeue { limit, run, of: Some(of.clone()) };
        draft.after.extend(limits.into_iter().map(leave));
        self.write(draft, Ack::Now, Next::LeaveOrRound, turn)
    }

    /// Returns whether the wake may have been sent for the sleep or the retry of this step.
    fn may_be_for(&self, step: &StepId) -> bool {
        match self.cause().step() {
            Some(named) => named == step,
            // if separate wakes are sent for a step, this includes a wake for its retries
            None => self.is_for_any_timer() && self.run.steps.get(step).is_none_or(|step| !step.woken),
        }
    }

    /// Returns whether the wake may have been sent for a timer, without naming a step. For wakes
    /// with other causes, there is a separate wake for the timer.
    fn is_for_any_timer(&self) -> bool {
        match self.cause() {
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
            | WakeCause::Heartbeat { .. }
            | WakeCause::Cancelled => false,
        }
    }
}
