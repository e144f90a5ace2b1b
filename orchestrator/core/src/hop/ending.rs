//! The work that follows the last entry of a run. Every later wake of the run repeats this work
//! (rules 22 and 28), so that a crash in the middle loses nothing.

use crate::hop::active::{ActiveHop, ActivePhase, Turn};
use crate::hop::announce::end_data;
use crate::hop::catalog::{Catalog, Versions};
use crate::hop::effect::{Effect, LateWrite, TicketSearch, Write};
use crate::hop::input::Input;
use crate::journal::{NewRun, RunOrigin};
use crate::slot::{Holder, Limit};
use crate::state::{RunEnd, RunOutcome, RunState, StepState};
use crate::system::FUNCTION_FAILED;
use crate::trace::{RunTrace, SpanOf};
use crate::{Event, EventId, OwnStep, RunId, Wake, WakeCause};

/// The work that follows the end of a run.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    end: RunEnd,
    stage: Stage,
}

/// What the hop is waiting for.
#[derive(Clone, Debug)]
enum Stage {
    /// The repetition of a promotion that failed earlier in this hop.
    Promotion,
    /// The cancellation of called runs.
    Children,
    /// The creation of the failure handler's run.
    FailureRun,
    /// The announcement of the end.
    Announcement,
    /// The slots that the run holds.
    Holders,
    /// The queues that contain the run's tickets. Contains the slots to release.
    Tickets(Vec<LateWrite>),
    /// The release of slots and the removal of tickets.
    Free,
    /// The promotion of tickets of other runs.
    Promote,
    /// The last write: the row, the wake of the caller and the acknowledgement.
    Last,
}

impl ActiveHop {
    /// Starts the work that follows the end of a run.
    pub(super) fn begin_ending(&mut self, end: RunEnd, turn: &mut Turn<'_>) -> ActivePhase {
        if self.debts.unpromoted.is_some() {
            turn.emit(Effect::Promote(self.limits.of_steps.clone()));
            return self.ending(end, Stage::Promotion);
        }
        self.cancel_children(end, turn)
    }

    /// Handles the next input during the work that follows the end of the run.
    pub(super) fn end_on(&mut self, ending: Ending, input: Input, turn: &mut Turn<'_>) -> ActivePhase {
        let Ending { end, stage } = ending;
        match (stage, input) {
            (Stage::Promotion, Input::Done) => {
                self.debts.unpromoted = None;
                self.cancel_children(end, turn)
            }
            (Stage::Children, Input::Done) => self.start_failure_run(end, turn),
            (Stage::FailureRun, Input::Done) => self.announce_end(end, turn),
            (Stage::Announcement, Input::Done) => self.free_slots(end, turn),
            (Stage::Holders, Input::Holders(held)) => {
                let releases = self.settled_releases(held);
                let had_a_turn = *self.cause() == WakeCause::Slot || self.cause().step().is_some();
                // the wake may belong to a promoted ticket that the journal does not mention
                let place = match self.progress.had_ended && had_a_turn && !self.must_redo() {
                    true => TicketSearch::AtHeadOrOfRun,
                    false => TicketSearch::OfRun,
                };
                turn.emit(Effect::FindTickets { limits: self.all_limits(), place });
                self.ending(end, Stage::Tickets(releases))
            }
            (Stage::Tickets(releases), Input::Tickets(found)) => {
                // tickets are promoted only if a slot was freed, or if a worker that died may have
                // freed one; promoting at every repetition would multiply wakes without end
                if releases.is_empty() && found.is_empty() && !self.must_redo() {
                    return self.finish(end, turn);
                }
                let run = self.run.run;
                let leave = |limit| LateWrite::Dequeue { limit, run, of: None };
                let after = releases.into_iter().chain(self.all_limits().into_iter().map(leave)).collect();
                // slots are released and tickets removed before waiting tickets are looked up
                turn.emit(Effect::Write(Box::new(Write { after, ..Write::default() })));
                self.ending(end, Stage::Free)
            }
            (Stage::Free, Input::Written(_)) => {
                turn.emit(Effect::Promote(self.all_limits()));
                self.ending(end, Stage::Promote)
            }
            (Stage::Promote, Input::Done) => self.finish(end, turn),
            (Stage::Last, Input::Written(_)) => self.leave(turn),
            (stage, input) => self.reject(&stage, &input, turn),
        }
    }

    fn ending(&self, end: RunEnd, stage: Stage) -> ActivePhase {
        ActivePhase::Ending(Box::new(Ending { end, stage }))
    }

    /// Cancels the called runs that must end with this run. A called run that is created later will
    /// find that its caller has ended.
    fn cancel_children(&mut self, end: RunEnd, turn: &mut Turn<'_>) -> ActivePhase {
        let mut runs: Vec<RunId> = self.run.bound_children().collect();
        if runs.is_empty() {
            return self.start_failure_run(end, turn);
        }
        runs.sort_unstable();
        let reason = format!("run {}, which called it, has ended", self.run.run).into();
        turn.emit(Effect::CancelRuns { runs, reason });
        self.ending(end, Stage::Children)
    }

