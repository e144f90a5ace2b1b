//! The functions of apps as executors of the engine, and the calls of their steps.

use std::sync::Arc;

use async_trait::async_trait;
use reqwest::{Method, Url};
use stepladder_core::retry::RetryAdvice;
use stepladder_core::trace::TraceContext;
use stepladder_core::{ErrorCode, Failure, FunctionConfig, Json, StepId, Timestamp, json};
use stepladder_engine::executor::{AdvisedFailure, AttemptError, Execution, Executor, OpenError, RunView, Unreachable};
use stepladder_engine::{Connect, clock::Clock};

use crate::answer::{CallAnswer, advised};
use crate::call::CallAttempt;
use crate::convert::parse_address;
use crate::endpoint::RepeatedRequest;
use crate::execution::AppExecution;
use crate::failure::failure_of;
use crate::keys::{CurrentKeys, KeySource};
use crate::lambda::InvokeFunction;
use crate::operation::{Requested, StepError};
use crate::signature::SigningKeys;
use crate::step_id::hash_of;
use crate::transport::{AppAnswer, JOB_ID, NoAnswer, REQUEST_ID, TRACEPARENT, TRACESTATE, Transport, place};

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
        Ok(Self { transport: Arc::new(Transport::new(CurrentKeys::fixed(keys), clock)?) })
    }

    /// Creates a connector with keys that may change. Without them, it sends no requests.
    ///
    /// # Errors
    /// A sentence: no HTTP client can be created.
    pub fn with_key_source(source: Box<dyn KeySource>, clock: Arc<dyn Clock>) -> Result<Self, String> {
        Ok(Self { transport: Arc::new(Transport::new(CurrentKeys::from_source(source), clock)?) })
    }

    /// Also calls apps that are Lambda functions, with this invoker.
    #[must_use]
    pub fn invoking(self, invoker: Arc<dyn InvokeFunction>) -> Self {
        self.transport.set_invoker(invoker);
        self
    }

    pub(crate) fn transport(&self) -> &Arc<Transport> {
        &self.transport
    }
}

impl Connect for AppConnector {
    fn connect(&self, address: &str, function: &FunctionConfig) -> Result<Arc<dyn Executor>, String> {
        let url = parse_address(address).map_err(|problem| format!("the address of an app: {problem}"))?;
        Ok(Arc::new(AppFunction {
            caller: Caller {
                transport: self.transport.clone(),
                url,
                function: function.id.clone(),
                request: None,
                trace: None,
            },
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
pub(crate) struct Caller {
    pub(crate) transport: Arc<Transport>,
    /// The address of the app.
    pub(crate) url: Url,
    pub(crate) function: Arc<str>,
    /// The request that a call repeats, if the function is a durable endpoint.
    pub(crate) request: Option<Arc<RepeatedRequest>>,
    /// The span that calls pass to the app, if runs are traced.
    pub(crate) trace: Option<TraceContext>,
}

#[async_trait]
impl Executor for AppFunction {
    async fn open(&self, run: RunView, _: Timestamp) -> Result<Box<dyn Execution>, OpenError> {
        let request = RepeatedRequest::of(run.run, &run.event, &self.caller.url)?.map(Arc::new);
        let caller = Caller { request, trace: run.trace.clone(), ..self.caller.clone() };
        Ok(Box::new(AppExecution::new(caller, &run, self.max_failures)))
    }

    fn executes_in_poll(&self) -> bool {
        true
    }
}

impl Caller {
    /// Calls a step, or the whole function. `step` is a hash or [`WHOLE`].
    pub(crate) async fn call(&self, step: &str, attempt: CallAttempt, body: Vec<u8>) -> Result<AppAnswer, NoAnswer> {
        let id = self.transport.next_request_id();
        let traceparent = self.trace.as_ref().map(TraceContext::traceparent);
        let tracestate = self.trace.as_ref().and_then(|trace| trace.state.as_deref());
        let mut ids = vec![(REQUEST_ID, &*id), (JOB_ID, &*id)];
        ids.extend(traceparent.as_deref().map(|parent| (TRACEPARENT, parent)));
        ids.extend(tracestate.map(|state| (TRACESTATE, state)));
        if let Some(request) = &self.request {
            return request.send(&self.transport, step, attempt, &ids).await;
        }
        let mut url = self.url.clone();
        url.query_pairs_mut().append_pair("fnId", &self.function).append_pair("stepId", step);
        self.transport.send(Method::POST, &url, &ids, body).await
    }

    pub(crate) fn read(&self, answer: AppAnswer) -> Result<CallAnswer, Unreachable> {
        let place = place(&self.url);
        if !self.transport.accepts(&answer) {
            let why =
                format!("the answer of the app at {place} has a bad signature; check that both have the same key");
            return Err(Unreachable { why, is_broken: false });
        }
        CallAnswer::read(answer, &place, self.transport.now())
    }

    /// Executes one attempt of a step.
    pub(crate) async fn execute(
        &self,
        step: &StepId,
        attempt: CallAttempt,
        body: Vec<u8>,
    ) -> Result<Json, AttemptError> {
        let hash = &*hash_of(step);
        let answer = self.call(hash, attempt, body).await.map_err(|none| match none {
            NoAnswer::NotSent(_) => AttemptError::Unreachable(none.into()),
            NoAnswer::Lost(_) => AttemptError::Lost(none.into()),
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
                        | Requested::NotFound(_)
                        | Requested::AnotherCall,
                    ) => Err(not_found(step).into()),
                    Err(problem) => Err(advised(Failure::new(problem), RetryAdvice::Never).into()),
                }
            }
            CallAnswer::Completed(_) => Err(not_found(step).into()),
            CallAnswer::Failed(failed) => Err(failed.into()),
        }
    }
}

pub(crate) fn step_failure(error: &StepError, retry: RetryAdvice) -> AdvisedFailure {
    let retry = if error.is_final { RetryAdvice::Never } else { retry };
    advised(failure_of(&error.error), retry)
}

/// Checks that a journal can store a value.
pub(crate) fn stored(subject: &str, value: Json) -> Result<Json, AdvisedFailure> {
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
pub(crate) fn not_found(step: &str) -> AdvisedFailure {
    let message = format!(
        "the app does not find step `{step}`; its code has changed since the run requested it, or requests other steps \
         each time"
    );
    advised(Failure::with_code(message, ErrorCode::Nondeterminism), RetryAdvice::Default)
}
