//! A scripted function: a graph of steps. Each step is requested as soon as the steps that it
//! depends on have outcomes. This is a small front end to test the engine without the SDK.

use std::collections::HashMap;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use stepladder_core::decide::{Operation, StepOptions, Want};
use stepladder_core::journal::{Failure, Outcome};
use stepladder_core::report::{HandlerLogLine, LogLevel, LogLine};
use stepladder_core::retry::RetryAdvice;
use stepladder_core::spec::Trigger;
use stepladder_core::state::RevealedOutcome;
use stepladder_core::{AttemptReport, Json, RunId, Spec, StepId, Timestamp, json};
use stepladder_engine::RegisteredFunction;
use stepladder_engine::executor::{
    AdvisedFailure, Attempt, AttemptError, Execution, Executor, Finished, OpenError, PollResult, Polled, RunView,
    StepResult, Unreachable,
};

use super::execution_log::ExecutionLog;
use super::outage::Outage;

type BodyFuture = Pin<Box<dyn Future<Output = Result<Json, AdvisedFailure>> + Send>>;
type RunningBody = Pin<Box<dyn Future<Output = (StepId, Result<Json, AdvisedFailure>)> + Send>>;
type ScriptedBody = Arc<dyn Fn(u32) -> BodyFuture + Send + Sync>;

/// The action of a scripted step.
#[derive(Clone)]
enum StepAction {
    Run(ScriptedBody, StepOptions),
    Ask(Operation),
}

#[derive(Clone)]
struct ScriptedStep {
    id: StepId,
    after: Vec<StepId>,
    what: StepAction,
}

/// A scripted function. It completes with the number of its outcomes. If a step fails, the function
/// fails for good.
#[derive(Clone)]
pub struct ScriptedFunction {
    spec: Spec,
    ops: Vec<ScriptedStep>,
    talks: bool,
    falls: u32,
    version: Option<&'static str>,
    executed: ExecutionLog,
    outage: Arc<Outage>,
    bytes_to_keep: Option<usize>,
    replays: Arc<Replays>,
}

/// How often a function was replayed.
#[derive(Debug, Default)]
pub struct Replays {
    /// The number of executions that were opened.
    pub opened: AtomicUsize,
    /// The number of outcomes that were passed to them.
    pub outcomes: AtomicUsize,
}

impl ScriptedFunction {
    /// Creates a function that is triggered by the event `go`.
    pub fn new(id: &str) -> Self {
        let mut spec = Spec::new(id);
        spec.triggers.push(Trigger { event: "go".into(), condition: None });
        Self {
            spec,
            ops: Vec::new(),
            talks: false,
            falls: 0,
            version: None,
            executed: ExecutionLog::default(),
            outage: Arc::default(),
            bytes_to_keep: None,
            replays: Arc::default(),
        }
    }

    /// Lets the next hop continue an execution, which then has this size.
    pub fn kept(mut self, bytes: usize) -> Self {
        self.bytes_to_keep = Some(bytes);
        self
    }

    /// Returns how often the function was replayed.
    pub fn replays(&self) -> Arc<Replays> {
        self.replays.clone()
    }

    /// Changes the function's description.
    pub fn spec(mut self, change: impl FnOnce(&mut Spec)) -> Self {
        change(&mut self.spec);
        self
    }

    /// Adds a step that succeeds, after the steps in `after`.
    pub fn step(self, id: &str, after: &[&str]) -> Self {
        self.body(id, after, |_| async { Ok(()) })
    }

