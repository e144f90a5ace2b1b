//! Starts attempts in this invocation, and hands others over to other invocations.

use std::collections::VecDeque;

use crate::decide::{Plan, ReadyStep};
use crate::hop::active::{ActiveHop, ActivePhase, Turn};
use crate::hop::effect::{Attempt, EarlyWrite, Effect, LogEvent, SlotRequest};
use crate::hop::input::{Input, SlotAnswer};
use crate::hop::progress::Body;
use crate::hop::suspending::Suspending;
use crate::hop::timing::MARGIN;
use crate::hop::writing::{Ack, Draft, Next};
use crate::journal::{Entry, Fact};
use crate::{OwnStep, RunOrStep, StepId, Timestamp, WakeCause};

/// The attempts that are about to start. They acquire their slots one after the other.
#[derive(Clone, Debug)]
pub(super) struct Starting {
    plan: Plan,
    draft: Draft,
    /// The attempts that have no slots yet.
    waiting: VecDeque<ReadyStep>,
    /// The attempts that have acquired their slots.
    acquired: Vec<ReadyStep>,
    /// The attempts that were enqueued in this transition.
    joined: Vec<(StepId, u32)>,
    /// The steps that are handed over to other invocations.
    handed: Vec<ReadyStep>,
    /// Whether no ready step belongs to the wake.
    is_unasked: bool,
    awaits: Option<Awaited>,
}

#[derive(Clone, Debug)]
enum Awaited {
    /// The slots of this attempt.
    Slots(ReadyStep),
    /// The lease wakes for the queues of this attempt's limits.
    LeaseWakes(ReadyStep),
}

/// Attempts with a start in the journal.
#[derive(Clone, Debug)]
pub(super) struct Starts {
    pub(super) starting: Vec<ReadyStep>,
    pub(super) handed: Vec<StepId>,
    /// When the next sleep or retry is due.
    pub(super) due: Option<Timestamp>,
}

impl ActiveHop {
    /// Starts the ready attempts of this invocation, or hands them over to other invocations, or
    /// suspends the run.
    pub(super) fn start(&mut self, plan: Plan, mut draft: Draft, turn: &mut Turn<'_>) -> ActivePhase {
        let mine = self.own_share(&plan.ready);
        if self.is_redelivered() && mine.iter().any(|ready| ready.takeover) {
            // rule 14: a separate wake records the next interruption in the journal, without using
            // up the deliveries after which the queue gives up a message
            draft.wakes.push(self.wake(self.cause().clone().replaced_unless_needed(WakeCause::Lease)));
            if self.execution.bodies.is_empty() {
                return self.write(draft, Ack::Now, Next::LeaveOrKeep, turn);
            }
            // attempts that execute here go on; only the takeovers are left to the new wake
            let taken_over = mine.into_iter().filter(|ready| ready.takeover).map(|ready| ready.step);
            return self.write(draft, Ack::Later, Next::FanOut(taken_over.collect()), turn);
        }
        if mine.len() > self.invocation.worker.side_by_side {
            return self.fan_out(mine, draft, turn);
        }
        let is_unasked = mine.is_empty();
        let (here, handed): (Vec<_>, Vec<_>) = mine.into_iter().partition(|ready| self.fits(ready, turn));
        let (waiting, acquired) = match self.limits.of_steps.is_empty() {
            true => (VecDeque::new(), here),
            false => (here.into(), Vec::new()),
        };
        let (joined, awaits) = (Vec::new(), None);
        self.acquire_next(Starting { plan, draft, waiting, acquired, joined, handed, is_unasked, awaits }, turn)
    }

    /// Handles the next input while attempts acquire their slots.
    pub(super) fn start_on(&mut self, mut starting: Starting, input: Input, turn: &mut Turn<'_>) -> ActivePhase {
        match (starting.awaits.take(), input) {
            (Some(Awaited::Slots(ready)), Input::Slots(SlotAnswer::Acquired)) => {
                turn.emit(Effect::PassOnLeaseWakes(self.limits.of_steps.clone()));
                starting.awaits = Some(Awaited::LeaseWakes(ready));
                ActivePhase::Starting(Box::new(starting))
            }
            (Some(Awaited::Slots(ready)), Input::Slots(SlotAnswer::Queued { key, joined, is_new })) => {
                let ReadyStep { step, attempt, .. } = ready;
                // a new run waits with the ticket of its creation from its first wake on
                let arrives = *self.cause() == WakeCause::Created && !self.is_redelivered() && !joined;
                if joined {
                    starting.joined.push((step.clone(), attempt));
                }
                if (is_new || arrives) && self.progress.logged_waits.insert(step.clone()) {
                    turn.log(LogEvent::Enqueued { step, attempt, limit: key });
                }
                self.acquire_next(starting, turn)
            }
            (Some(Awaited::LeaseWakes(ready)), Input::Done) => {
                starting.acquired.push(ready);
                self.acquire_next(starting, turn)
            }
            (awaits, input) => self.reject(&awaits, &input, turn),
        }
    }

