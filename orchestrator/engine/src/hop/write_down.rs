//! Writes down what a handler wants and needs no body: timers, events, calls of other functions,
//! waits. This happens before any body of the same set starts (rule 18).

use std::sync::Arc;

use stepladder_core::decide::{ChildCall, Operation, Plan, Want};
use stepladder_core::event::{data_problem, problem_of_all};
use stepladder_core::journal::{Entry, Fact, Failure, NewRun, Origin, Outcome, StepKind};
use stepladder_core::limits::{EVENT_BYTES, name_problem};
use stepladder_core::state::{StepState, WaitTarget};
use stepladder_core::system::FUNCTION_INVOKED;
use stepladder_core::waiting::EventWait;
use stepladder_core::{ErrorCode, Event, EventId, Json, NewEvent, RunId, StepId, Timestamp, WakeCause, bounds, id};

use super::{Hop, UNREGISTERED};
use crate::ports::{EarlyWrite, LateWrite, StoreError};

impl Hop<'_> {
    /// Adds entries for sleeps, events, calls and their ends, refusals and interruptions. Later
    /// wakes go out before the entries (rule 11).
    pub(crate) async fn write_down(&mut self, plan: &Plan, entries: &mut Vec<Entry>) -> Result<(), StoreError> {
        for (step, attempt) in &plan.interrupted {
            entries.push(Fact::AttemptInterrupted { step: step.clone(), attempt: *attempt }.at(self.now()));
            self.release_dead_attempt(step, *attempt).await?;
        }
        for want in &plan.register {
            self.register(want, entries).await?;
        }
        for step in &plan.awake {
            entries.push(Fact::SleepEnded { step: step.clone() }.at(self.now()));
        }
        for step in &plan.expired {
            entries.push(Fact::WaitExpired { step: step.clone() }.at(self.now()));
            self.leave_index(step);
        }
        for (step, error) in &plan.refused {
            let (step, error) = (step.clone(), error.clone());
            // the code wants another kind of step than the journal has: the run cannot continue
            let fact = match error.code {
                Some(ErrorCode::Nondeterminism) => Fact::RunFailed { error },
                Some(_) | None => Fact::StepRefused { step, error, kind: None },
            };
            entries.push(fact.at(self.now()));
        }
        for child in &plan.children {
            if let Some(outcome) = self.look_after(child).await? {
                entries.push(Fact::InvokeEnded { step: child.step.clone(), outcome }.at(self.now()));
            }
        }
        // nothing is admitted after an end
        if let Some(end) = entries.iter().position(|entry| entry.fact.is_end()) {
            entries.truncate(end + 1);
        }
        Ok(())
    }

    async fn register(&mut self, want: &Want, entries: &mut Vec<Entry>) -> Result<(), StoreError> {
        let (step, now) = (want.step.clone(), self.now());
        match &want.operation {
            Operation::Run(_) => {}
            Operation::SleepFor(wait) => self.sleep(step, now + *wait, now, entries),
            Operation::SleepUntil(until) if !until.is_representable() => {
                let error = no_moment(&step, *until);
                entries.push(Fact::StepRefused { step, error, kind: Some(StepKind::Sleep) }.at(now));
            }
            Operation::SleepUntil(until) => self.sleep(step, *until, now, entries),
            Operation::Send(events) => {
                let fact = match self.send(&step, events, (now, entries)).await? {
                    Ok(ids) => Fact::EventsSent { step, ids },
                    Err(error) => Fact::StepRefused { step, error, kind: Some(StepKind::Send) },
                };
                entries.push(fact.at(now));
            }
            Operation::Invoke { function, input, bound } => {
                let child = self.state.run.invoked_by(&step, self.state.created_at);
                let (function, input, bound) = (function.clone(), input.clone(), *bound);
                if let Some(error) = self.call_fault(&step, &function, &input, entries) {
                    let kind = Some(StepKind::Invoke);
                    entries.push(Fact::StepRefused { step, error, kind }.at(now));
                    return Ok(());
                }
                let ended = self.unknown(&step, &function);
                entries.push(Fact::InvokeStarted { step, function, child, input, bound }.at(now));
                entries.extend(ended.map(|ended| ended.at(now)));
            }
            Operation::WaitForEvent { wait, timeout } => {
                self.wait_for_event(step, wait, (now + *timeout, now), entries)
            }
            Operation::WaitForSignal { timeout } => {
                let until = now + *timeout;
                entries.push(Fact::SignalAwaited { step: step.clone(), until }.at(now));
                self.expire_at(step, until, now, entries);
            }
        }
        Ok(())
    }

    /// Writes the subscription to the index, then the entry. An event that arrives in between is in
    /// the inbox.
    fn wait_for_event(
        &mut self,
        step: StepId,
        wait: &Arc<EventWait>,
        (until, now): (Timestamp, Timestamp),
        entries: &mut Vec<Entry>,
    ) {
        if let Some(fault) = wait.problem(&self.hops.subscriptions.exprs) {
            let error = Failure::new(format!("step `{step}` cannot wait: {fault}"));
            entries.push(Fact::RunFailed { error }.at(now));
            return;
        }
        entries.push(Fact::EventAwaited { step: step.clone(), wait: wait.clone(), until }.at(now));
        if until > now {
            self.commit.before.extend(wait.subscriptions(self.state.run, &step, until).map(EarlyWrite::Subscribe));
        }
        self.expire_at(step, until, now, entries);
    }

    fn expire_at(&mut self, step: StepId, until: Timestamp, now: Timestamp, entries: &mut Vec<Entry>) {
        if until <= now {
            entries.push(Fact::WaitExpired { step }.at(now));
        } else {
            self.commit.before.push(self.hops.runtime.later(self.wake(WakeCause::Due), until));
        }
    }

    /// Removes the subscription of a wait that has timed out.
    fn leave_index(&mut self, step: &StepId) {
        let waiting = self.state.steps.get(step).map(|step| &step.state);
        if let Some(StepState::Awaiting { what: WaitTarget::Event(wait), until }) = waiting {
            self.commit.after.extend(wait.subscriptions(self.state.run, step, *until).map(LateWrite::Unsubscribe));
        }
    }

    fn sleep(&mut self, step: StepId, until: Timestamp, now: Timestamp, entries: &mut Vec<Entry>) {
        entries.push(Fact::SleepStarted { step: step.clone(), until }.at(now));
        if until <= now {
            entries.push(Fact::SleepEnded { step }.at(now));
        } else {
            self.commit.before.push(self.hops.runtime.later(self.wake(WakeCause::Due), until));
        }
    }

    /// Sends events under ids derived from the run and the step: a repetition sends the same
    /// events.
    async fn send(
        &self,
        step: &StepId,
        events: &[NewEvent],
        (now, before): (Timestamp, &[Entry]),
    ) -> Result<Result<Vec<EventId>, Failure>, StoreError> {
        if let Some(fault) = problem_of_all(events) {
            let message = format!("step `{step}` cannot send {fault}");
            return Ok(Err(Failure { message, code: Some(ErrorCode::BadEvent) }));
        }
        if let Some(full) = self.no_room(step, before, 0) {
            return Ok(Err(full));
        }
        let random = id::hash(&[b"send", &self.state.run.to_bytes(), step.as_bytes()]);
        let first = EventId::new(self.state.created_at, random);
        let ids = std::iter::successors(Some(first), |id| Some(id.next()));
        let accepted: Vec<Event> = ids.zip(events).map(|(id, event)| event.clone().accept(id, now)).collect();
        self.hops.intake.accept(accepted, now).await.map(Ok)
    }

    /// Returns why a function cannot be called with this input: its event would be invalid, or this
    /// run has no room for it.
    fn call_fault(&self, step: &StepId, function: &str, input: &Json, before: &[Entry]) -> Option<Failure> {
        let user = self.state.created.event.user.as_ref().map_or(0, |user| user.get().len());
        let bytes = input.get().len() + user;
        let fault = name_problem(function).map(|fault| format!("the name of the function {fault}"));
        let fault = fault.or_else(|| data_problem(input).map(|fault| format!("its input {fault}"))).or_else(|| {
            let most = EVENT_BYTES;
            (bytes > most)
                .then(|| format!("its input and the event's `user` have {bytes} bytes; at most {most} are allowed"))
        });
        match fault {
            Some(fault) => Some(Failure {
                message: format!("step `{step}` cannot call: {fault}"),
                code: Some(ErrorCode::BadEvent),
            }),
            None => self.no_room(step, before, input.get().len()),
        }
    }

    /// Returns why the run has no room for this many more bytes after these entries; `None` if it
    /// has.
    fn no_room(&self, step: &StepId, before: &[Entry], more: usize) -> Option<Failure> {
        let bytes = self.state.bytes + before.iter().map(|entry| bounds::kept_bytes(&entry.fact)).sum::<usize>() + more;
        (!self.state.has_room(bytes)).then(|| bounds::run_full_failure(format_args!("step `{step}`"), bytes))
    }

    /// Ends a call of an unknown function when it starts. The process that starts the call decides:
    /// a worker with an older version may know fewer functions.
    fn unknown(&self, step: &StepId, function: &Arc<str>) -> Option<Fact> {
        if self.hops.runtime.program(function).is_some() {
            return None;
        }
        let error = Failure {
            message: format!("step `{step}` calls function `{function}`, which is not registered"),
            code: Some(ErrorCode::UnknownFunction),
        };
        Some(Fact::InvokeEnded { step: step.clone(), outcome: Outcome::Failed(error) })
    }

    /// Creates a called function's run if it is missing, and returns its outcome if it has ended.
    /// The caller's entry came first (rule 19). If the function is not registered here, another
    /// worker may have it, like the worker that started the call.
    async fn look_after(&mut self, child: &ChildCall) -> Result<Option<Outcome>, StoreError> {
        if let Some(state) = self.hops.runs.state(child.run).await? {
            // rule 15: its creator may have died before the run's first wake
            if state.next > 1 || state.end.is_some() || !self.may_repeat() {
                return Ok(state.end.as_ref().map(|end| end.how.outcome()));
            }
        }
        if self.hops.runtime.program(&child.function).is_none() {
            let (run, function) = (self.state.run, &child.function);
            tracing::warn!(%run, %function, "a called run waits to begin: its function is not registered");
            let wake = self.wake(self.wake.cause.clone().replaced_unless_needed(WakeCause::Again));
            self.commit.before.push(self.hops.runtime.later(wake, self.now() + UNREGISTERED));
            return Ok(None);
        }
        self.hops.intake.start_runs(vec![self.child_run(child)]).await?;
        Ok(None)
    }

    /// Returns whether an earlier hop may have failed with this wake, or one that it replaces.
    fn may_repeat(&self) -> bool {
        let cause = &self.wake.cause;
        let again = matches!(cause, WakeCause::Again | WakeCause::Lease | WakeCause::Watchdog | WakeCause::Tick(_));
        self.redelivered || again || cause.step().is_some()
    }

    /// Creates the runs of calls that were just written. Their ends wake this run.
    pub(crate) async fn start_children(&self, entries: &[Entry]) -> Result<(), StoreError> {
        for entry in entries {
            if let Fact::InvokeStarted { step, function, child, input, bound } = &entry.fact
                && self.hops.runtime.program(function).is_some()
            {
                let (step, function, input) = (step.clone(), function.clone(), input.clone());
                let child = ChildCall { step, run: *child, function, input, bound: *bound };
                self.hops.intake.start_runs(vec![self.child_run(&child)]).await?;
            }
        }
        Ok(())
    }

    fn child_run(&self, child: &ChildCall) -> (RunId, NewRun, Vec<Entry>) {
        let event = Event {
            id: EventId::from_bytes(child.run.to_bytes()),
            name: FUNCTION_INVOKED.into(),
            data: child.input.clone(),
            ts: self.state.created_at,
            user: self.state.created.event.user.clone(),
            external_id: None,
            received_at: self.state.created_at,
        };
        let origin = Origin::Invoke { parent: self.state.run, step: child.step.clone() };
        let created = NewRun { bound: child.bound, ..NewRun::new(child.function.clone(), event, origin) };
        (child.run, created, Vec::new())
    }
}

/// The failure of a sleep until a time outside the supported years. Usually the unit is wrong.
fn no_moment(step: &StepId, until: Timestamp) -> Failure {
    let ms = until.as_millis();
    Failure {
        message: format!(
            "step `{step}` cannot sleep until {ms} ms after 1970; use a moment of the years 0 to 9999, in milliseconds"
        ),
        code: Some(ErrorCode::NoMoment),
    }
}