    /// Adds a step. Its body gets the number of the execution, counted from 1.
    pub fn body<F, Fut>(self, id: &str, after: &[&str], body: F) -> Self
    where
        F: Fn(u32) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), AdvisedFailure>> + Send + 'static,
    {
        self.body_with(id, after, StepOptions::default(), body)
    }

    /// Adds a step with options.
    pub fn body_with<F, Fut>(mut self, id: &str, after: &[&str], options: StepOptions, body: F) -> Self
    where
        F: Fn(u32) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), AdvisedFailure>> + Send + 'static,
    {
        let body: ScriptedBody = Arc::new(move |n| {
            let body = body(n);
            Box::pin(async move { body.await.map(|()| json::to_json(&n).unwrap()) })
        });
        self.ops.push(scripted_step(id, after, StepAction::Run(body, options)));
        self
    }

    /// Adds a step with a JSON value of this many bytes as its outcome. The body first awaits
    /// `meanwhile`.
    pub fn large_step<Fut>(
        mut self,
        id: &str,
        after: &[&str],
        bytes: usize,
        meanwhile: impl Fn() -> Fut + Send + Sync + 'static,
    ) -> Self
    where
        Fut: Future<Output = ()> + Send + 'static,
    {
        let body: ScriptedBody = Arc::new(move |_| {
            let meanwhile = meanwhile();
            Box::pin(async move {
                meanwhile.await;
                Ok(json::to_json(&"x".repeat(bytes - 2)).unwrap())
            })
        });
        self.ops.push(scripted_step(id, after, StepAction::Run(body, StepOptions::default())));
        self
    }

    /// Adds a step without a body, for example a sleep.
    pub fn request(mut self, id: &str, after: &[&str], ask: Operation) -> Self {
        self.ops.push(scripted_step(id, after, StepAction::Ask(ask)));
        self
    }

    /// Makes the function write a log line at its start and after each outcome.
    pub fn with_log_lines(mut self) -> Self {
        self.talks = true;
        self
    }

    /// Makes the first `times` attempts of the handler fail after all steps have ended.
    pub fn with_failing_handler(mut self, times: u32) -> Self {
        self.falls = times;
        self
    }

    /// Sets the function's version.
    pub fn version(mut self, version: &'static str) -> Self {
        self.version = Some(version);
        self
    }

    /// Returns the record of the executed bodies.
    pub fn executed(&self) -> ExecutionLog {
        self.executed.clone()
    }

    /// Returns the outage of its executor.
    pub fn outage(&self) -> Arc<Outage> {
        self.outage.clone()
    }

    /// Returns the script as a function for the engine.
    pub fn function(self) -> RegisteredFunction {
        RegisteredFunction::new(self.spec.clone(), self.version.map(Into::into), Arc::new(self))
    }
}

fn scripted_step(id: &str, after: &[&str], what: StepAction) -> ScriptedStep {
    ScriptedStep { id: id.into(), after: after.iter().map(|id| StepId::from(*id)).collect(), what }
}

/// A failure that is retried.
pub fn retryable_failure(message: &str) -> AdvisedFailure {
    AdvisedFailure { failure: Failure::new(message), retry: RetryAdvice::Default }
}

/// A failure that is not retried.
pub fn terminal_failure(message: &str) -> AdvisedFailure {
    AdvisedFailure { failure: Failure::new(message), retry: RetryAdvice::Never }
}

#[async_trait]
impl Executor for ScriptedFunction {
    async fn open(&self, run: RunView, _: Timestamp) -> Result<Box<dyn Execution>, OpenError> {
        Outage::hits(&self.outage.opens).map_err(OpenError::Unreachable)?;
        Outage::answer(&self.outage.silent_opens).await;
        self.replays.opened.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(ScriptedExecution {
            run: run.run,
            attempt: run.attempt,
            script: self.clone(),
            seen: HashMap::new(),
            order: Vec::new(),
            running: FuturesUnordered::new(),
            begun: Vec::new(),
            unreachable: Vec::new(),
            expired: Vec::new(),
            said: 0,
        }))
    }
}

struct ScriptedExecution {
    run: RunId,
    attempt: u32,
    script: ScriptedFunction,
    seen: HashMap<StepId, Outcome>,
    order: Vec<StepId>,
    running: FuturesUnordered<RunningBody>,
    begun: Vec<StepId>,
    /// Attempts that could not be executed.
    unreachable: Vec<(StepId, Unreachable)>,
    expired: Vec<(StepId, Duration)>,
    /// The number of log lines that were taken.
    said: usize,
}

