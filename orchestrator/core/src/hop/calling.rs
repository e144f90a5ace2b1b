//! Calls of other functions: the entries of calls, the called runs, and their outcomes (rules 15
//! and 19).

use std::collections::VecDeque;
use std::sync::Arc;

use crate::decide::{ChildCall, Want};
use crate::event::data_problem;
use crate::hop::active::{ActiveHop, ActivePhase, Turn};
use crate::hop::delivery::UNREGISTERED;
use crate::hop::effect::{Effect, LogEvent};
use crate::hop::input::FoundRun;
use crate::hop::registering::Term;
use crate::hop::writing::Draft;
use crate::journal::{Fact, Failure, NewRun, Outcome, RunOrigin, StepKind};
use crate::limits::{EVENT_BYTES, name_problem};
use crate::system::FUNCTION_INVOKED;
use crate::trace::{RunTrace, SpanOf};
use crate::{ErrorCode, Event, EventId, Json, RunId, StepId, Timestamp, WakeCause};

/// The function that a step calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct CalledFunction<'a> {
    pub(super) function: &'a Arc<str>,
    pub(super) input: &'a Json,
    /// Whether the called run is cancelled if this run ends first.
    pub(super) bound: bool,
    /// When the call ends without an outcome.
    pub(super) until: Option<Timestamp>,
    /// The `user` of the called run's event, if it is not that of this run's event.
    pub(super) user: &'a Option<Json>,
}

/// The creation of called runs, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Calling {
    /// The runs that are still to be created.
    pub(super) calls: VecDeque<(RunId, NewRun)>,
    /// The steps that are decided afterwards. With `None`, the function is polled.
    pub(super) decides: Option<Vec<Want>>,
}

impl ActiveHop {
    /// Adds a call to the draft. The called run gets a deterministic id, and is created after the
    /// entry is written (rule 19).
    pub(super) fn call(&self, step: StepId, called: CalledFunction<'_>, now: Timestamp, draft: &mut Draft) {
        let CalledFunction { function, input, bound, until, user } = called;
        let child = self.run.run.invoked_by(&step, self.run.created_at);
        if let Some(error) = self.call_fault(&step, called, draft) {
            draft.entries.push(Fact::StepRefused { step, error, kind: Some(StepKind::Invoke) }.into_entry(now));
            return;
        }
        let (function, input) = (function.clone(), input.clone());
        let ended = self.unknown(&step, &function);
        let started =
            Fact::InvokeStarted { step: step.clone(), function, child, input, bound, until, user: user.clone() };
        draft.entries.push(started.into_entry(now));
        match (ended, until) {
            (Some(ended), _) => draft.entries.push(ended.into_entry(now)),
            (None, Some(until)) => self.expire_at(step, Term { now, until }, draft),
            (None, None) => {}
        }
    }

    /// Returns why a function cannot be called with this input: the event would be invalid, or this
    /// run has no room for it.
    fn call_fault(&self, step: &StepId, called: CalledFunction<'_>, draft: &Draft) -> Option<Failure> {
        let CalledFunction { function, input, user, .. } = called;
        let length = |user: &Option<Json>| user.as_ref().map_or(0, |user| user.get().len());
        let sent_user = if user.is_some() { user } else { &self.run.created.event.user };
        let bytes = input.get().len() + length(sent_user);
        let fault = name_problem(function).map(|fault| format!("the name of the function {fault}"));
        let of_user = || data_problem(user.as_ref()?).map(|fault| format!("its `user` {fault}"));
        let fault = fault.or_else(|| data_problem(input).map(|fault| format!("its input {fault}")));
        let fault = fault.or_else(of_user).or_else(|| {
            let most = EVENT_BYTES;
            (bytes > most)
                .then(|| format!("its input and the event's `user` have {bytes} bytes; at most {most} are allowed"))
        });
        match fault {
            Some(fault) => Some(Failure::with_code(format!("step `{step}` cannot call: {fault}"), ErrorCode::BadEvent)),
            None => self.no_room(step, draft, input.get().len() + length(user)),
        }
    }

