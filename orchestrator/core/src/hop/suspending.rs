//! Suspends a run if nothing starts or executes. Decides which later wakes are needed before the
//! current wake is acknowledged.

use crate::decide::Plan;
use crate::hop::active::{ActiveHop, ActivePhase, Turn};
use crate::hop::effect::{Effect, LateWrite, TicketSearch};
use crate::hop::input::Input;
use crate::hop::keeping::KeepReason;
use crate::hop::writing::{Ack, Draft, Next};
use crate::slot::Limit;
use crate::state::Step;
use crate::{RunOrStep, StepId, Timestamp, Wake, WakeCause};

/// A run that is suspended.
#[derive(Clone, Debug)]
pub(super) struct Suspending {
    plan: Plan,
    draft: Draft,
    /// The attempts that were enqueued in this transition.
    joined: Vec<(StepId, u32)>,
    /// Whether no ready step belongs to the wake.
    is_unasked: bool,
    /// The ticket that is being looked up.
    ticket: Option<RunOrStep>,
}

impl Suspending {
    pub(super) fn of(plan: Plan, draft: Draft, joined: Vec<(StepId, u32)>, is_unasked: bool) -> Self {
        Self { plan, draft, joined, is_unasked, ticket: None }
    }

    /// Returns the draft that was to be written.
    pub(super) fn into_draft(self) -> Draft {
        self.draft
    }
}

impl ActiveHop {
    /// Reads the journal again after attempts were enqueued, because another hop may have executed
    /// a step in between and found no ticket to remove (rule 21).
    pub(super) fn suspend(&mut self, suspending: Suspending, turn: &mut Turn<'_>) -> ActivePhase {
        if suspending.joined.is_empty() {
            return self.leave_wakes(suspending, turn);
        }
        turn.emit(Effect::ReadOn);
        ActivePhase::Suspending(Box::new(suspending))
    }

    /// Handles the next input while the run is being suspended.
    pub(super) fn suspend_on(&mut self, mut suspending: Suspending, input: Input, turn: &mut Turn<'_>) -> ActivePhase {
        match (suspending.ticket.take(), input) {
            (None, Input::Entries(records)) => {
                if let Err(fault) = self.read_on(&records) {
                    return self.keep(suspending.draft, KeepReason::Failure(fault), turn);
                }
                if records.is_empty() {
                    return self.leave_wakes(suspending, turn);
                }
                // the whole plan must be decided again
                let (after, wakes) = self.dequeue_started(suspending.joined);
                let Draft { entries, after: mut freed, .. } = suspending.draft;
                freed.extend(after);
                let before = self.retry_wakes(&entries, turn.now());
                let draft = Draft { before, entries, after: freed, wakes, ..Draft::default() };
                self.keep_outcomes(draft, KeepReason::Overtaken, turn)
            }
            (Some(of), Input::Tickets(limits)) => {
                self.drop_tickets(&of, &limits, &mut suspending, turn.now());
                self.write(suspending.draft, Ack::Now, Next::LeaveOrKeep, turn)
            }
            (ticket, input) => self.reject(&ticket, &input, turn),
        }
    }

    /// Returns removals of tickets, and wakes for their steps, if another hop has started their
    /// attempts in the meantime. The wakes are needed because a later attempt may find a ticket
    /// before its removal and rely on it.
    fn dequeue_started(&self, joined: Vec<(StepId, u32)>) -> (Vec<LateWrite>, Vec<Wake>) {
        let (mut after, mut wakes) = (Vec::new(), Vec::new());
        for (step, attempt) in joined {
            let Some(state) = self.run.steps.get(&step).filter(|state| state.attempt >= attempt) else { continue };
            after.extend(self.dequeue(&RunOrStep::Step(step.clone())));
            if !is_settled(state) {
                wakes.push(self.wake(WakeCause::Step(step)));
            }
        }
        (after, wakes)
    }

    /// Adds the copies of the wake. If this wake promoted a ticket that no ready step needs, looks
    /// up that ticket. It is the ticket of the run's creation, or the ticket of the step that the
    /// wake names.
    fn leave_wakes(&mut self, mut suspending: Suspending, turn: &mut Turn<'_>) -> ActivePhase {
        let Suspending { plan, draft, is_unasked, .. } = &mut suspending;
        self.wake_again(plan, turn.now(), draft);
        let unused = match self.cause().step() {
            Some(step) if plan.ready.iter().all(|ready| ready.step != *step) => Some(RunOrStep::Step(step.clone())),
            None if *is_unasked && self.run.started_at.is_none() => Some(RunOrStep::Run),
            Some(_) | None => None,
        };
        let Some(of) = unused.filter(|_| !self.limits.of_steps.is_empty()) else {
            return self.write(suspending.draft, Ack::Now, Next::LeaveOrKeep, turn);
        };
        let place = TicketSearch::OwnAtHead(of.clone());
        turn.emit(Effect::FindTickets { limits: self.limits.of_steps.clone(), place });
        suspending.ticket = Some(of);
        ActivePhase::Suspending(Box::new(suspending))
    }

    /// Removes the unused ticket, so that the next ticket can be promoted (rule 24). Another hop
    /// may have enqueued the step in the meantime and rely on the ticket. Therefore the step is
    /// woken once more, unless it has its outcome.
    fn drop_tickets(&self, of: &RunOrStep, limits: &[Limit], suspending: &mut Suspending, now: Timestamp) {
        let run = self.run.run;
        for limit in limits {
            let leave = LateWrite::Dequeue { limit: limit.clone(), run, of: Some(of.clone()) };
            suspending.draft.after.push(leave);
            self.wake_dequeued(of, suspending, now);
        }
    }

    /// Adds a wake for the step or the run of a removed ticket.
    fn wake_dequeued(&self, of: &RunOrStep, suspending: &mut Suspending, now: Timestamp) {
        let Suspending { plan, draft, .. } = suspending;
        let RunOrStep::Step(step) = of else {
            // only steps that became due since the check may need the ticket
            if plan.later.iter().any(|(_, due)| *due <= now) {
                draft.wakes.push(self.wake(WakeCause::Next));
            }
            return;
        };
        if self.run.steps.get(step).is_none_or(is_settled) {
            return;
        }
        let cause = WakeCause::Step(step.clone());
        match plan.later.iter().find(|(later, _)| later == step) {
            Some((_, due)) => draft.before.push(self.wake_at(cause, *due, now)),
            // this wake is sent after the ticket is removed, because a hop before that would rely
            // on the ticket
            None => draft.wakes.push(self.wake(cause)),
        }
    }
}

/// Returns whether a step has its outcome, or needs none because it was abandoned.
fn is_settled(step: &Step) -> bool {
    step.state.is_settled()
}