impl ScriptedExecution {
    fn advance(&self) -> PollResult {
        for op in &self.script.ops {
            if let Some(Outcome::Failed(failure)) = self.seen.get(&op.id) {
                return PollResult::Ended(Err(AdvisedFailure { failure: failure.clone(), retry: RetryAdvice::Never }));
            }
        }
        let wanted: Vec<Want> = self
            .script
            .ops
            .iter()
            .filter(|op| !self.seen.contains_key(&op.id) && !self.begun.contains(&op.id))
            .filter(|op| op.after.iter().all(|id| self.seen.contains_key(id)))
            .map(|op| Want {
                step: op.id.clone(),
                operation: match &op.what {
                    StepAction::Run(_, options) => Operation::Run(options.clone()),
                    StepAction::Ask(ask) => ask.clone(),
                },
                at: Some(Location::caller().into()),
            })
            .collect();
        if self.script.ops.iter().all(|op| self.seen.contains_key(&op.id)) {
            return PollResult::Ended(match self.attempt <= self.script.falls {
                true => Err(retryable_failure("it fell")),
                false => Ok(json::to_json(&self.order).unwrap()),
            });
        }
        PollResult::Wanted(wanted)
    }

    fn take_log_lines(&mut self) -> Vec<HandlerLogLine> {
        if !self.script.talks {
            return Vec::new();
        }
        let all = self.order.len() + 1;
        let of = |n: usize| {
            let line = LogLine::new(LogLevel::Info, &format!("line {n}"), None);
            HandlerLogLine { after: n as u64, nth: 0, line }
        };
        (std::mem::replace(&mut self.said, all)..all).map(of).collect()
    }

    async fn next(&mut self) -> (StepId, Result<Json, AttemptError>) {
        if let Some((step, timeout)) = self.expired.pop() {
            self.begun.retain(|id| *id != step);
            let message = format!("step `{step}` ran past its time-out of {timeout:?}");
            return (step, Err(retryable_failure(&message).into()));
        }
        loop {
            let Some((step, result)) = self.running.next().await else { std::future::pending().await };
            // a stopped body is not reported again
            if self.begun.contains(&step) {
                self.begun.retain(|id| *id != step);
                return (step, result.map_err(Into::into));
            }
        }
    }
}

#[async_trait]
impl Execution for ScriptedExecution {
    async fn poll(&mut self, memo: Vec<RevealedOutcome>) -> Result<Polled, Unreachable> {
        self.script.replays.outcomes.fetch_add(memo.len(), Ordering::Relaxed);
        for revealed in memo {
            self.order.push(revealed.step.clone());
            self.seen.insert(revealed.step, revealed.outcome);
        }
        Outage::hits(&self.script.outage.polls)?;
        Outage::answer(&self.script.outage.silent_polls).await;
        let result = self.advance();
        let mut orphans = Vec::new();
        if let PollResult::Ended(_) = result {
            let is_known = |id: &&StepId| self.script.ops.iter().any(|op| op.id == **id);
            orphans.extend(self.seen.keys().filter(|id| !is_known(id)).cloned());
        }
        Ok(Polled { lines: self.take_log_lines(), orphans, ..result.into() })
    }

    fn run(&mut self, attempts: Vec<Attempt>) {
        for Attempt { step: id, .. } in attempts {
            if let Err(unreachable) = Outage::hits(&self.script.outage.attempts) {
                self.unreachable.push((id, unreachable));
                continue;
            }
            let op = self.script.ops.iter().find(|op| op.id == id).expect("a step of the script");
            let StepAction::Run(body, _) = &op.what else { panic!("{id} has no body") };
            let (n, executing) = self.script.executed.begin(self.run, &id);
            let body = body(n);
            self.begun.push(id.clone());
            self.running.push(Box::pin(async move {
                let result = body.await;
                drop(executing);
                (id, result)
            }));
        }
    }

    async fn wait(&mut self) -> Finished {
        let (step, result) = match self.unreachable.pop() {
            Some((step, unreachable)) => (step, Err(AttemptError::Unreachable(unreachable))),
            None => self.next().await,
        };
        let result = StepResult { step, result, report: AttemptReport::default() };
        Finished { results: vec![result], dropped: Vec::new() }
    }

    fn stop(&mut self, step: &StepId, timeout: Duration) {
        self.expired.push((step.clone(), timeout));
    }

    fn bytes_to_keep(&self) -> Option<usize> {
        self.script.bytes_to_keep.filter(|_| self.begun.is_empty())
    }
}