    /// Returns the entry that ends the call of an unknown function. Only the process that starts
    /// the call decides this, because a worker with an older version may know fewer functions.
    fn unknown(&self, step: &StepId, function: &Arc<str>) -> Option<Fact> {
        if self.catalog.newest(function).is_some() {
            return None;
        }
        let error = Failure::with_code(
            format!("step `{step}` calls function `{function}`, which is not registered"),
            ErrorCode::UnknownFunction,
        );
        Some(Fact::InvokeEnded { step: step.clone(), outcome: Outcome::Failed(error) })
    }

    /// Adds the outcome of a called run that has ended, or ends a call whose time is over. If the
    /// called run is missing, requests its creation and returns true. If its function is not
    /// registered here, another worker may have it, like the worker that started the call.
    pub(super) fn look_after(
        &mut self,
        child: ChildCall,
        found: Option<FoundRun>,
        draft: &mut Draft,
        turn: &mut Turn<'_>,
    ) -> bool {
        let is_over = child.until.is_some_and(|until| until <= turn.now());
        // rule 15: the process that created the called run may have died before it sent the first
        // wake
        if let Some(FoundRun { next, end }) = found
            && (next > 1 || end.is_some() || !self.may_repeat())
        {
            let step = child.step;
            let ended = match end {
                Some(outcome) => Some(Fact::InvokeEnded { step, outcome }),
                None => is_over.then_some(Fact::WaitExpired { step }),
            };
            draft.entries.extend(ended.map(|ended| ended.into_entry(turn.now())));
            return false;
        }
        if is_over {
            // the called run is created nevertheless, because it goes on after the timeout
            draft.entries.push(Fact::WaitExpired { step: child.step.clone() }.into_entry(turn.now()));
        }
        if self.catalog.newest(&child.function).is_none() {
            turn.log(LogEvent::UnregisteredChild { child: child.run, function: child.function });
            let cause = self.cause().clone().replaced_unless_needed(WakeCause::Again);
            draft.before.push(self.wake_at(cause, turn.now() + UNREGISTERED, turn.now()));
            return false;
        }
        turn.emit(Effect::StartRun(Box::new((child.run, self.child_run(&child)))));
        true
    }

    /// Returns whether an earlier hop may have failed with this wake, or with a wake that this one
    /// replaces.
    fn may_repeat(&self) -> bool {
        let cause = self.cause();
        let again = matches!(
            cause,
            WakeCause::Again
                | WakeCause::Lease
                | WakeCause::Watchdog
                | WakeCause::Tick(_)
                | WakeCause::Heartbeat { .. }
        );
        self.is_redelivered() || again || cause.step().is_some()
    }

    /// Returns the runs of calls that were just written. The end of each such run wakes this run.
    pub(super) fn calls_of(&self, draft: &Draft) -> VecDeque<(RunId, NewRun)> {
        let of = |fact: &Fact| match fact {
            Fact::InvokeStarted { step, function, child, input, bound, until, user }
                if self.catalog.newest(function).is_some() =>
            {
                let (step, function, input) = (step.clone(), function.clone(), input.clone());
                let (bound, until, user) = (*bound, *until, user.clone());
                let call = ChildCall { step, run: *child, function, input, bound, until, user };
                Some((*child, self.child_run(&call)))
            }
            _ => None,
        };
        draft.entries.iter().filter_map(|entry| of(&entry.fact)).collect()
    }

    /// Creates the runs of calls, one after the other, and then continues.
    pub(super) fn start_calls(&mut self, mut calling: Calling, turn: &mut Turn<'_>) -> ActivePhase {
        if let Some(call) = calling.calls.pop_front() {
            turn.emit(Effect::StartRun(Box::new(call)));
            return ActivePhase::Calling(calling);
        }
        match calling.decides {
            Some(wants) => self.decide_again(wants, turn),
            None => self.advance(turn),
        }
    }

    fn child_run(&self, child: &ChildCall) -> NewRun {
        let event = Event {
            id: EventId::from_bytes(child.run.to_bytes()),
            name: FUNCTION_INVOKED.into(),
            data: child.input.clone(),
            ts: self.run.created_at,
            user: child.user.clone().or_else(|| self.run.created.event.user.clone()),
            external_id: None,
            received_at: self.run.created_at,
            trace: RunTrace::of(self.run.run, &self.run.created).context_to_send(SpanOf::Step(&child.step)),
        };
        let origin = RunOrigin::Invoke { parent: self.run.run, step: child.step.clone() };
        NewRun { bound: child.bound, ..NewRun::new(child.function.clone(), event, origin) }
    }
}
