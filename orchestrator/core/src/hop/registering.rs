//! Registers requests of a function that need no body: sleeps, events, calls of other functions,
//! waits. This happens before any body of the same set of steps starts (rule 18).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::decide::{ChildCall, Operation, Plan, Want};
use crate::event::problem_of_all;
use crate::hop::active::{ActiveHop, ActivePhase, Turn};
use crate::hop::calling::CalledFunction;
use crate::hop::effect::{EarlyWrite, Effect, LateWrite};
use crate::hop::executed::reveals_outcome;
use crate::hop::input::Input;
use crate::hop::progress::release;
use crate::hop::writing::{Ack, Draft, Next};
use crate::journal::{Entry, Fact, Failure, StepKind};
use crate::signal::named_wait;
use crate::slot::{Holder, Limit};
use crate::state::{StepState, WaitTarget};
use crate::trace::{RunTrace, SpanOf};
use crate::waiting::EventWait;
use crate::{ErrorCode, Event, EventId, NewEvent, StepId, Timestamp, WakeCause, bounds, id};

/// The state of a hop that registers the items of a plan, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Registering {
    plan: Plan,
    draft: Draft,
    /// The number of entries in the draft before registering started. These are outcomes.
    before: usize,
    /// The steps that the function waits for, if its executor executes steps while it is polled.
    wants: Vec<Want>,
    /// The items of the plan that are not registered yet, in the order of registration.
    items: VecDeque<Item>,
    awaits: Option<Awaited>,
}

#[derive(Clone, Debug)]
enum Item {
    /// The attempts that were interrupted: their worker is known to have died.
    Interrupted,
    /// A step that needs no body.
    Want(Want),
    /// The waits that have ended, and the steps that fail without an attempt.
    Over,
    /// A call of a run that may have ended.
    Child(ChildCall),
}

#[derive(Clone, Debug)]
enum Awaited {
    /// The slots that the attempts of dead workers hold.
    Holders,
    /// The result of sending the events of this step.
    Send(StepId),
    /// The run of a call.
    Child(ChildCall),
    /// The creation of a called run.
    Created,
}

/// How long a step waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Term {
    pub(super) now: Timestamp,
    pub(super) until: Timestamp,
}

impl Registering {
    pub(super) fn of(mut plan: Plan, draft: Draft, wants: Vec<Want>) -> Self {
        let mut items = VecDeque::new();
        if !plan.interrupted.is_empty() {
            items.push_back(Item::Interrupted);
        }
        let mut wants_to_register = std::mem::take(&mut plan.register);
        let is_wait = |want: &Want| matches!(want.operation, Operation::WaitForEvent { .. });
        if wants_to_register.iter().any(is_wait) {
            // An event of the same poll must find the wait. It is sent once the wait is written:
            // its step is still wanted then.
            wants_to_register.retain(|want| !matches!(want.operation, Operation::Send(_)));
        }
        items.extend(wants_to_register.into_iter().map(Item::Want));
        items.push_back(Item::Over);
        items.extend(std::mem::take(&mut plan.children).into_iter().map(Item::Child));
        Self { before: draft.entries.len(), wants, plan, draft, items, awaits: None }
    }

    /// Returns the draft with only the outcomes, after a failure of the storage.
    pub(super) fn into_written(mut self) -> Draft {
        self.draft.entries.truncate(self.before);
        self.draft
    }
}

impl ActiveHop {
    /// Registers the next items, until one of them needs an answer of the shell.
    pub(super) fn register(&mut self, mut registering: Registering, turn: &mut Turn<'_>) -> ActivePhase {
        while let Some(item) = registering.items.pop_front() {
            let Registering { plan, draft, .. } = &mut registering;
            let now = turn.now();
            registering.awaits = match item {
                Item::Interrupted => {
                    let of = |(step, attempt): &(StepId, u32)| Fact::AttemptInterrupted {
                        step: step.clone(),
                        attempt: *attempt,
                    };
                    draft.entries.extend(plan.interrupted.iter().map(|dead| of(dead).into_entry(now)));
                    (!self.limits.of_steps.is_empty()).then(|| {
                        turn.emit(Effect::FindHolders(self.limits.of_steps.clone()));
                        Awaited::Holders
                    })
                }
                Item::Want(want) => self.register_want(&want, draft, turn),
                Item::Over => {
                    self.write_down_ends(plan, draft, now);
                    None
                }
                Item::Child(child) => {
                    turn.emit(Effect::FindRun(child.run));
                    Some(Awaited::Child(child))
                }
            };
            if registering.awaits.is_some() {
                return ActivePhase::Deciding(Box::new(registering));
            }
        }
        self.registered(registering, turn)
    }