    fn start_failure_run(&mut self, end: RunEnd, turn: &mut Turn<'_>) -> ActivePhase {
        let Some(run) = failure_run(&self.versions, &self.run, &end) else { return self.announce_end(end, turn) };
        turn.emit(Effect::StartRun(Box::new(run)));
        self.ending(end, Stage::FailureRun)
    }

    fn announce_end(&mut self, end: RunEnd, turn: &mut Turn<'_>) -> ActivePhase {
        if !self.catalog.listeners().has_listener(&end) {
            return self.free_slots(end, turn);
        }
        turn.emit(Effect::AnnounceEnd(Box::new(end.clone())));
        self.ending(end, Stage::Announcement)
    }

    fn free_slots(&mut self, end: RunEnd, turn: &mut Turn<'_>) -> ActivePhase {
        let limits = self.all_limits();
        if limits.is_empty() {
            return self.finish(end, turn);
        }
        turn.emit(Effect::FindHolders(limits));
        self.ending(end, Stage::Holders)
    }

    /// Writes the row of the run, wakes the caller, and acknowledges the wake.
    fn finish(&mut self, end: RunEnd, turn: &mut Turn<'_>) -> ActivePhase {
        let EndWrites { after, wakes } = EndWrites::of(&self.run, &end, &self.catalog);
        turn.emit(Effect::Write(Box::new(Write { after, wakes, acknowledges: true, ..Write::default() })));
        self.ending(end, Stage::Last)
    }

    /// Returns whether a worker may have died in the middle of this work, so that all of it must be
    /// repeated.
    fn must_redo(&self) -> bool {
        self.is_redelivered() || self.progress.had_ended && *self.cause() == WakeCause::Watchdog
    }

    fn all_limits(&self) -> Vec<Limit> {
        [&self.limits.of_steps[..], &self.limits.of_run].concat()
    }
}

/// Returns whether the end of a run needs more than the write of its last entry.
pub(super) fn needs_finishing_work(hop: &ActiveHop, end: &RunEnd) -> bool {
    !hop.all_limits().is_empty()
        || hop.run.bound_children().next().is_some()
        || failure_run(&hop.versions, &hop.run, end).is_some()
        || hop.catalog.listeners().has_listener(end)
}

/// The parts of the last write of an ended run.
#[derive(Debug)]
pub(super) struct EndWrites {
    /// The row of the run, and the removal of the subscriptions that would cancel it.
    pub(super) after: Vec<LateWrite>,
    /// The wake of the caller. The caller is woken after every kind of end (rule 19).
    pub(super) wakes: Vec<Wake>,
}

impl EndWrites {
    pub(super) fn of(run: &RunState, end: &RunEnd, catalog: &Catalog) -> Self {
        let mut after = vec![LateWrite::MarkEnded { run: run.run, at: end.at, status: end.how.status() }];
        if let Some(function) = catalog.newest(&run.created.function) {
            let flow = &function.spec.flow;
            let cancellers = flow.cancel_subscriptions(run.run, &run.created.event, run.created_at);
            after.extend(cancellers.into_iter().map(LateWrite::Unsubscribe));
        }
        let mut wakes = Vec::new();
        if let RunOrigin::Invoke { parent, .. } = &run.created.origin {
            wakes.push(Wake { run: *parent, cause: WakeCause::ChildEnded, group: run.created.function.clone() });
        }
        Self { after, wakes }
    }
}

/// Returns the run that handles the failure of this run, if its function has a failure handler.
fn failure_run(versions: &Versions, run: &RunState, end: &RunEnd) -> Option<(RunId, NewRun)> {
    let RunOutcome::Failed(_) = &end.how else { return None };
    let function = versions.for_run(run).function.spec.on_failure.clone()?;
    let handler = run.run.on_failure_of(end.at);
    let event = Event {
        id: EventId::from_bytes(handler.to_bytes()),
        name: FUNCTION_FAILED.into(),
        data: end_data(FUNCTION_FAILED, run, end),
        ts: end.at,
        user: None,
        external_id: None,
        received_at: end.at,
        trace: RunTrace::of(run.run, &run.created).context_to_send(SpanOf::Run),
    };
    Some((handler, NewRun::new(function, event, RunOrigin::Failure { of: run.run })))
}

/// Returns whether a holder still needs its slot: according to the journal it is running, or it may
/// be about to start. A step's slot is acquired before its `StepStarted` entry is written (rule
/// 20).
pub fn holds_slot(run: &RunState, holder: &Holder) -> bool {
    let Holder::Attempt { step, attempt, hop, .. } = holder else { return run.end.is_none() };
    let attempt = *attempt;
    // a hop that took an attempt of the step back leaves the next attempt to another hop
    if run.steps.get(step).is_some_and(|step| step.taken_back_by.contains(hop)) {
        return false;
    }
    if OwnStep::from_id(step) == Some(OwnStep::Call) {
        let is_open = run.call.as_ref().is_some_and(|call| call.number == attempt);
        // the call of a cancelled run may still be executing; its own worker releases the slot
        return is_open || run.end.is_none() && attempt > run.calls;
    }
    if run.end.is_some() {
        // the body of a cancelled run may still be executing; its own worker releases the slot
        return matches!(run.steps.get(step), Some(s) if s.attempt == attempt && matches!(s.state, StepState::Running { .. }));
    }
    match run.steps.get(step) {
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
