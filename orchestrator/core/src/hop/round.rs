//! A round of a hop: acquires the slots of the run, checks the inbox, waits for the handler's
//! retry, and opens a new execution of the function. A new round starts whenever the run must be
//! decided again from its journal.

use crate::Event;
use crate::EventId;
use crate::WakeCause;
use crate::hop::active::{ActiveHop, ActivePhase, Turn};
use crate::hop::effect::{Effect, LateWrite, LogEvent, Opening, SlotRequest, Write};
use crate::hop::ending::holds_slot;
use crate::hop::input::{Input, SlotAnswer};
use crate::hop::lines::HandlerLog;
use crate::hop::progress::{Execution, RunLimits, release};
use crate::hop::timing::GivenUpTicket;
use crate::hop::writing::{Ack, Draft, Next};
use crate::journal::{Entry, Fact, Failure};
use crate::slot::{Holder, Limit};
use crate::spec::LazyExprScope;
use crate::waiting::ArrivingEvent;
use crate::{Timestamp, state::RunState};

/// What the hop is waiting for before the first round.
#[derive(Clone, Debug)]
pub(super) enum Preparing {
    /// The slots that attempts of the run hold.
    Holders,
    /// The release of slots that are no longer needed.
    Release,
    /// The promotion of tickets.
    Promote,
}

/// What the hop is waiting for before the run can continue.
#[derive(Clone, Debug)]
pub(super) enum RunSlots {
    /// A slot of each limit on runs.
    Slots,
    /// The release of the slots of ended runs.
    ReleaseEnded,
}

impl ActiveHop {
    /// Evaluates the limits of the run. If a key cannot be evaluated, the run fails. If the run has
    /// already ended, it has no slots.
    pub(super) fn prepare(&mut self, turn: &mut Turn<'_>) -> ActivePhase {
        match self.limits_of(&self.run) {
            Ok(limits) => {
                self.limits = limits;
                self.redo_releases(turn)
            }
            Err(_) if self.run.end.is_some() => self.redo_releases(turn),
            Err(error) => self.write(
                Draft::of(vec![Fact::RunFailed { error }.into_entry(turn.now())]),
                Ack::Later,
                Next::Prepare,
                turn,
            ),
        }
    }

    fn limits_of(&self, run: &RunState) -> Result<RunLimits, Failure> {
        let scope = &mut LazyExprScope::new(&run.created.event);
        let spec = self.spec();
        let limits =
            spec.limits(scope).and_then(|of_steps| Ok(RunLimits { of_steps, of_run: spec.run_limits(scope)? }));
        limits.map_err(|bad| Failure::new(format!("the key of a concurrency limit: {bad}")))
    }

    /// Repeats releases and promotions (rule 22). An earlier worker may have died between an
    /// outcome and the release of its slot, or between the release and the promotion. The watchdog
    /// repeats them too, because a stalled worker may have enqueued a run that had ended.
    pub(super) fn redo_releases(&mut self, turn: &mut Turn<'_>) -> ActivePhase {
        let is_needed = self.is_redelivered() || *self.cause() == WakeCause::Watchdog;
        self.progress.had_ended = self.run.end.is_some();
        if !is_needed || self.limits.of_steps.is_empty() || self.progress.had_ended {
            return self.begin_round(turn);
        }
        turn.emit(Effect::FindHolders(self.limits.of_steps.clone()));
        ActivePhase::Preparing(Preparing::Holders)
    }

    pub(super) fn prepare_on(&mut self, phase: Preparing, input: Input, turn: &mut Turn<'_>) -> ActivePhase {
        match (phase, input) {
            (Preparing::Holders, Input::Holders(held)) => {
                let after = self.settled_releases(held);
                if after.is_empty() {
                    return self.promote_before_round(turn);
                }
                turn.emit(Effect::Write(Box::new(Write { after, ..Write::default() })));
                ActivePhase::Preparing(Preparing::Release)
            }
            (Preparing::Release, Input::Written(_)) => self.promote_before_round(turn),
            (Preparing::Promote, Input::Done) => self.begin_round(turn),
            (phase, input) => self.reject(&phase, &input, turn),
        }
    }

    fn promote_before_round(&mut self, turn: &mut Turn<'_>) -> ActivePhase {
        turn.emit(Effect::Promote(self.limits.of_steps.clone()));
        ActivePhase::Preparing(Preparing::Promote)
    }

    /// Returns the writes that release slots for which the journal shows no running attempt (rules
    /// 20 and 22).
    pub(super) fn settled_releases(&self, held: Vec<(Limit, Holder)>) -> Vec<LateWrite> {
        let is_settled = |(_, holder): &(Limit, Holder)| holder.run() == self.run.run && !holds_slot(&self.run, holder);
        held.into_iter().filter(is_settled).map(release).collect()
    }

    /// Starts a new round, which decides from the journal again.
    pub(super) fn begin_round(&mut self, turn: &mut Turn<'_>) -> ActivePhase {
        if std::mem::take(&mut self.execution).is_open {
            turn.emit(Effect::Close);
        }
        if let Some(end) = self.run.end.clone() {
            return self.begin_ending(end, turn);
        }
        if self.limits.of_run.is_empty() || self.run.first_run_at.is_some() {
            return self.check_inbox(turn);
        }
        turn.emit(Effect::Acquire(Box::new(SlotRequest {
            limits: self.limits.of_run.clone(),
            holder: Holder::Run(self.run.run),
            lease_until: Timestamp::MAX,
            by_itself: false,
        })));
        ActivePhase::RunSlots(RunSlots::Slots)
    }

