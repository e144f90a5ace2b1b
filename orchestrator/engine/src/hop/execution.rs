//! Carries out the effects that concern the open execution of a function.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use stepladder_core::hop::{Attempt, Finished, Hop, Input, Opening, PollResult, StoreFault};
use stepladder_core::state::RevealedOutcome;
use stepladder_core::trace::SpanOf;
use stepladder_core::{RunId, StepId, Timestamp};

use crate::clock::Clock;
use crate::executor::{self, Execution, OpenError, PreparedCall, RunView, Unreachable};
use crate::hop::Shell;
use crate::hop::supervise::BodyWatch;
use crate::telemetry::{BodyScope, within};

/// How long before the end of an invocation an executor must have answered. The rest is for writing
/// what follows.
const ANSWER_MARGIN: Duration = Duration::from_secs(2);

/// An open execution of a function, with its attempts. Dropping it drops their bodies.
pub(super) struct OpenExecution {
    execution: Box<dyn Execution>,
    opening: Opening,
    deadline: Timestamp,
    /// For each executing body, its entry in the supervisor's list.
    watched: HashMap<StepId, BodyWatch>,
}

impl OpenExecution {
    /// Removes attempts that have ended from the supervisor's list.
    fn unwatch<'s>(&mut self, steps: impl Iterator<Item = &'s StepId>) {
        steps.for_each(|step| drop(self.watched.remove(step)));
    }
}

impl Shell<'_> {
    /// Leaves the open execution to the next hop of the run, if it can be continued.
    pub(super) fn suspend(&mut self, run: RunId, seen: Option<usize>) {
        if let (Some(open), Some(seen)) = (self.execution.take(), seen) {
            let now = self.storage.hops.runtime.now();
            self.storage.hops.suspended.keep(run, open.execution, open.opening, seen, now);
        }
    }

    /// Returns the scope of log lines of the run's function; `None` if runs are not traced.
    fn scope(&self) -> Option<Arc<dyn BodyScope>> {
        self.subject.as_ref()?.scope(SpanOf::Run)
    }

    pub(super) fn close(&mut self) -> Option<Input> {
        self.execution = None;
        None
    }

    pub(super) async fn open(&mut self, hop: &Hop, opening: Opening) -> Input {
        let deadline = hop.deadline().unwrap_or(Timestamp::MAX);
        if let Some(run) = hop.run()
            && let Some(suspended) = self.storage.hops.suspended.resume(run.run, &opening)
        {
            let (execution, seen) = suspended;
            self.execution = Some(OpenExecution { execution, opening, deadline, watched: HashMap::new() });
            return Input::Opened(Ok(seen));
        }
        let Opening { function, version, attempt, .. } = &opening;
        let (attempt, found) = (*attempt, self.storage.catalog.exact(function, version.as_deref()));
        let (Some(run), Some(found)) = (hop.run(), found) else {
            return Input::StoreFailed(StoreFault::Unavailable(format!("function `{function}` is gone")));
        };
        let trace = self.storage.hops.runtime.config.span_of(run, SpanOf::Run);
        let view = RunView { attempt, trace, ..RunView::of(run) };
        let clock = &*self.storage.hops.runtime.clock;
        let opened = within(self.scope(), found.executor.open(view, deadline));
        match answer_in_time(clock, deadline, opened).await {
            Ok(execution) => {
                self.execution = Some(OpenExecution { execution, opening, deadline, watched: HashMap::new() });
                Input::Opened(Ok(0))
            }
            Err(OpenError::Refused(failure)) => Input::Opened(Err(Box::new(failure))),
            Err(OpenError::Unreachable(unreachable)) => Input::Unreachable(unreachable),
        }
    }

    pub(super) async fn poll(&mut self, hop: &Hop, revealed: Vec<RevealedOutcome>) -> Input {
        let scope = self.scope();
        let Some(open) = &mut self.execution else { return closed() };
        let clock = &self.storage.hops.runtime.clock;
        let polled = match hop.call_expires() {
            None => answer_in_time(&**clock, open.deadline, within(scope, open.execution.poll(revealed))).await,
            Some(expires) => {
                open.execution.prepare_call(hop.run().map(PreparedCall::of).unwrap_or_default());
                tokio::select! {
                    biased;
                    polled = within(scope, open.execution.poll(revealed)) => polled,
                    () = sleep_until(&**clock, expires) => return Input::TimeIs,
                }
            }
        };
        match polled {
            Ok(polled) => {
                open.unwatch(polled.dropped.iter().map(|(step, _)| step));
                match &polled.result {
                    PollResult::Ended(_) => open.watched.clear(),
                    PollResult::Wanted(wants) => self.newer = self.storage.find_called(wants).await,
                }
                Input::Polled(Box::new(polled))
            }
            Err(unreachable) => Input::Unreachable(unreachable),
        }
    }

    pub(super) fn reveal_recorded(&mut self, recorded: Vec<RevealedOutcome>) -> Option<Input> {
        self.execution.as_mut()?.execution.reveal_recorded(recorded);
        None
    }

    pub(super) fn run(&mut self, hop: &Hop, attempts: Vec<Attempt>) -> Option<Input> {
        let open = self.execution.as_mut()?;
        let mut started = Vec::with_capacity(attempts.len());
        for attempt in attempts {
            let watch = self.storage.hops.watch(&attempt, open.deadline);
            let Attempt { ready, expires, .. } = attempt;
            open.watched.insert(ready.step.clone(), watch);
            let config = &self.storage.hops.runtime.config;
            let trace = hop.run().and_then(|run| config.attempt_trace(run, &ready.step, ready.attempt));
            started.push(executor::Attempt {
                step: ready.step,
                number: ready.attempt,
                failures: ready.failures,
                max_failures: ready.policy.retries.saturating_add(1),
                deadline: expires,
                poll_state: ready.poll_state,
                trace,
            });
        }
        open.execution.run(started);
        None
    }

    pub(super) fn stop(&mut self, step: &StepId, timeout: Duration) -> Option<Input> {
        self.execution.as_mut()?.execution.stop(step, timeout);
        None
    }

    pub(super) async fn await_attempts(&mut self, until: Timestamp) -> Input {
        let scope = self.scope();
        let Some(open) = &mut self.execution else { return closed() };
        let finished = tokio::select! {
            biased;
            finished = within(scope, open.execution.wait()) => finished,
            () = sleep_until(&*self.storage.hops.runtime.clock, until) => return Input::TimeIs,
        };
        let Finished { results, dropped } = &finished;
        open.unwatch(results.iter().map(|result| &result.step).chain(dropped.iter().map(|(step, _)| step)));
        Input::Finished(finished)
    }
}

/// Awaits the answer of an executor until shortly before the invocation ends. Without this limit,
/// an executor that never answers would end the invocation before the run has its next wake.
async fn answer_in_time<T, E: From<Unreachable>>(
    clock: &dyn Clock,
    deadline: Timestamp,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    tokio::select! {
        biased;
        answer = answer => answer,
        () = sleep_until(clock, deadline - ANSWER_MARGIN) => {
            let why = "the executor did not answer before the invocation ended".into();
            Err(Unreachable { why, is_broken: false }.into())
        }
    }
}

/// Sleeps until this time. The sleep is created when it is first polled, because most answers are
/// there at once.
async fn sleep_until(clock: &dyn Clock, due: Timestamp) {
    clock.sleep_until(due).await;
}

fn closed() -> Input {
    Input::StoreFailed(StoreFault::Unavailable("no execution of the function is open".into()))
}