    /// Handles the next input while items are being registered.
    pub(super) fn register_on(
        &mut self,
        mut registering: Registering,
        input: Input,
        turn: &mut Turn<'_>,
    ) -> ActivePhase {
        let now = turn.now();
        let draft = &mut registering.draft;
        match (registering.awaits.take(), input) {
            (Some(Awaited::Holders), Input::Holders(held)) => {
                let of_dead = |(_, held): &(Limit, Holder)| match held {
                    Holder::Run(_) => false,
                    Holder::Attempt { run, step, attempt, .. } => {
                        let is_dead = |(dead, number): &(StepId, u32)| dead == step && number == attempt;
                        *run == self.run.run && registering.plan.interrupted.iter().any(is_dead)
                    }
                };
                draft.after.extend(held.into_iter().filter(of_dead).map(release));
            }
            (Some(Awaited::Send(step)), Input::Sent(ids)) => {
                draft.entries.push(Fact::EventsSent { step, ids }.into_entry(now));
            }
            (Some(Awaited::Child(child)), Input::Found(found)) => {
                if self.look_after(child, found, draft, turn) {
                    registering.awaits = Some(Awaited::Created);
                    return ActivePhase::Deciding(Box::new(registering));
                }
            }
            (Some(Awaited::Created), Input::Done) => {}
            (awaits, input) => return self.reject(&awaits, &input, turn),
        }
        self.register(registering, turn)
    }

    /// Writes the registered entries, or starts bodies if there are none.
    fn registered(&mut self, registering: Registering, turn: &mut Turn<'_>) -> ActivePhase {
        let Registering { plan, mut draft, before, wants, .. } = registering;
        // after an entry that ends the run, nothing else may be written
        if let Some(end) = draft.entries[before..].iter().position(|entry| entry.fact.is_end()) {
            draft.entries.truncate(before + end + 1);
        }
        let frees = !plan.ready.is_empty() && !draft.after.is_empty();
        let is_new = |entry: &Entry| reveals_outcome(entry) || entry.fact.is_end();
        let shows = self.function.executes_in_poll && draft.entries.iter().any(is_new);
        if draft.entries.len() > before || frees || shows {
            // if these entries contain outcomes, the function may request something else, so it is
            // polled first; a slot is also released before the next one is acquired
            let next = match self.function.executes_in_poll && !shows {
                // another call that reveals nothing new would execute steps again
                true => Next::Decide(wants),
                false => Next::Show,
            };
            return self.write(draft, Ack::Later, next, turn);
        }
        self.start(plan, draft, turn)
    }

    /// Adds the entries of a step without a body. Later wakes are written before the entries (rule
    /// 11).
    fn register_want(&mut self, want: &Want, draft: &mut Draft, turn: &mut Turn<'_>) -> Option<Awaited> {
        let (step, now) = (want.step.clone(), turn.now());
        match &want.operation {
            Operation::Run(_) => {}
            Operation::SleepFor(wait) => self.sleep(step, now + *wait, now, draft),
            Operation::SleepUntil(until) if !until.is_representable() => {
                let error = no_moment(&step, *until);
                draft.entries.push(Fact::StepRefused { step, error, kind: Some(StepKind::Sleep) }.into_entry(now));
            }
            Operation::SleepUntil(until) => self.sleep(step, *until, now, draft),
            Operation::Send(events) => match self.send_fault(&step, events, draft) {
                Some(error) => {
                    draft.entries.push(Fact::StepRefused { step, error, kind: Some(StepKind::Send) }.into_entry(now));
                }
                None => {
                    turn.emit(Effect::Send(self.events_of(&step, events, now)));
                    return Some(Awaited::Send(step));
                }
            },
            Operation::Invoke { function, input, bound, timeout, user } => {
                let until = timeout.map(|timeout| now + timeout);
                self.call(step, CalledFunction { function, input, bound: *bound, until, user }, now, draft)
            }
            Operation::WaitForEvent { wait, timeout } => {
                self.wait_for_event(step, wait, Term { now, until: now + *timeout }, draft)
            }
            Operation::WaitForSignal { timeout, heartbeat, name } => {
                let term = Term { now, until: now + *timeout };
                match name.as_deref().map(|name| named_wait(self.run.run, &step, name, term.until)).transpose() {
                    Ok(named) => {
                        // the index is written first: a callback that arrives in between is kept
                        draft.before.extend(named.map(EarlyWrite::Subscribe));
                        self.wait_for_signal(step, *heartbeat, term, draft)
                    }
                    Err(problem) => {
                        let error = Failure::new(format!("step `{step}` cannot wait: {problem}"));
                        draft.entries.push(Fact::RunFailed { error }.into_entry(now));
                    }
                }
            }
        }
        None
    }

    /// Adds the entries for sleeps and waits that have ended, and for steps that fail without being
    /// executed.
    fn write_down_ends(&self, plan: &Plan, draft: &mut Draft, now: Timestamp) {
        let awake = plan.awake.iter().map(|step| Fact::SleepEnded { step: step.clone() }.into_entry(now));
        draft.entries.extend(awake);
        for step in &plan.expired {
            draft.entries.push(Fact::WaitExpired { step: step.clone() }.into_entry(now));
            let waiting = self.run.steps.get(step).map(|step| &step.state);
            if let Some(StepState::Awaiting { what: WaitTarget::Event(wait), until }) = waiting {
                let subscriptions = wait.subscriptions(self.run.run, step, *until);
                draft.after.extend(subscriptions.map(LateWrite::Unsubscribe));
            }
        }
        let missed =
            |(step, error): &(StepId, Failure)| Fact::HeartbeatMissed { step: step.clone(), error: error.clone() };
        draft.entries.extend(plan.missed.iter().map(|wait| missed(wait).into_entry(now)));
        for (step, error) in &plan.refused {
            let (step, error) = (step.clone(), error.clone());
            // the code requests another kind of step than the journal contains, so the run cannot
            // continue
            let fact = match error.code {
                Some(ErrorCode::Nondeterminism) => Fact::RunFailed { error },
                Some(_) | None => Fact::StepRefused { step, error, kind: None },
            };
            draft.entries.push(fact.into_entry(now));
        }
    }

