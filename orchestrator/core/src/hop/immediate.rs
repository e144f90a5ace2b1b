//! Immediate execution: an executor that executes steps while it is polled. Each poll is a call
//! with a lease of its own.
//!
//! The call acquires the slots of the function's step limits, and its start is written to the
//! journal before it begins. Until the call ends, no other hop calls the executor for the run, and
//! no step starts. The end of the call, the starts and the outcomes of its steps are one record,
//! together with the start of the next call. If the worker of a call died, another worker continues
//! after the lease has expired, even if it is alone: the executor may still execute the call.

use std::time::Duration;

use crate::hop::active::{ActiveHop, ActivePhase, Turn};
use crate::hop::effect::{EarlyWrite, Effect, SlotRequest};
use crate::hop::input::{AdvisedFailure, Input, PollResult, Polled, SlotAnswer};
use crate::hop::keeping::KeepReason;
use crate::hop::timing::{EARLY, MARGIN};
use crate::hop::writing::{Ack, Draft, Next};
use crate::journal::{Entry, Fact, Failure, Record};
use crate::limits::INTERRUPTIONS;
use crate::state::{ExecutorCall, StepState};
use crate::{ErrorCode, OwnStep, RunOrStep, StepId, Timestamp, WakeCause};

/// The least time after which the wake of a step looks again whether a call has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// What the hop is waiting for before a call starts.
#[derive(Clone, Debug)]
pub(super) enum BeforeCall {
    /// The slots of the call.
    Slots(Draft),
    /// The lease wakes of its limits' queues are passed on.
    LeaseWakes(Draft),
    /// The entries of other hops, after the call was enqueued.
    Entries(Draft),
}

/// A call of the executor that this hop has started.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenCall {
    number: u32,
    began: Timestamp,
    /// The time at which the call's timeout ends.
    expires: Timestamp,
}

impl OpenCall {
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn began(&self) -> Timestamp {
        self.began
    }
}

impl ActiveHop {
    /// Returns the time at which the timeout of the open call ends.
    pub(super) fn call_expires(&self) -> Option<Timestamp> {
        self.execution.call.map(|call| call.expires)
    }

    /// Returns until when the call of another hop may continue. This includes the call of a dead
    /// process: the program with the functions is another process, which may still execute a step.
    pub(super) fn foreign_call(&self, now: Timestamp) -> Option<Timestamp> {
        self.run.call.as_ref().map(|call| call.lease_until).filter(|lease| now < *lease)
    }

    /// Returns the call that is in progress according to the journal, unless the draft ends it.
    fn unfinished_call(&self, draft: &Draft) -> Option<&ExecutorCall> {
        let ends = |entry: &Entry| matches!(entry.fact, Fact::CallEnded { .. });
        self.run.call.as_ref().filter(|_| !draft.entries.iter().any(ends))
    }

    /// Leaves a run if another hop is calling its executor. A copy of the wake is due after the
    /// lease of that call (rule 10). The hop that ends the call sees everything that the other
    /// causes stand for. But a step with a wake of its own starts only with that wake, so its copy
    /// comes back as soon as the call has taken twice as long as it has by now.
    pub(super) fn leave_call(&mut self, lease_until: Timestamp, mut draft: Draft, turn: &mut Turn<'_>) -> ActivePhase {
        if !self.execution.bodies.is_empty() {
            return self.leave_or_await(draft, turn);
        }
        let longest = turn.now() + self.invocation.worker.max_delay;
        let mut due = (lease_until + Duration::from_millis(1)).min(longest);
        if let Some(call) = self.run.call.as_ref().filter(|_| self.wake_starts_step(turn.now())) {
            due = due.min(turn.now() + turn.now().since(call.began).max(LOOK_AGAIN));
        }
        let cause = self.cause().clone().replaced_unless_needed(WakeCause::Lease);
        draft.before.push(EarlyWrite::Wake { wake: self.wake(cause), due });
        self.leave_or_await(draft, turn)
    }

    /// Returns whether the wake is for a step that may start now.
    fn wake_starts_step(&self, now: Timestamp) -> bool {
        let Some(step) = self.cause().step().and_then(|step| self.run.steps.get(step)) else { return false };
        matches!(step.state, StepState::Wanted) || step.is_retry_due(now)
    }

    /// Leaves a run that this hop does not call now. Attempts that execute here go on.
    pub(super) fn leave_or_await(&mut self, draft: Draft, turn: &mut Turn<'_>) -> ActivePhase {
        if self.execution.bodies.is_empty() {
            return self.write(draft, Ack::Now, Next::LeaveOrKeep, turn);
        }
        match draft.is_empty() {
            true => self.await_bodies(None, turn),
            false => self.write(draft, Ack::Later, Next::Await, turn),
        }
    }

