//! The front end: an executor of functions that are in another process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::program::CHARGE;
use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use serde_json::{Value, json};
use stepladder_core::decide::{Operation, StepOptions, Want};
use stepladder_core::retry::RetryAdvice;
use stepladder_core::state::RevealedOutcome;
use stepladder_core::{Failure, FunctionConfig, Json, Outcome, StepId, Timestamp};
use stepladder_engine::clock::Clock;
use stepladder_engine::executor::{
    AdvisedFailure, Attempt, AttemptError, Execution, Finished, OpenError, PollResult, Polled, RunView, StepResult,
    Unreachable,
};
use stepladder_engine::{Connect, Executor};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Connects to programs at addresses of the form `127.0.0.1:1234`.
pub(crate) struct TcpFrontEnd {
    pub(crate) clock: Arc<dyn Clock>,
}

impl Connect for TcpFrontEnd {
    fn connect(&self, address: &str, function: &FunctionConfig) -> Result<Arc<dyn Executor>, String> {
        let address = address.parse().map_err(|_| format!("`{address}` is no address of a program"))?;
        Ok(Arc::new(RemoteFunction { address, config: function.clone(), clock: self.clock.clone() }))
    }
}

struct RemoteFunction {
    address: SocketAddr,
    config: FunctionConfig,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl Executor for RemoteFunction {
    async fn open(&self, _: RunView, deadline: Timestamp) -> Result<Box<dyn Execution>, OpenError> {
        Ok(Box::new(RemoteExecution {
            address: self.address,
            request: json!({ "function": &*self.config.id, "version": self.config.version.as_deref() }),
            deadline,
            clock: self.clock.clone(),
            outcomes: Vec::new(),
            executing: Vec::new(),
            attempts: FuturesUnordered::new(),
            stopped: Vec::new(),
        }))
    }
}

type Answered = (StepId, Result<Value, NoAnswer>);

/// Why a request has no answer.
#[derive(Debug)]
pub(crate) struct NoAnswer {
    /// Whether the request was sent, so that the program may have handled it.
    is_sent: bool,
    why: String,
}

impl From<NoAnswer> for Unreachable {
    fn from(NoAnswer { why, .. }: NoAnswer) -> Self {
        Self { why, is_broken: false }
    }
}

impl From<NoAnswer> for AttemptError {
    fn from(no_answer: NoAnswer) -> Self {
        if no_answer.is_sent { Self::Lost(no_answer.into()) } else { Self::Unreachable(no_answer.into()) }
    }
}

struct RemoteExecution {
    address: SocketAddr,
    /// The fields of each request.
    request: Value,
    deadline: Timestamp,
    clock: Arc<dyn Clock>,
    outcomes: Vec<(StepId, Outcome)>,
    executing: Vec<StepId>,
    attempts: FuturesUnordered<BoxFuture<'static, Answered>>,
    stopped: Vec<(StepId, Duration)>,
}

impl RemoteExecution {
    /// Returns the request with these fields added.
    fn request(&self, fields: Value) -> Value {
        let mut request = self.request.clone();
        if let (Some(request), Value::Object(fields)) = (request.as_object_mut(), fields) {
            request.extend(fields);
        }
        request
    }

    fn is_executing(&mut self, step: &StepId) -> bool {
        let known = self.executing.len();
        self.executing.retain(|executing| executing != step);
        self.executing.len() < known
    }
}

#[async_trait]
impl Execution for RemoteExecution {
    async fn poll(&mut self, memo: Vec<RevealedOutcome>) -> Result<Polled, Unreachable> {
        self.outcomes.extend(memo.into_iter().map(|revealed| (revealed.step, revealed.outcome)));
        let mut done = Vec::new();
        for (_, outcome) in &self.outcomes {
            match outcome {
                Outcome::Value(output) => done.push(output.clone()),
                Outcome::Failed(failure) => return Ok(PollResult::Ended(Err(failed(failure.clone()))).into()),
            }
        }
        let request = self.request(json!({ "call": "poll", "done": done }));
        let answer = tokio::select! {
            answer = call(self.address, request) => answer.map_err(Unreachable::from)?,
            () = self.clock.sleep_until(self.deadline) => {
                return Err(Unreachable { why: "the program did not answer a poll in time".into(), is_broken: false });
            }
        };
        if let Some(output) = answer.get("output") {
            return Ok(PollResult::Ended(Ok(json_of(output))).into());
        }
        let wants = answer["wants"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let wants = wants.map(StepId::from).filter(|step| !self.executing.contains(step));
        let options = |step: &StepId| StepOptions { at_most_once: **step == *CHARGE, ..StepOptions::default() };
        let want = |step: StepId| Want { operation: Operation::Run(options(&step)), step, at: None };
        Ok(PollResult::Wanted(wants.map(want).collect()).into())
    }

    fn run(&mut self, attempts: Vec<Attempt>) {
        for Attempt { step, .. } in attempts {
            let request = self.request(json!({ "call": "body", "step": &*step }));
            let address = self.address;
            self.executing.push(step.clone());
            self.attempts.push(Box::pin(async move { (step, call(address, request).await) }));
        }
    }

    async fn wait(&mut self) -> Finished {
        let (step, result) = loop {
            if let Some((step, timeout)) = self.stopped.pop() {
                let failure = Failure::new(format!("step `{step}` ran past its time-out of {timeout:?}"));
                break (step, Err(AdvisedFailure { failure, retry: RetryAdvice::Default }.into()));
            }
            let Some((step, answer)) = self.attempts.next().await else { std::future::pending().await };
            if self.is_executing(&step) {
                break (step, answer.map(|answer| json_of(&answer["output"])).map_err(AttemptError::from));
            }
        };
        let result = StepResult { step, result, report: Default::default() };
        Finished { results: vec![result], dropped: Vec::new() }
    }

    fn stop(&mut self, step: &StepId, timeout: Duration) {
        if self.is_executing(step) {
            self.stopped.push((step.clone(), timeout));
        }
    }
}

fn failed(failure: Failure) -> AdvisedFailure {
    AdvisedFailure { failure, retry: RetryAdvice::Never }
}

fn json_of(value: &Value) -> Json {
    stepladder_core::json::to_json(value).expect("JSON")
}

/// Sends a request, and returns its answer.
pub(crate) async fn call(address: SocketAddr, request: Value) -> Result<Value, NoAnswer> {
    let no_answer = |is_sent| {
        move |error: std::io::Error| {
            let why = format!("the program at {address} does not answer: {error}");
            NoAnswer { is_sent, why }
        }
    };
    let mut stream = BufReader::new(TcpStream::connect(address).await.map_err(no_answer(false))?);
    let exchange = async {
        stream.write_all(format!("{request}\n").as_bytes()).await?;
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        Ok::<Value, std::io::Error>(serde_json::from_str(&line)?)
    };
    exchange.await.map_err(no_answer(true))
}