    fn acquire_next(&mut self, mut starting: Starting, turn: &mut Turn<'_>) -> ActivePhase {
        let Some(ready) = starting.waiting.pop_front() else { return self.acquired(starting, turn) };
        turn.emit(Effect::Acquire(Box::new(SlotRequest {
            limits: self.limits.of_steps.clone(),
            holder: self.holder(&ready.step, ready.attempt),
            lease_until: self.time.lease_until,
            by_itself: ready.woken || self.cause().step() == Some(&ready.step),
        })));
        starting.awaits = Some(Awaited::Slots(ready));
        ActivePhase::Starting(Box::new(starting))
    }

    /// Writes the starts of the attempts that have slots. If nothing starts or executes, the run is
    /// suspended.
    fn acquired(&mut self, starting: Starting, turn: &mut Turn<'_>) -> ActivePhase {
        let Starting { plan, mut draft, acquired, joined, handed, is_unasked, .. } = starting;
        let is_late = !self.progress.has_executed;
        self.notice_retries(&acquired);
        draft.entries.extend(acquired.iter().map(|ready| self.started(ready, turn.now())));
        draft.wakes.extend(self.hand_over(&handed, is_late));
        if acquired.is_empty() && self.execution.bodies.is_empty() {
            return self.suspend(Suspending::of(plan, draft, joined, is_unasked), turn);
        }
        let due = plan.later.iter().map(|(_, due)| *due).min();
        let handed = handed.into_iter().map(|ready| ready.step).collect();
        let starts = Starts { starting: acquired, handed, due };
        if draft.entries.is_empty() && draft.wakes.is_empty() {
            return self.started_here(starts, turn);
        }
        self.write(draft, Ack::Later, Next::Start(starts), turn)
    }

    /// Returns a draft of what must be written even if the attempts cannot start, with the releases
    /// of all slots that were acquired. The last answer may have been lost, so the slot of its
    /// attempt is included.
    pub(super) fn abandon_starts(&self, starting: Starting) -> Draft {
        let Starting { mut draft, acquired, awaits, .. } = starting;
        let asked = awaits.into_iter().map(|(Awaited::Slots(ready) | Awaited::LeaseWakes(ready))| ready);
        for ready in acquired.into_iter().chain(asked) {
            draft.after.extend(self.releases_of(&ready.step, ready.attempt));
        }
        draft
    }

    /// Returns the ready steps that this invocation handles. A step for which a separate wake was
    /// sent starts with that wake, or with the run's watchdog (rule 9), or after a call that waited
    /// in a wait queue: the wakes that needed this call were acknowledged when it was enqueued.
    fn own_share(&self, ready: &[ReadyStep]) -> Vec<ReadyStep> {
        let named = |ready: &ReadyStep| match self.cause().step() {
            Some(step) => ready.step == *step || ready.woken_with.as_ref() == Some(step),
            None => false,
        };
        let is_promoted_call = self.cause().step().and_then(|step| OwnStep::from_id(step)) == Some(OwnStep::Call);
        let again = *self.cause() == WakeCause::Watchdog || is_promoted_call;
        let is_mine = |ready: &&ReadyStep| !ready.woken || named(ready) || again;
        let is_here = |ready: &&ReadyStep| !self.progress.handed_over.contains(&ready.step);
        ready.iter().filter(is_mine).filter(is_here).cloned().collect()
    }

    /// Returns whether an attempt starts in this invocation. The first attempts do, unless too
    /// little time is left. Later ones must be within the budget, and their timeout must fit into
    /// the remaining time.
    fn fits(&self, ready: &ReadyStep, turn: &Turn<'_>) -> bool {
        if !self.progress.has_executed {
            return !self.is_too_late_for(ready, turn.now());
        }
        self.invocation.worker.goes_on
            && !turn.at.is_stopping
            && turn.now() + ready.timeout + MARGIN < self.time.deadline
    }

    fn started(&self, ready: &ReadyStep, now: Timestamp) -> Entry {
        Fact::StepStarted {
            step: ready.step.clone(),
            attempt: ready.attempt,
            lease_until: self.time.lease_until,
            worker: self.invocation.worker.process.clone(),
            at_most_once: ready.at_most_once,
        }
        .into_entry(now)
    }

