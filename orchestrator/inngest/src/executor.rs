//! Executes functions of an app: each poll and each attempt is one HTTP request.
//!
//! A poll passes the recorded outcomes. If the function requests a single step, the app executes it
//! meanwhile and returns its outcome. If it requests several, or the step is not new, the app lists
//! them, and each executes as an attempt of its own. So no step executes in a poll while another
//! hop executes it, and a retry has its own number.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::{AbortHandle, Abortable, BoxFuture};
use futures::stream::{FuturesUnordered, StreamExt};
use reqwest::{Method, Url};
use stepladder_core::decide::Want;
use stepladder_core::retry::RetryAdvice;
use stepladder_core::state::RevealedOutcome;
use stepladder_core::{AttemptReport, ErrorCode, Failure, FunctionConfig, Json, StepId, Timestamp, json};
use stepladder_engine::executor::{
    AdvisedFailure, Attempt, AttemptError, ExecutedStep, Execution, Executor, Finished, OpenError, PollResult, Polled,
    RunView, StepResult, Unreachable,
};
use stepladder_engine::{Connect, clock::Clock};

use crate::answer::{CallAnswer, advised, unusable};
use crate::call::{CallAttempt, CalledRun, WHOLE};
use crate::convert::parse_address;
use crate::failure::failure_of;
use crate::gateway::StepRequest;
use crate::operation::{Requested, StepError, WireOperation};
use crate::signature::SigningKeys;
use crate::step_id::hash_of;
use crate::transport::{AppAnswer, NoAnswer, Transport, place};

/// Creates the executors of the functions of apps. Clones share their connections.
#[derive(Clone)]
pub struct AppConnector {
    transport: Arc<Transport>,
}

impl AppConnector {
    /// Creates a connector. With keys, requests to apps are signed.
    ///
    /// # Errors
    /// A sentence: no HTTP client can be created.
    pub fn new(keys: Option<SigningKeys>, clock: Arc<dyn Clock>) -> Result<Self, String> {
        Ok(Self { transport: Arc::new(Transport::new(keys, clock)?) })
    }

    pub(crate) fn transport(&self) -> &Arc<Transport> {
        &self.transport
    }
}

impl Connect for AppConnector {
    fn connect(&self, address: &str, function: &FunctionConfig) -> Result<Arc<dyn Executor>, String> {
        let url = parse_address(address).map_err(|problem| format!("the address of an app: {problem}"))?;
        Ok(Arc::new(AppFunction {
            caller: Caller { transport: self.transport.clone(), url, function: function.id.clone() },
            max_failures: function.retry.retries.saturating_add(1),
        }))
    }
}

/// A function of an app.
struct AppFunction {
    caller: Caller,
    /// The number of attempts of the handler that may fail.
    max_failures: u32,
}

/// Sends the calls of a function.
#[derive(Clone)]
struct Caller {
    transport: Arc<Transport>,
    /// The address of the app.
    url: Url,
    function: Arc<str>,
}

#[async_trait]
impl Executor for AppFunction {
    async fn open(&self, run: RunView, _: Timestamp) -> Result<Box<dyn Execution>, OpenError> {
        Ok(Box::new(AppExecution {
            caller: self.caller.clone(),
            run: CalledRun::new(&self.caller.function, &run),
            handler: CallAttempt {
                failures: run.attempt.saturating_sub(1),
                max_failures: self.max_failures,
                executes: true,
            },
            has_open_steps: false,
            requests: HashMap::new(),
            executing: HashMap::new(),
            attempts: FuturesUnordered::new(),
            stopped: Vec::new(),
        }))
    }

    fn executes_in_poll(&self) -> bool {
        true
    }
}

type AttemptFuture = BoxFuture<'static, StepResult>;

struct AppExecution {
    caller: Caller,
    run: CalledRun,
    /// The attempt of the function that polls execute.
    handler: CallAttempt,
    has_open_steps: bool,
    /// The requests of the steps that the last poll has listed.
    requests: HashMap<StepId, StepRequest>,
    executing: HashMap<StepId, AbortHandle>,
    attempts: FuturesUnordered<Abortable<AttemptFuture>>,
    stopped: Vec<(StepId, Duration)>,
}

#[async_trait]
impl Execution for AppExecution {
    async fn poll(&mut self, memo: Vec<RevealedOutcome>) -> Result<Polled, Unreachable> {
        memo.iter().for_each(|revealed| self.run.reveal(revealed));
        // the SDK would take the failures of the handler for those of the step
        let executes = self.handler.failures == 0 && !self.has_open_steps && self.executing.is_empty();
        let body = match self.run.body(WHOLE, CallAttempt { executes, ..self.handler }) {
            Ok(body) => body,
            Err(error) => return Ok(self.ended(Err(unusable("state of the run", &error.to_string())))),
        };
        let answer = self.caller.call(WHOLE, body).await;
        let answer = answer.map_err(|none| Unreachable { why: none.into_sentence() })?;
        Ok(match self.caller.read(answer)? {
            CallAnswer::Completed(value) => self.ended(Ok(value)),
            CallAnswer::Failed(failed) => self.ended(Err(failed)),
            CallAnswer::Operations { operations, retry } => self.polled(&operations, retry),
        })
    }