    /// Continues if the run has a slot of each limit on runs. Otherwise the run was enqueued, and
    /// its wake is acknowledged.
    pub(super) fn acquire_run_on(&mut self, phase: RunSlots, input: Input, turn: &mut Turn<'_>) -> ActivePhase {
        match (phase, input) {
            (RunSlots::Slots, Input::Slots(SlotAnswer::Acquired)) => self.check_inbox(turn),
            (RunSlots::Slots, Input::Slots(SlotAnswer::Queued { .. })) if *self.cause() == WakeCause::Watchdog => {
                turn.emit(Effect::ReleaseEnded(self.limits.of_run.clone()));
                ActivePhase::RunSlots(RunSlots::ReleaseEnded)
            }
            (RunSlots::Slots, Input::Slots(SlotAnswer::Queued { .. })) | (RunSlots::ReleaseEnded, Input::Done) => {
                self.write(Draft::default(), Ack::Now, Next::LeaveOrRound, turn)
            }
            (phase, input) => self.reject(&phase, &input, turn),
        }
    }

    /// Returns whether to check the inbox now. It is checked only once a wait is in the journal.
    /// The index is written before the journal, so an event may find the subscription but not the
    /// wait.
    pub(super) fn must_check_inbox(&self) -> bool {
        self.progress.checks_inbox && self.run.awaits_events()
    }

    fn check_inbox(&mut self, turn: &mut Turn<'_>) -> ActivePhase {
        if self.must_check_inbox() {
            turn.emit(Effect::ReadInbox);
            return ActivePhase::Inbox { is_open: false };
        }
        self.retry_or_open(turn)
    }

    /// Delivers the events in the inbox that match an open wait, and drops the others.
    pub(super) fn deliver_from_inbox(
        &mut self,
        offered: Vec<(EventId, Option<Event>)>,
        is_open: bool,
        turn: &mut Turn<'_>,
    ) -> ActivePhase {
        self.progress.checks_inbox = false;
        if offered.is_empty() {
            return self.after_inbox(is_open, turn);
        }
        let mut entries: Vec<Entry> = Vec::new();
        for event in offered.iter().filter_map(|(_, event)| event.as_ref()) {
            let steps = self.run.fulfilled_by(&ArrivingEvent::new(event), &self.invocation.worker.exprs);
            if steps.is_empty() {
                continue;
            }
            entries.push(Fact::EventDelivered { event: Box::new(event.clone()), steps }.into_entry(turn.now()));
            // an earlier event may have ended the wait
            if self.run.admits_all(&entries).is_err() {
                entries.pop();
            }
        }
        let run = self.run.run;
        let taken = offered.into_iter().map(|(event, _)| LateWrite::TakeFromInbox { run, event });
        let draft = Draft { entries, after: taken.collect(), ..Draft::default() };
        self.write(draft, Ack::Later, Next::Inbox { is_open }, turn)
    }

    pub(super) fn after_inbox(&mut self, is_open: bool, turn: &mut Turn<'_>) -> ActivePhase {
        if is_open { self.poll(Draft::default(), turn) } else { self.retry_or_open(turn) }
    }

    /// Leaves a run if its handler waits for its retry, because the wake of the retry was already
    /// written. Otherwise opens a new execution of the function.
    pub(super) fn retry_or_open(&mut self, turn: &mut Turn<'_>) -> ActivePhase {
        if let Some(due) = self.run.handler_retry_at.filter(|due| *due > turn.now()) {
            let mut draft = Draft::default();
            self.resend_if_early(due, turn.now(), &mut draft);
            if let Some(of) = self.ticket_to_give_up(due, turn.now(), &mut draft) {
                let wake = Some(self.wake(self.cause().clone()));
                return self.find_given_up_ticket(GivenUpTicket { draft, of, wake }, turn);
            }
            return self.write(draft, Ack::Now, Next::LeaveOrRound, turn);
        }
        if let Some(lease) = self.foreign_call(turn.now()) {
            return self.leave_call(lease, Draft::default(), turn);
        }
        self.choose_version(turn);
        let attempt = self.run.handler_attempt();
        self.execution = Execution { log: HandlerLog::in_attempt(attempt), ..Execution::default() };
        let (function, version) = (self.run.created.function.clone(), self.function.version.clone());
        let outcomes = self.run.outcomes.len();
        turn.emit(Effect::Open(Opening { function, version, attempt, outcomes }));
        ActivePhase::Opening
    }

    /// Selects the version of the function again, because another hop may have started the run with
    /// another version.
    fn choose_version(&mut self, turn: &mut Turn<'_>) {
        let chosen = self.versions.for_run(&self.run);
        self.function = chosen.function.clone();
        if chosen.is_other_version {
            let (own, now) = (self.run.version.clone(), self.function.version.clone());
            turn.log(LogEvent::OtherVersion { own, now });
        }
    }

    /// Polls the new execution. If the function cannot decode the run's event, fails the run.
    pub(super) fn on_opened(&mut self, opened: Result<usize, Box<Failure>>, turn: &mut Turn<'_>) -> ActivePhase {
        match opened {
            Ok(seen) => {
                (self.execution.is_open, self.execution.shown) = (true, seen);
                self.advance(turn)
            }
            Err(error) => {
                let failed = Fact::RunFailed { error: *error }.into_entry(turn.now());
                self.write(Draft::of(vec![failed]), Ack::Later, Next::Round, turn)
            }
        }
    }
}