    /// Returns the ends of the sleeps that are due. The next call passes them to the function. The
    /// function would otherwise need another call to request each sleep again. While another hop
    /// calls the executor, they are left to it.
    pub(super) fn ended_sleeps(&self, now: Timestamp) -> Vec<Entry> {
        if self.foreign_call(now).is_some() {
            return Vec::new();
        }
        let end = |step: &StepId| match self.run.steps.get(step).map(|step| &step.state) {
            Some(StepState::Sleeping { until }) if *until <= now => Some((*until, step.clone())),
            _ => None,
        };
        let mut ended: Vec<(Timestamp, StepId)> = self.run.steps.keys().filter_map(end).collect();
        ended.sort();
        ended.into_iter().map(|(_, step)| Fact::SleepEnded { step }.into_entry(now)).collect()
    }

    /// Prepares the next call: acquires its slots, then writes its entry. The draft contains the
    /// outcomes of the previous call.
    pub(super) fn admit_call(&mut self, mut draft: Draft, turn: &mut Turn<'_>) -> ActivePhase {
        if let Some(lease) = self.foreign_call(turn.now()).filter(|_| self.unfinished_call(&draft).is_some()) {
            return self.leave_call(lease, draft, turn);
        }
        if self.is_redelivered() && self.unfinished_call(&draft).is_some() {
            // rule 14: a separate wake records the next interruption in the journal, without using
            // up the deliveries after which the queue gives up a message
            draft.wakes.push(self.wake(self.cause().clone().replaced_unless_needed(WakeCause::Lease)));
            return self.leave_or_await(draft, turn);
        }
        if let Some(cause) = self.hands_over_call(turn) {
            draft.wakes.push(self.wake(cause));
            draft.before.extend(self.heartbeat_again(turn.now()));
            return self.leave_or_await(draft, turn);
        }
        if self.limits.of_steps.is_empty() {
            return self.start_call(draft, turn);
        }
        if !draft.after.is_empty() {
            // a slot is released before the next one is acquired
            return self.write(draft, Ack::Later, Next::Show, turn);
        }
        turn.emit(Effect::Acquire(Box::new(SlotRequest {
            limits: self.limits.of_steps.clone(),
            holder: self.holder(&OwnStep::Call.id(), self.run.calls.saturating_add(1)),
            lease_until: self.time.lease_until,
            by_itself: false,
        })));
        ActivePhase::BeforeCall(Box::new(BeforeCall::Slots(draft)))
    }

    /// Returns the cause of the wake with which another invocation will call the executor; `None`
    /// if this invocation calls it. The first call needs enough time. Calls after a step was
    /// executed must be within the budget, like attempts.
    fn hands_over_call(&self, turn: &Turn<'_>) -> Option<WakeCause> {
        let fits = turn.now() + self.spec().timeout + MARGIN <= self.time.deadline;
        let worker = &self.invocation.worker;
        if self.progress.has_executed {
            return (!fits || !worker.goes_on || turn.at.is_stopping).then_some(WakeCause::Next);
        }
        let is_fresh = matches!(self.cause(), WakeCause::Fresh(_));
        // a step with a wake of its own starts only with a wake that names it
        (!fits && !is_fresh).then(|| WakeCause::Fresh(self.cause().step().cloned()))
    }

    /// Handles the next input while a call is being prepared.
    pub(super) fn admit_call_on(&mut self, before: BeforeCall, input: Input, turn: &mut Turn<'_>) -> ActivePhase {
        match (before, input) {
            (BeforeCall::Slots(draft), Input::Slots(SlotAnswer::Acquired)) => {
                turn.emit(Effect::PassOnLeaseWakes(self.limits.of_steps.clone()));
                ActivePhase::BeforeCall(Box::new(BeforeCall::LeaseWakes(draft)))
            }
            (BeforeCall::Slots(draft), Input::Slots(SlotAnswer::Queued { joined: true, .. })) => {
                turn.emit(Effect::ReadOn);
                ActivePhase::BeforeCall(Box::new(BeforeCall::Entries(draft)))
            }
            // the promotion of the ticket will wake the run
            (BeforeCall::Slots(draft), Input::Slots(SlotAnswer::Queued { joined: false, .. })) => {
                self.leave_or_await(draft, turn)
            }
            (BeforeCall::LeaseWakes(draft), Input::Done) => self.start_call(draft, turn),
            (BeforeCall::Entries(draft), Input::Entries(records)) => self.enqueued_call(draft, &records, turn),
            (before, input) => self.reject(&before, &input, turn),
        }
    }

    /// Leaves the run after its call was enqueued, unless another hop has written in between. That
    /// hop may have called the executor without finding the ticket, so the ticket is removed (rule
    /// 21). A hop that found the ticket before its removal relies on it. This hop decides again and
    /// leaves a wake or a ticket of its own, so no further wake is needed: with one more each time,
    /// two hops of a run would multiply their wakes.
    fn enqueued_call(&mut self, draft: Draft, records: &[Record], turn: &mut Turn<'_>) -> ActivePhase {
        let number = self.run.calls.saturating_add(1);
        if let Err(fault) = self.read_on(records) {
            return self.keep(draft, KeepReason::Failure(fault), turn);
        }
        if records.is_empty() {
            return self.leave_or_await(draft, turn);
        }
        let mut again = Draft { before: self.retry_wakes(&draft.entries, turn.now()), ..draft };
        if self.run.calls >= number {
            again.after.extend(self.dequeue(&RunOrStep::Step(OwnStep::Call.id())));
        }
        self.keep_outcomes(again, KeepReason::Overtaken, turn)
    }

