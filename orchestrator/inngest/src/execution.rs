//! Executes one run of a function of an app: each poll and each attempt is one HTTP request.
//!
//! A poll passes the recorded outcomes. If the function requests a single step, the app executes it
//! meanwhile. It records the outcome by itself and goes on, or returns it. If the function requests
//! several steps, or the step is not new, the app lists them, and each executes as an attempt of
//! its own. So no step executes in a poll while another hop executes it, and a retry has its own
//! number.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::{AbortHandle, Abortable, BoxFuture};
use futures::stream::{FuturesUnordered, StreamExt};
use stepladder_core::decide::Want;
use stepladder_core::retry::RetryAdvice;
use stepladder_core::state::RevealedOutcome;
use stepladder_core::{AttemptReport, ErrorCode, Failure, Json, StepId};
use stepladder_engine::executor::{
    AdvisedFailure, Attempt, ExecutedStep, Execution, Finished, PollResult, Polled, PreparedCall, RunView, StepResult,
    Unreachable,
};

use crate::answer::{CallAnswer, advised, unusable};
use crate::call::{CallAttempt, CalledRun, WHOLE};
use crate::executor::{Caller, not_found, step_failure, stored};
use crate::gateway::StepRequest;
use crate::operation::{Requested, WireOperation};
use crate::step_id::hash_of;

/// The name of the error with which an SDK ends a call that must record nothing more.
const STOPPED: &str = "StaleDispatchError";

type AttemptFuture = BoxFuture<'static, StepResult>;

pub(crate) struct AppExecution {
    pub(crate) caller: Caller,
    pub(crate) run: CalledRun,
    /// The attempt of the function that polls execute.
    pub(crate) handler: CallAttempt,
    pub(crate) prepared: PreparedCall,
    /// The requests of the steps that the last poll has listed.
    requests: HashMap<StepId, StepRequest>,
    executing: HashMap<StepId, AbortHandle>,
    pub(crate) attempts: FuturesUnordered<Abortable<AttemptFuture>>,
    /// The attempts that have ended during a poll.
    pub(crate) ended: VecDeque<StepResult>,
    stopped: Vec<(StepId, Duration)>,
}

impl AppExecution {
    pub(crate) fn new(caller: Caller, run: &RunView, max_failures: u32) -> Self {
        let failures = run.attempt.saturating_sub(1);
        Self {
            run: CalledRun::new(&caller.function, run),
            caller,
            handler: CallAttempt { failures, max_failures, executes: true, checkpoints: None },
            prepared: PreparedCall::default(),
            requests: HashMap::new(),
            executing: HashMap::new(),
            attempts: FuturesUnordered::new(),
            ended: VecDeque::new(),
            stopped: Vec::new(),
        }
    }
}

#[async_trait]
impl Execution for AppExecution {
    async fn poll(&mut self, memo: Vec<RevealedOutcome>) -> Result<Polled, Unreachable> {
        memo.iter().for_each(|revealed| self.run.reveal(revealed));
        // the SDK would take the failures of the handler for those of the step
        let executes = self.handler.failures == 0 && !self.prepared.has_open_bodies && self.executing.is_empty();
        let checkpoints = executes.then_some(self.prepared.number);
        let attempt = CallAttempt { executes, checkpoints, ..self.handler };
        let body = match self.run.body(WHOLE, attempt) {
            Ok(body) => body,
            Err(error) => return Ok(self.end(Err(unusable("state of the run", &error.to_string())))),
        };
        let answer = self.caller.call(WHOLE, attempt, body).await;
        let answer = answer.map_err(Unreachable::from)?;
        // a durable endpoint fetches its outcomes, so a second call would be the same
        let can_tell = self.caller.request.is_none() && answer.lists_no_known_steps();
        let polled = match self.caller.read(answer)? {
            CallAnswer::Completed(value) => self.end(Ok(value)),
            CallAnswer::Failed(failed) if executes && failed.failure.name.as_deref() == Some(STOPPED) => {
                Polled { has_checkpoints: true, ..PollResult::Wanted(Vec::new()).into() }
            }
            CallAnswer::Failed(failed) => Polled { has_checkpoints: executes, ..self.end(Err(failed)) },
            CallAnswer::Operations { operations, retry } => {
                let polled = self.polled(&operations, retry);
                // an app that returns the outcome of one step has not recorded it by itself
                let is_one_step = polled.executed.len() == 1 && operations.len() == 1;
                Polled { has_checkpoints: executes && !is_one_step, ..polled }
            }
        };
        match can_tell && self.may_have_ended(&polled) {
            true => Ok(self.end_if_it_has_ended(polled).await),
            false => Ok(polled),
        }
    }

    fn prepare_call(&mut self, call: PreparedCall) {
        self.prepared = call;
    }

