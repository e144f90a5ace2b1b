//! What happens before a run starts: deadlines, missed ticks, delays, pauses, flow control, runs
//! that are replaced, and callers that have ended.

use std::time::Duration;

use crate::flow::FlowControl;
use crate::hop::active::{ActiveHop, ActivePhase, Turn};
use crate::hop::effect::{EarlyWrite, Effect, LateWrite, TicketSearch};
use crate::hop::input::Input;
use crate::hop::writing::{Ack, Draft, Next};
use crate::journal::{Fact, RunOrigin};
use crate::slot::{self, Limit};
use crate::spec::LazyExprScope;
use crate::state::RunState;
use crate::{Timestamp, WakeCause};

/// How early the wake of a deadline may arrive, because clocks differ.
const EARLY: Duration = Duration::from_secs(60);

/// What the hop is waiting for before a run starts.
#[derive(Clone, Debug)]
pub(super) enum Admitting {
    /// The result of checking whether the function is paused.
    Pause,
    /// The decision of flow control.
    FlowControl,
    /// The cancellation of the run that this run replaces.
    Replaced,
    /// The result of checking whether the run's caller has ended.
    Caller,
    /// The wait queues that contain the run's ticket. The run is about to leave these queues.
    Tickets(Delay),
}

/// Why a run does not start yet.
#[derive(Clone, Copy, Debug)]
pub(super) enum Delay {
    /// The start of the run is due later.
    Due(Timestamp),
    /// The function is paused. When it is resumed, the run is woken.
    Paused,
    /// The rate has room for the run at this later time.
    Booked(Timestamp),
}

impl ActiveHop {
    /// Ends a run after its deadline. If the wake of the deadline arrived a little early, it is
    /// sent again.
    pub(super) fn enforce_deadline(&mut self, turn: &mut Turn<'_>) -> ActivePhase {
        let now = turn.now();
        self.resend_early_heartbeat(now);
        let due = match self.run.end {
            None => deadline(&self.spec().flow, &self.run),
            Some(_) => None,
        };
        match due {
            Some((due, reason)) if now >= due => {
                let end = Fact::RunCancelled { reason: reason.into() }.into_entry(now);
                self.write(Draft::of(vec![end]), Ack::Later, Next::Deadline, turn)
            }
            Some((due, _)) if *self.cause() == WakeCause::Deadline && due.since(now) <= EARLY => {
                // this wake is sent with the next write
                self.debts.early_timer = Some(EarlyWrite::Wake { wake: self.wake(WakeCause::Deadline), due });
                self.admit(turn)
            }
            Some(_) | None => self.admit(turn),
        }
    }

    /// If the wake is for a heartbeat that is due later, because clocks differ, it is sent again
    /// with the next write. If the heartbeat has come since, a later wake was written with it.
    fn resend_early_heartbeat(&mut self, now: Timestamp) {
        let WakeCause::Heartbeat { step, due } = self.cause() else { return };
        let current = self.run.steps.get(step).and_then(|step| step.state.heartbeat_due());
        if self.run.end.is_none() && current == Some(*due) && now < *due {
            self.debts.early_timer = Some(self.wake_at(self.cause().clone(), *due, now));
        }
    }

    /// Checks whether a run that has not started may start.
    pub(super) fn admit(&mut self, turn: &mut Turn<'_>) -> ActivePhase {
        if self.run.end.is_some() || self.run.first_run_at.is_some() {
            return self.prepare(turn);
        }
        // this comes before the check for a pause, because missed ticks of a paused function are
        // not kept
        if let Some(reason) = self.missed_tick(turn.now()) {
            let queue = slot::pause_key(&self.run.created.function);
            let mut draft = Draft::of(vec![Fact::RunSkipped { reason: reason.into() }.into_entry(turn.now())]);
            draft.after.push(LateWrite::DequeuePaused { queue, run: self.run.run });
            return self.write(draft, Ack::Later, Next::Admit, turn);
        }
        if let Some(due) = self.run.begins_at().filter(|due| *due > turn.now()) {
            if *self.cause() == WakeCause::Slot || self.is_redelivered() {
                return self.leave_wait_queues(Delay::Due(due), turn);
            }
            return self.delay(Delay::Due(due), Vec::new(), turn);
        }
        turn.emit(Effect::AskIfPaused);
        ActivePhase::Admitting(Admitting::Pause)
    }

    /// Handles the next input while the run is being admitted.
    pub(super) fn admit_on(&mut self, phase: Admitting, input: Input, turn: &mut Turn<'_>) -> ActivePhase {
        match (phase, input) {
            (Admitting::Pause, Input::Paused(true)) => self.leave_wait_queues(Delay::Paused, turn),
            (Admitting::Pause, Input::Paused(false)) if self.progress.is_admitted || self.run.admitted => {
                self.cancel_replaced_run(turn)
            }
            (Admitting::Pause, Input::Paused(false)) => {
                turn.emit(Effect::AskFlowControl);
                ActivePhase::Admitting(Admitting::FlowControl)
            }
            // rule 32: a run that missed its time starts when the rate has room, spaced from the
            // runs that started in the meantime
            (Admitting::FlowControl, Input::Admission(Some(due))) => self.leave_wait_queues(Delay::Booked(due), turn),
            (Admitting::FlowControl, Input::Admission(None)) => {
                self.progress.is_admitted = self.spec().records_admission(&self.run.created.origin);
                self.cancel_replaced_run(turn)
            }
            (Admitting::Replaced, Input::Done) => self.find_caller(turn),
            (Admitting::Caller, Input::Found(found)) if found.as_ref().is_some_and(|caller| caller.end.is_some()) => {
                let end = Fact::RunCancelled { reason: "the run that called it has ended".into() };
                self.write(Draft::of(vec![end.into_entry(turn.now())]), Ack::Later, Next::Admit, turn)
            }
            (Admitting::Caller, Input::Found(_)) => self.close_collection(turn),
            (Admitting::Tickets(delay), Input::Tickets(limits)) => self.delay(delay, limits, turn),
            (phase, input) => self.reject(&phase, &input, turn),
        }
    }