    fn set_open_steps(&mut self, has_open_steps: bool) {
        self.has_open_steps = has_open_steps;
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
            match self.attempts.next().await {
                Some(Ok(result)) => {
                    self.executing.remove(&result.step);
                    return finished(result);
                }
                // it was stopped
                Some(Err(_)) => {}
                None => std::future::pending().await,
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
        let caller = self.caller.clone();
        if let Some(request) = self.requests.get(&attempt.step).cloned() {
            return Box::pin(async move {
                let (result, report) = request.send(&caller.transport, attempt.is_last()).await;
                let result = result.and_then(|value| stored(&attempt.step, value));
                StepResult { step: attempt.step, result: result.map_err(Into::into), report }
            });
        }
        let call = CallAttempt { failures: attempt.failures, max_failures: attempt.max_failures, executes: true };
        let hash = hash_of(&attempt.step);
        let body = self.run.body(&hash, call);
        Box::pin(async move {
            let result = match body {
                Ok(body) => caller.execute(&attempt.step, &hash, body).await,
                Err(error) => Err(unusable("state of the run", &error.to_string()).into()),
            };
            StepResult { step: attempt.step, result, report: AttemptReport::default() }
        })
    }

    /// Returns the result of a poll in which the function has ended.
    fn ended(&mut self, result: Result<Json, AdvisedFailure>) -> Polled {
        for handle in self.executing.values() {
            handle.abort();
        }
        let dropped = self.executing.drain().map(|(step, _)| (step, AttemptReport::default())).collect();
        Polled { dropped, ..Polled::from(PollResult::Ended(result)) }
    }

    /// Returns the result of a poll in which the function has requested or executed steps.
    fn polled(&mut self, operations: &[WireOperation], retry: RetryAdvice) -> Polled {
        let (mut wants, mut executed): (Vec<Want>, Vec<ExecutedStep>) = (Vec::new(), Vec::new());
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
                Ok(Requested::Completed(value)) => return self.ended(stored("the function", value)),
                Ok(Requested::NotFound(step)) => return self.ended(Err(not_found(&step))),
                Err(problem) => {
                    return self.ended(Err(advised(Failure::new(problem), RetryAdvice::Never)));
                }
            }
        }
        if wants.is_empty() && executed.is_empty() {
            return self.ended(Err(unusable("list of operations", "it is empty")));
        }
        wants.retain(|want| !self.executing.contains_key(&want.step));
        Polled { executed, ..Polled::from(PollResult::Wanted(wants)) }
    }
}

impl Caller {
    /// Calls a step, or the whole function. `step` is a hash or [`WHOLE`].
    async fn call(&self, step: &str, body: Vec<u8>) -> Result<AppAnswer, NoAnswer> {
        let mut url = self.url.clone();
        url.query_pairs_mut().append_pair("fnId", &self.function).append_pair("stepId", step);
        self.transport.send(Method::POST, &url, &[], body).await
    }

    fn read(&self, answer: AppAnswer) -> Result<CallAnswer, Unreachable> {
        let place = place(&self.url);
        if !self.transport.accepts(&answer) {
            let why =
                format!("the answer of the app at {place} has a bad signature; check that both have the same key");
            return Err(Unreachable { why });
        }
        CallAnswer::read(answer, &place, self.transport.now())
    }

    /// Executes one attempt of a step.
    async fn execute(&self, step: &StepId, hash: &str, body: Vec<u8>) -> Result<Json, AttemptError> {
        let answer = self.call(hash, body).await.map_err(|none| match none {
            NoAnswer::NotSent(why) => AttemptError::Unreachable(Unreachable { why }),
            NoAnswer::Lost(why) => AttemptError::Lost(Unreachable { why }),
        })?;
        match self.read(answer).map_err(AttemptError::Lost)? {
            CallAnswer::Operations { operations, retry } => {
                let Some(operation) = operations.iter().find(|operation| operation.id == hash) else {
                    return Err(not_found(step).into());
                };
                match operation.requested() {
                    Ok(Requested::Executed { result: Ok(value), .. }) => Ok(stored(step, value)?),
                    Ok(Requested::Executed { result: Err(error), .. }) => Err(step_failure(&error, retry).into()),
                    Ok(
                        Requested::Wanted(_)
                        | Requested::Request(..)
                        | Requested::Completed(_)
                        | Requested::NotFound(_),
                    ) => Err(not_found(step).into()),
                    Err(problem) => Err(advised(Failure::new(problem), RetryAdvice::Never).into()),
                }
            }
            CallAnswer::Completed(_) => Err(not_found(step).into()),
            CallAnswer::Failed(failed) => Err(failed.into()),
        }
    }
}

fn finished(result: StepResult) -> Finished {
    Finished { results: vec![result], dropped: Vec::new() }
}

fn step_failure(error: &StepError, retry: RetryAdvice) -> AdvisedFailure {
    let retry = if error.is_final { RetryAdvice::Never } else { retry };
    advised(failure_of(&error.error), retry)
}

/// Checks that a journal can store a value.
fn stored(subject: &str, value: Json) -> Result<Json, AdvisedFailure> {
    match json::check(value.get()) {
        Ok(()) => Ok(value),
        Err(problem) => {
            let failure = Failure::new(format!("the value of `{subject}` {problem}"));
            Err(advised(failure, RetryAdvice::Never))
        }
    }
}

/// Creates the failure of a step that the code does not have. The code has changed, or does not
/// request the same steps each time. A retry may reach an app with the old code.
fn not_found(step: &str) -> AdvisedFailure {
    let message = format!(
        "the app does not find step `{step}`; its code has changed since the run requested it, or requests other steps \
         each time"
    );
    advised(Failure::with_code(message, ErrorCode::Nondeterminism), RetryAdvice::Default)
}