    /// Writes the start of a call.
    fn start_call(&mut self, mut draft: Draft, turn: &mut Turn<'_>) -> ActivePhase {
        let now = turn.now();
        if let Some(dead) = self.unfinished_call(&draft).map(|call| call.number) {
            draft.entries.push(Fact::CallEnded { call: dead, interrupted: true }.into_entry(now));
            if self.run.call_interruptions.saturating_add(1) >= INTERRUPTIONS {
                let message = format!("the function's executor was interrupted {INTERRUPTIONS} times in a row");
                let error = Failure::with_code(message, ErrorCode::Interrupted);
                draft.entries.push(Fact::RunFailed { error }.into_entry(now));
                return self.write(draft, Ack::Later, Next::Round, turn);
            }
        }
        let call = self.run.calls.saturating_add(1);
        let worker = self.invocation.worker.process.clone();
        draft.entries.push(Fact::CallStarted { call, lease_until: self.time.lease_until, worker }.into_entry(now));
        self.write(draft, Ack::Later, Next::Call(call), turn)
    }

    /// Calls the executor after the start was written, if the lease has not expired (rule 3).
    pub(super) fn called(&mut self, number: u32, turn: &mut Turn<'_>) -> ActivePhase {
        let now = turn.now();
        self.execution.call = Some(OpenCall { number, began: now, expires: now + self.spec().timeout });
        self.note_due_retries(now);
        if now >= self.time.lease_until {
            let again = WakeCause::Fresh(self.cause().step().cloned());
            let before = self.heartbeat_again(now).into_iter().collect();
            let mut draft = Draft { before, wakes: vec![self.wake(again)], ..Draft::default() };
            self.end_call(&mut draft, turn);
            return self.leave_or_await(draft, turn);
        }
        self.emit_poll(Draft::default(), turn)
    }

    /// Returns a copy of the wake of a heartbeat whose call is handed over. The worker that makes
    /// the call may have a slower clock, by which the heartbeat is not missed yet. It is missed by
    /// any clock when the copy is due.
    fn heartbeat_again(&self, now: Timestamp) -> Option<EarlyWrite> {
        let is_heartbeat = matches!(self.cause(), WakeCause::Heartbeat { .. });
        is_heartbeat.then(|| self.wake_at(self.cause().clone(), now + EARLY, now))
    }

    /// Ends the open call, if there is one: adds its entry and the release of its slots.
    pub(super) fn end_call(&mut self, draft: &mut Draft, turn: &Turn<'_>) {
        self.end_broken_call(false, draft, turn);
    }

    /// Ends the open call like [`end_call`](Self::end_call). The call counts as interrupted if the
    /// connection to the executor broke.
    pub(super) fn end_broken_call(&mut self, interrupted: bool, draft: &mut Draft, turn: &Turn<'_>) {
        let Some(call) = self.execution.call.take() else { return };
        draft.entries.push(Fact::CallEnded { call: call.number, interrupted }.into_entry(turn.now()));
        draft.after.extend(self.releases_of(&OwnStep::Call.id(), call.number));
    }

    /// Adds the slots of a call that this hop leaves open or did not start to those that a later
    /// write releases.
    pub(super) fn owe_call(&mut self) {
        if let Some(call) = self.execution.call.take() {
            self.owe_slots(&OwnStep::Call.id(), call.number);
        }
    }

    /// Returns a draft of what must be written even if a call cannot start. The last answer may
    /// have been lost, so the slots of the call are released.
    pub(super) fn abandon_call(&mut self, before: BeforeCall) -> Draft {
        self.owe_slots(&OwnStep::Call.id(), self.run.calls.saturating_add(1));
        match before {
            BeforeCall::Slots(draft) | BeforeCall::LeaseWakes(draft) | BeforeCall::Entries(draft) => draft,
        }
    }

    /// Ends a call that exceeded its timeout. The handler's attempt fails.
    pub(super) fn on_call_timeout(&mut self, ahead: Draft, turn: &mut Turn<'_>) -> ActivePhase {
        let message = format!("the call of the function ran past its time-out of {:?}", self.spec().timeout);
        let failure = Failure::with_code(message, ErrorCode::Timeout);
        let result = PollResult::Ended(Err(AdvisedFailure { failure, retry: Default::default() }));
        turn.emit(Effect::Close);
        self.execution.is_open = false;
        self.on_polled(Polled::from(result), ahead, turn)
    }
}