    fn reveal_recorded(&mut self, recorded: Vec<RevealedOutcome>) {
        recorded.iter().for_each(|revealed| self.run.reveal(revealed));
    }

    fn run(&mut self, attempts: Vec<Attempt>) {
        for attempt in attempts {
            let (handle, registration) = AbortHandle::new_pair();
            self.executing.insert(attempt.step.clone(), handle);
            self.attempts.push(Abortable::new(self.attempt(attempt), registration));
        }
    }

    async fn wait(&mut self) -> Finished {
        loop {
            if let Some((step, timeout)) = self.stopped.pop() {
                let message = format!("step `{step}` ran past its time-out of {timeout:?}");
                let failure = Failure::with_code(message, ErrorCode::Timeout);
                let result = Err(advised(failure, RetryAdvice::Default).into());
                return finished(StepResult { step, result, report: AttemptReport::default() });
            }
            let result = match self.ended.pop_front() {
                Some(result) => result,
                None => match self.attempts.next().await {
                    Some(Ok(result)) => result,
                    // it was stopped
                    Some(Err(_)) => continue,
                    None => std::future::pending().await,
                },
            };
            // an attempt that was stopped after its end has a result of its own
            if self.executing.remove(&result.step).is_some() {
                return finished(result);
            }
        }
    }

    fn stop(&mut self, step: &StepId, timeout: Duration) {
        if let Some(handle) = self.executing.remove(step) {
            handle.abort();
            self.stopped.push((step.clone(), timeout));
        }
    }
}

impl AppExecution {
    /// Executes an attempt: calls the app, or makes the request of the step.
    fn attempt(&self, attempt: Attempt) -> AttemptFuture {
        let trace = attempt.trace.as_ref().map(|trace| trace.span.clone());
        let caller = Caller { trace, ..self.caller.clone() };
        if let Some(request) = self.requests.get(&attempt.step).cloned() {
            return Box::pin(async move {
                let (result, report) = request.send(&caller.transport, attempt.is_last()).await;
                let result = result.and_then(|value| stored(&attempt.step, value));
                StepResult { step: attempt.step, result: result.map_err(Into::into), report }
            });
        }
        let (failures, max_failures) = (attempt.failures, attempt.max_failures);
        let call = CallAttempt { failures, max_failures, executes: true, checkpoints: None };
        let hash = hash_of(&attempt.step);
        let body = self.run.body(&hash, call);
        Box::pin(async move {
            let result = match body {
                Ok(body) => caller.execute(&attempt.step, call, body).await,
                Err(error) => Err(unusable("state of the run", &error.to_string()).into()),
            };
            StepResult { step: attempt.step, result, report: AttemptReport::default() }
        })
    }

    /// Returns the result of a poll in which the function has ended.
    pub(crate) fn end(&mut self, result: Result<Json, AdvisedFailure>) -> Polled {
        for handle in self.executing.values() {
            handle.abort();
        }
        self.ended.clear();
        let dropped = self.executing.drain().map(|(step, _)| (step, AttemptReport::default())).collect();
        Polled { dropped, ..Polled::from(PollResult::Ended(result)) }
    }

    /// Returns the result of a poll in which the function has requested or executed steps.
    fn polled(&mut self, operations: &[WireOperation], retry: RetryAdvice) -> Polled {
        let (mut wants, mut executed): (Vec<Want>, Vec<ExecutedStep>) = (Vec::new(), Vec::new());
        let (mut asks_again, mut completed) = (false, None);
        self.requests.clear();
        for operation in operations {
            match operation.requested() {
                Ok(Requested::Wanted(want)) => wants.push(want),
                Ok(Requested::Request(want, request)) => {
                    self.requests.insert(want.step.clone(), *request);
                    wants.push(want);
                }
                Ok(Requested::Executed { want, result }) => {
                    let result =
                        result.map_err(|error| step_failure(&error, retry)).and_then(|value| stored(&want.step, value));
                    executed.push(ExecutedStep { want, result, report: AttemptReport::default() });
                }
                Ok(Requested::Completed(value)) => completed = Some(value),
                Ok(Requested::AnotherCall) => asks_again = true,
                Ok(Requested::NotFound(step)) => return self.end(Err(not_found(&step))),
                Err(problem) => {
                    return self.end(Err(advised(Failure::new(problem), RetryAdvice::Never)));
                }
            }
        }
        if let Some(value) = completed {
            // the steps that the app has executed before the end come with it
            return Polled { executed, ..self.end(stored("the function", value)) };
        }
        if wants.is_empty() && executed.is_empty() && !asks_again {
            return self.end(Err(unusable("list of operations", "it is empty")));
        }
        wants.retain(|want| !self.executing.contains_key(&want.step));
        Polled { executed, ..Polled::from(PollResult::Wanted(wants)) }
    }
}

fn finished(result: StepResult) -> Finished {
    Finished { results: vec![result], dropped: Vec::new() }
}
