//! An executor that executes steps while it is polled, as a program behind HTTP does. It replays
//! the function anew in each hop, knows only the outcomes that the engine passes, and executes
//! every step that it reaches.
//!
//! Its answers may be lost: the call never answers, the worker dies meanwhile, or the connection
//! breaks after the steps were executed. A call goes on when its worker dies, until its time-out.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use stepladder_core::decide::{Operation, Want};
use stepladder_core::state::RevealedOutcome;
use stepladder_core::{RunId, StepId, Timestamp};
use stepladder_engine::executor::{
    Attempt, AttemptError, ExecutedStep, Execution, Executor, Finished, OpenError, PollResult, Polled, RunView,
    Unreachable,
};

use super::Shared;
use super::outages::until;

/// The additional time allowed for an answer that never comes: the retry of the handler.
const AFTER_A_LOST_ANSWER: Duration = Duration::from_secs(30);

/// An executor that executes steps while it is polled.
pub(super) struct ImmediateExecutor {
    inner: Arc<dyn Executor>,
    shared: Arc<Shared>,
    /// The maximum time of a call.
    timeout: Duration,
}

impl ImmediateExecutor {
    pub(super) fn new(inner: Arc<dyn Executor>, shared: Arc<Shared>, timeout: Duration) -> Self {
        Self { inner, shared, timeout }
    }
}

#[async_trait]
impl Executor for ImmediateExecutor {
    async fn open(&self, run: RunView, deadline: Timestamp) -> Result<Box<dyn Execution>, OpenError> {
        let id = run.run;
        let inner = self.inner.open(run, deadline).await?;
        let (shared, timeout) = (self.shared.clone(), self.timeout);
        Ok(Box::new(ImmediateExecution { run: id, inner: Some(inner), shared, timeout, call: None }))
    }

    fn executes_in_poll(&self) -> bool {
        true
    }
}

/// A call in progress, and when its time-out ends.
type Call = (BoxFuture<'static, (Box<dyn Execution>, Polled)>, Timestamp);

struct ImmediateExecution {
    run: RunId,
    /// The execution of the function; `None` while a call is in progress.
    inner: Option<Box<dyn Execution>>,
    shared: Arc<Shared>,
    timeout: Duration,
    call: Option<Call>,
}

impl Drop for ImmediateExecution {
    /// The worker has died, or has given up the call. The executor stops at the time-out by itself.
    fn drop(&mut self) {
        let Some((call, deadline)) = self.call.take() else { return };
        if self.shared.outlives_workers && self.shared.now() < deadline {
            let shared = self.shared.clone();
            let rest = async move { drop(until(call, &shared, deadline).await) };
            self.shared.tasks.lock().expect("no panic").push(rest.boxed());
        }
    }
}

#[async_trait]
impl Execution for ImmediateExecution {
    async fn poll(&mut self, memo: Vec<RevealedOutcome>) -> Result<Polled, Unreachable> {
        let Some(inner) = self.inner.take() else {
            self.shared.report(format!("{} is polled although its call has no answer", self.run));
            return std::future::pending().await;
        };
        let call = answer(inner, memo, CallGuard::begin(self.run, &self.shared));
        let (call, _) = self.call.insert((call.boxed(), self.shared.now() + self.timeout));
        let (inner, polled) = call.await;
        (self.inner, self.call) = (Some(inner), None);
        match self.shared.loses_answer() {
            false => Ok(polled),
            true if self.shared.dice.one_in(2) => Err(self.shared.lose_contact()),
            true => {
                self.shared.excuse(self.timeout + AFTER_A_LOST_ANSWER);
                std::future::pending().await
            }
        }
    }

    fn run(&mut self, attempts: Vec<Attempt>) {
        self.shared.report(format!("{} is to execute {attempts:?}, which it never left to the engine", self.run));
    }

    async fn wait(&mut self) -> Finished {
        std::future::pending().await
    }

    fn stop(&mut self, _: &StepId, _: Duration) {}
}

/// Replays the function and executes the steps that it reaches: all of them, or only the first one.
async fn answer(
    mut inner: Box<dyn Execution>,
    memo: Vec<RevealedOutcome>,
    call: CallGuard,
) -> (Box<dyn Execution>, Polled) {
    let mut polled = inner.poll(memo).await.expect("the SDK can be reached");
    let PollResult::Wanted(wants) = polled.result else { return (inner, polled) };
    let is_body = |want: &Want| matches!(want.operation, Operation::Run(_));
    let (mut bodies, others): (Vec<_>, Vec<_>) = wants.into_iter().partition(is_body);
    if call.shared.dice.one_in(2) {
        bodies.truncate(1);
    }
    let attempt = |want: &Want| Attempt {
        step: want.step.clone(),
        number: 1,
        failures: 0,
        max_failures: 1,
        deadline: Timestamp::MAX,
        poll_state: None,
        trace: None,
    };
    inner.run(bodies.iter().map(attempt).collect());
    while !bodies.is_empty() {
        let done = inner.wait().await.results;
        if done.is_empty() {
            // the function made progress by itself
            let more = inner.poll(Vec::new()).await.expect("the SDK can be reached");
            polled.lines.extend(more.lines);
            let PollResult::Wanted(_) = more.result else {
                polled.result = more.result;
                return (inner, polled);
            };
        }
        for done in done {
            let Some(at) = bodies.iter().position(|want| want.step == done.step) else { continue };
            let result = done.result.map_err(|error| match error {
                AttemptError::Failed(failure) => failure,
                AttemptError::Unreachable(why) | AttemptError::Lost(why) => panic!("the SDK can be reached: {why:?}"),
            });
            polled.executed.push(ExecutedStep { want: bodies.remove(at), result, report: done.report });
        }
    }
    polled.result = PollResult::Wanted(others);
    (inner, polled)
}

/// The registration of a call in progress. Dropping it ends the call.
struct CallGuard {
    run: RunId,
    shared: Arc<Shared>,
}

impl CallGuard {
    fn begin(run: RunId, shared: &Arc<Shared>) -> Self {
        shared.calls.lock().expect("no panic").push(run);
        Self { run, shared: shared.clone() }
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        let mut calls = self.shared.calls.lock().expect("no panic");
        let at = calls.iter().position(|run| *run == self.run).expect("begun");
        calls.swap_remove(at);
    }
}