    /// Requests that the run that this run replaces is cancelled.
    fn cancel_replaced_run(&mut self, turn: &mut Turn<'_>) -> ActivePhase {
        if self.run.created.replaces.is_none() {
            return self.find_caller(turn);
        }
        turn.emit(Effect::CancelReplaced);
        ActivePhase::Admitting(Admitting::Replaced)
    }

    /// Requests to find the run's caller, if the run must end when its caller ends.
    fn find_caller(&mut self, turn: &mut Turn<'_>) -> ActivePhase {
        match &self.run.created.origin {
            RunOrigin::Invoke { parent, .. } if self.run.created.bound => {
                turn.emit(Effect::FindRun(*parent));
                ActivePhase::Admitting(Admitting::Caller)
            }
            RunOrigin::Invoke { .. }
            | RunOrigin::Event
            | RunOrigin::Failure { .. }
            | RunOrigin::Rerun { .. }
            | RunOrigin::Cron => self.close_collection(turn),
        }
    }

    /// Stops collecting events for the run. If an event joined the run just before this, it may
    /// have delayed the start.
    fn close_collection(&mut self, turn: &mut Turn<'_>) -> ActivePhase {
        if !self.run.collecting {
            return self.prepare(turn);
        }
        self.write(Draft::of(vec![Fact::CollectingEnded.into_entry(turn.now())]), Ack::Later, Next::Admit, turn)
    }

    /// Removes the tickets that the run got at its creation, so that other runs can use the slots
    /// while this run is delayed. Later the run is enqueued again with its original time.
    fn leave_wait_queues(&mut self, delay: Delay, turn: &mut Turn<'_>) -> ActivePhase {
        let scope = &mut LazyExprScope::new(&self.run.created.event);
        let (of_steps, of_run) = (self.spec().limits(scope), self.spec().run_limits(scope));
        let limits: Vec<Limit> = of_steps.into_iter().chain(of_run).flatten().collect();
        if limits.is_empty() {
            return self.delay(delay, limits, turn);
        }
        turn.emit(Effect::FindTickets { limits, place: TicketSearch::OfRun });
        ActivePhase::Admitting(Admitting::Tickets(delay))
    }

    /// Writes a later wake for the run, and acknowledges the current one. The run leaves the queues
    /// of `leaves`.
    fn delay(&mut self, delay: Delay, leaves: Vec<Limit>, turn: &mut Turn<'_>) -> ActivePhase {
        let (run, now) = (self.run.run, turn.now());
        let dequeue = |limit: &Limit| LateWrite::Dequeue { limit: limit.clone(), run, of: None };
        let mut draft = Draft { after: leaves.iter().map(dequeue).collect(), frees: leaves, ..Draft::default() };
        if !draft.frees.is_empty() {
            // before the tickets are removed, a hop after the function is resumed may find these
            // tickets and rely on them
            draft.wakes.push(self.wake(WakeCause::Next));
        }
        match delay {
            Delay::Paused => {}
            Delay::Due(due) => draft.before.push(self.wake_at(WakeCause::Due, due, now)),
            Delay::Booked(due) => {
                draft.before.push(self.wake_at(WakeCause::Due, due, now));
                draft.entries.push(Fact::RunDelayed { begins_at: due }.into_entry(now));
            }
        }
        self.write(draft, Ack::Now, Next::LeaveOrAdmit, turn)
    }

    /// Returns why the run of a tick must not start any more; `None` if it may start.
    fn missed_tick(&self, now: Timestamp) -> Option<&'static str> {
        let (spec, run) = (self.spec(), &self.run);
        if run.created.origin != RunOrigin::Cron || run.admitted {
            return None;
        }
        let minute = run.created.event.ts.minute();
        let due = spec.schedule.due(&spec.id, minute);
        spec.schedule.missed_reason(&spec.id, minute, due.max(run.begins_at().unwrap_or(due)), now)
    }
}

/// Returns the deadline for the start or the end of the run, with the error message for a run that
/// misses it.
fn deadline(flow: &FlowControl, state: &RunState) -> Option<(Timestamp, String)> {
    match state.first_run_at {
        None => {
            let within = flow.start_within?;
            // a delay that the event itself requested does not count
            let from = state.created_at.max(state.due_at().unwrap_or_default());
            Some((from + within, format!("it had not begun {within:?} after its creation, or after its event's `ts`")))
        }
        Some(begun) => {
            let within = flow.finish_within?;
            Some((begun + within, format!("it had not ended {within:?} after its beginning")))
        }
    }
}
