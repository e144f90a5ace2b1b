//! An executor of functions in the process of an app, as one with Inngest's SDK is. This is the
//! engine's side: each poll and each attempt is a request.
//!
//! A request may be lost on the way, arrive late, lose its answer, be answered by a proxy, or end
//! with the app's process. The app does not notice that its client has gone, so it goes on.

mod checkpoints;
mod requests;
mod serving;

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::{AbortHandle, Abortable, BoxFuture};
use futures::stream::{FuturesUnordered, StreamExt};
use stepladder_core::hop::AdvisedFailure;
use stepladder_core::retry::RetryAdvice;
use stepladder_core::state::RevealedOutcome;
use stepladder_core::{AttemptReport, ErrorCode, Failure, StepId, Timestamp};
use stepladder_engine::executor::{
    Attempt, AttemptError, Execution, Executor, Finished, OpenError, PollResult, Polled, PreparedCall, RunView,
    StepResult, Unreachable,
};

use super::Shared;
use crate::simulation::account::{AppRequest, RequestTarget};
pub(super) use checkpoints::PostedCheckpoint;
use requests::{NoAnswer, Reply};
use serving::SimulatedApp;

/// A request expires this much earlier than by the clock of its worker.
const CLOCKS: Duration = Duration::from_secs(5);

/// An executor that sends requests to an app.
pub(super) struct AppExecutor {
    inner: Arc<dyn Executor>,
    shared: Arc<Shared>,
    /// The maximum time of a call.
    timeout: Duration,
}

impl AppExecutor {
    pub(super) fn new(inner: Arc<dyn Executor>, shared: Arc<Shared>, timeout: Duration) -> Self {
        Self { inner, shared, timeout }
    }
}

#[async_trait]
impl Executor for AppExecutor {
    async fn open(&self, run: RunView, _: Timestamp) -> Result<Box<dyn Execution>, OpenError> {
        let app = SimulatedApp { functions: self.inner.clone(), shared: self.shared.clone(), run, memo: Vec::new() };
        Ok(Box::new(AppExecution {
            app,
            timeout: self.timeout,
            prepared: PreparedCall::default(),
            executing: HashMap::new(),
            attempts: FuturesUnordered::new(),
            ended: VecDeque::new(),
        }))
    }

    fn executes_in_poll(&self) -> bool {
        true
    }
}

struct AppExecution {
    /// The app, with the outcomes that the next request passes to it.
    app: SimulatedApp,
    timeout: Duration,
    prepared: PreparedCall,
    executing: HashMap<StepId, AbortHandle>,
    attempts: FuturesUnordered<Abortable<BoxFuture<'static, StepResult>>>,
    /// The attempts that were stopped at their time-out.
    ended: VecDeque<StepResult>,
}

#[async_trait]
impl Execution for AppExecution {
    async fn poll(&mut self, memo: Vec<RevealedOutcome>) -> Result<Polled, Unreachable> {
        self.app.pass(memo);
        let executes = self.app.run.attempt == 1 && !self.prepared.has_open_bodies && self.executing.is_empty();
        let (shared, call) = (self.app.shared.clone(), self.prepared.number);
        let request = AppRequest {
            run: self.app.run.run,
            target: RequestTarget::Call(call),
            expires: shared.now() + self.timeout,
        };
        let served = self.app.clone().answer_call(call, executes);
        let polled = match shared.send(request, true, Box::pin(served)).await {
            Ok(Reply::Answer(polled)) => polled,
            Ok(Reply::Page) => Polled { has_checkpoints: executes, ..PollResult::Ended(Err(page())).into() },
            Err(none) => return Err(none.into_unreachable()),
        };
        Ok(match polled.result {
            PollResult::Ended(result) => {
                for (step, attempt) in &self.executing {
                    attempt.abort();
                    // The app does not notice this.
                    self.app.shared.account.give_up_attempt(self.app.run.run, step, None);
                }
                let dropped = self.executing.drain().map(|(step, _)| (step, AttemptReport::default())).collect();
                Polled { dropped, result: PollResult::Ended(result), ..polled }
            }
            PollResult::Wanted(mut wants) => {
                wants.retain(|want| !self.executing.contains_key(&want.step));
                Polled { result: PollResult::Wanted(wants), ..polled }
            }
        })
    }

    fn prepare_call(&mut self, call: PreparedCall) {
        self.prepared = call;
    }

    fn reveal_recorded(&mut self, recorded: Vec<RevealedOutcome>) {
        self.app.pass(recorded);
    }

    fn run(&mut self, attempts: Vec<Attempt>) {
        for attempt in attempts {
            let (handle, registration) = AbortHandle::new_pair();
            self.executing.insert(attempt.step.clone(), handle);
            let attempt: BoxFuture<'static, StepResult> = Box::pin(execute(self.app.clone(), attempt));
            self.attempts.push(Abortable::new(attempt, registration));
        }
    }

    async fn wait(&mut self) -> Finished {
        loop {
            if let Some(result) = self.ended.pop_front() {
                return Finished { results: vec![result], dropped: Vec::new() };
            }
            match self.attempts.next().await {
                Some(Ok(result)) if self.executing.remove(&result.step).is_some() => {
                    return Finished { results: vec![result], dropped: Vec::new() };
                }
                // It was stopped.
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    }

    fn stop(&mut self, step: &StepId, timeout: Duration) {
        if let Some(handle) = self.executing.remove(step) {
            handle.abort();
            let message = format!("step `{step}` ran past its time-out of {timeout:?}");
            let failure = Failure::with_code(message, ErrorCode::Timeout);
            let result = Err(AdvisedFailure { failure, retry: RetryAdvice::Default }.into());
            self.ended.push_back(StepResult { step: step.clone(), result, report: AttemptReport::default() });
        }
    }
}

/// Executes an attempt with a request for its step.
async fn execute(app: SimulatedApp, attempt: Attempt) -> StepResult {
    let (shared, step) = (app.shared.clone(), attempt.step.clone());
    let request = AppRequest {
        run: app.run.run,
        target: RequestTarget::Attempt(step.clone(), attempt.number),
        expires: attempt.deadline - CLOCKS,
    };
    // After a failure, even a step that starts at most once starts again.
    let may_fail = !crate::simulation::tree::own_name(&step).starts_with(crate::simulation::tree::ONCE);
    let failed = |error| StepResult { step: step.clone(), result: Err(error), report: AttemptReport::default() };
    match shared.send(request, may_fail, Box::pin(app.answer_step(attempt))).await {
        Ok(Reply::Answer(result)) => result,
        Ok(Reply::Page) => failed(page().into()),
        Err(none @ NoAnswer::NotSent) => failed(AttemptError::Unreachable(none.into_unreachable())),
        Err(none @ NoAnswer::Lost { .. }) => failed(AttemptError::Lost(none.into_unreachable())),
    }
}

/// The failure of a call that a proxy has answered with a page.
fn page() -> AdvisedFailure {
    AdvisedFailure { failure: Failure::new("the answer is a page of a proxy"), retry: RetryAdvice::Default }
}