    fn sleep(&self, step: StepId, until: Timestamp, now: Timestamp, draft: &mut Draft) {
        draft.entries.push(Fact::SleepStarted { step: step.clone(), until }.into_entry(now));
        if until <= now {
            draft.entries.push(Fact::SleepEnded { step }.into_entry(now));
        } else {
            draft.before.push(self.wake_at(WakeCause::Due, until, now));
        }
    }

    /// Adds the subscription to the index, and then the entry. An event that arrives in between is
    /// put into the inbox.
    fn wait_for_event(&self, step: StepId, wait: &Arc<EventWait>, term: Term, draft: &mut Draft) {
        let Term { now, until } = term;
        if let Some(fault) = wait.problem(&self.invocation.worker.exprs) {
            let error = Failure::new(format!("step `{step}` cannot wait: {fault}"));
            draft.entries.push(Fact::RunFailed { error }.into_entry(now));
            return;
        }
        draft.entries.push(Fact::EventAwaited { step: step.clone(), wait: wait.clone(), until }.into_entry(now));
        if until > now {
            draft.before.extend(wait.subscriptions(self.run.run, &step, until).map(EarlyWrite::Subscribe));
        }
        self.expire_at(step, term, draft);
    }

    /// Adds the entry of a wait for a callback, with the wakes for its timeout and its first
    /// heartbeat.
    fn wait_for_signal(&self, step: StepId, heartbeat: Option<Duration>, term: Term, draft: &mut Draft) {
        let Term { now, until } = term;
        let heartbeat_ms = heartbeat.map(|every| u64::try_from(every.as_millis()).unwrap_or(u64::MAX));
        draft.entries.push(Fact::SignalAwaited { step: step.clone(), until, heartbeat_ms }.into_entry(now));
        if let Some(due) = heartbeat.map(|every| now + every).filter(|due| *due < until) {
            draft.before.push(self.wake_at(WakeCause::Heartbeat { step: step.clone(), due }, due, now));
        }
        self.expire_at(step, term, draft);
    }

    pub(super) fn expire_at(&self, step: StepId, Term { now, until }: Term, draft: &mut Draft) {
        if until <= now {
            draft.entries.push(Fact::WaitExpired { step }.into_entry(now));
        } else {
            draft.before.push(self.wake_at(WakeCause::Due, until, now));
        }
    }

    /// Returns the events with ids that are derived from the run and the step, so that repeating
    /// the step sends the same events.
    fn events_of(&self, step: &StepId, events: &[NewEvent], now: Timestamp) -> Vec<Event> {
        let random = id::hash(&[b"send", &self.run.run.to_bytes(), step.as_bytes()]);
        let first = EventId::new(self.run.created_at, random);
        let ids = std::iter::successors(Some(first), |id| Some(id.next()));
        let sent = RunTrace::of(self.run.run, &self.run.created).context_to_send(SpanOf::Step(step));
        let accept = |(id, event): (EventId, &NewEvent)| {
            let event = event.clone().accept(id, now);
            Event { trace: event.trace.or_else(|| sent.clone()), ..event }
        };
        ids.zip(events).map(accept).collect()
    }

    /// Returns why events cannot be sent: they are invalid, or the run has no room for their ids.
    fn send_fault(&self, step: &StepId, events: &[NewEvent], draft: &Draft) -> Option<Failure> {
        if let Some(fault) = problem_of_all(events) {
            let message = format!("step `{step}` cannot send {fault}");
            return Some(Failure::with_code(message, ErrorCode::BadEvent));
        }
        self.no_room(step, draft, 0)
    }

    /// Returns a failure if the run has no room for this many more bytes after the entries of the
    /// draft.
    pub(super) fn no_room(&self, step: &StepId, draft: &Draft, more: usize) -> Option<Failure> {
        let drafted = draft.entries.iter().map(|entry| bounds::kept_bytes(&entry.fact)).sum::<usize>();
        let bytes = self.run.bytes + drafted + more;
        (!self.run.has_room(bytes)).then(|| bounds::run_full_failure(format_args!("step `{step}`"), bytes))
    }
}

/// Returns the failure of a sleep until a time outside the supported years. Usually the unit of the
/// time is wrong.
fn no_moment(step: &StepId, until: Timestamp) -> Failure {
    let ms = until.as_millis();
    Failure::with_code(
        format!(
            "step `{step}` cannot sleep until {ms} ms after 1970; use a moment of the years 0 to 9999, in milliseconds"
        ),
        ErrorCode::NoMoment,
    )
}