    /// Hands many steps over to other invocations: each of them gets as many steps as one
    /// invocation executes at the same time, with one wake. The wakes are sent before the entries
    /// that record them. After a crash in between they are sent twice, but never not at all; once
    /// the entries exist, they are never sent again (rule 9).
    fn fan_out(&mut self, mine: Vec<ReadyStep>, mut draft: Draft, turn: &mut Turn<'_>) -> ActivePhase {
        let now = turn.now();
        let all: Vec<StepId> = mine.into_iter().map(|ready| ready.step).collect();
        for steps in all.chunks(self.invocation.worker.side_by_side.max(1)) {
            draft.before.push(EarlyWrite::Wake { wake: self.wake(WakeCause::Step(steps[0].clone())), due: now });
            let (steps, together) = (steps.to_vec(), steps.len() > 1);
            draft.entries.push(Fact::StepsWoken { steps, together }.into_entry(now));
        }
        if self.run.started_at.is_none() {
            // from here on, each step has its own ticket
            draft.after.extend(self.dequeue(&RunOrStep::Run));
        }
        self.write(draft, Ack::Later, Next::FanOut(all), turn)
    }

    /// Returns the wakes for steps that other invocations handle. A few steps share one wake and
    /// are executed concurrently. If this invocation had too little time left for the steps, the
    /// next one starts them in any case.
    fn hand_over(&self, handed: &[ReadyStep], is_late: bool) -> Vec<crate::Wake> {
        let (woken, plain): (Vec<_>, Vec<_>) = handed.iter().partition(|ready| ready.woken);
        let steps = woken.into_iter().map(|ready| ready.step.clone());
        let mut causes: Vec<_> = match is_late {
            true => steps.map(|step| WakeCause::Fresh(Some(step))).collect(),
            false => steps.map(WakeCause::Step).collect(),
        };
        if !plain.is_empty() {
            causes.push(if is_late { WakeCause::Fresh(None) } else { WakeCause::Next });
        }
        causes.into_iter().map(|cause| self.wake(cause)).collect()
    }

    /// Executes attempts after the write of their starts, if their lease has not expired (rule 3).
    pub(super) fn started_here(&mut self, starts: Starts, turn: &mut Turn<'_>) -> ActivePhase {
        let Starts { starting, handed, due } = starts;
        self.progress.handed_over.extend(handed);
        let is_late = turn.now() >= self.time.lease_until;
        if is_late && !starting.is_empty() {
            return self.give_up_late_starts(starting, turn);
        }
        self.execute(starting, turn);
        self.await_bodies(due, turn)
    }

    /// Starts nothing, because the lease has expired, and hands the steps over to another
    /// invocation. Another worker may already have started them. Attempts that execute here go on:
    /// their outcomes may still count.
    fn give_up_late_starts(&mut self, starting: Vec<ReadyStep>, turn: &mut Turn<'_>) -> ActivePhase {
        let mut draft = Draft { wakes: self.hand_over(&starting, true), ..Draft::default() };
        let steps = starting.iter().map(|ready| ready.step.clone()).collect();
        for ReadyStep { step, attempt, .. } in starting {
            draft.after.extend(self.releases_of(&step, attempt));
            draft.entries.push(Fact::AttemptInterrupted { step, attempt }.into_entry(turn.now()));
        }
        if self.execution.bodies.is_empty() {
            return self.write(draft, Ack::Now, Next::LeaveOrRound, turn);
        }
        self.write(draft, Ack::Later, Next::FanOut(steps), turn)
    }

    fn execute(&mut self, starting: Vec<ReadyStep>, turn: &mut Turn<'_>) {
        if starting.is_empty() {
            return;
        }
        let now = turn.now();
        self.progress.has_executed = true;
        let mut attempts = Vec::with_capacity(starting.len());
        for ready in starting {
            turn.log(LogEvent::AttemptStarted { step: ready.step.clone(), attempt: ready.attempt });
            let expires = now + ready.timeout;
            let earliest = self.execution.no_expiry_before.map_or(expires, |earliest| earliest.min(expires));
            self.execution.no_expiry_before = Some(earliest);
            let (holder, lease_until) = (self.holder(&ready.step, ready.attempt), self.time.lease_until);
            attempts.push(Attempt { ready: ready.clone(), holder, expires, lease_until });
            let step = ready.step.clone();
            self.execution.bodies.insert(step, Box::new(Body { ready, began: now, expires, is_stopped: false }));
        }
        let recorded = self.recorded_in_call();
        if !recorded.is_empty() {
            turn.emit(Effect::RevealRecorded(recorded));
        }
        turn.emit(Effect::Run(attempts));
    }
}
