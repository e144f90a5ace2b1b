//! A function under test. The script of the test replaces the bodies of some steps.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use stepladder_core::state::RevealedOutcome;
use stepladder_core::{AttemptReport, Json, RunId, StepId, Timestamp};
use stepladder_engine::RegisteredFunction;
use stepladder_engine::executor::{
    AdvisedFailure, Attempt, Execution, Executor, Finished, OpenError, PollResult, Polled, RunView, StepResult,
    Unreachable,
};

use super::script::{MockedAttempt, MockedStart, StepScripts};
use crate::ledger::timed_out;

pub(super) struct TestExecutor {
    inner: Arc<dyn Executor>,
    script: Arc<StepScripts>,
}

impl TestExecutor {
    /// Returns the function with an executor that wraps the original one and applies the script.
    pub(super) fn wrap(function: RegisteredFunction, script: Arc<StepScripts>) -> RegisteredFunction {
        let RegisteredFunction { description, executor: inner } = function;
        RegisteredFunction { description, executor: Arc::new(Self { inner, script }) }
    }
}

#[async_trait]
impl Executor for TestExecutor {
    async fn open(&self, run: RunView, deadline: Timestamp) -> Result<Box<dyn Execution>, OpenError> {
        Ok(Box::new(TestExecution {
            run: run.run,
            inner: self.inner.open(run, deadline).await?,
            script: self.script.clone(),
            running: HashSet::new(),
            hanging: HashSet::new(),
            replaced: HashSet::new(),
            losing: HashSet::new(),
            is_dead: false,
            finished: Vec::new(),
        }))
    }
}

struct TestExecution {
    run: RunId,
    inner: Box<dyn Execution>,
    script: Arc<StepScripts>,
    /// The bodies that are running.
    running: HashSet<StepId>,
    /// The steps with bodies that hang.
    hanging: HashSet<StepId>,
    /// The steps that the script completed. The inner execution still waits for their outcomes.
    replaced: HashSet<StepId>,
    /// The steps whose worker dies before it records their results.
    losing: HashSet<StepId>,
    /// Whether the worker has died, so that the execution answers nothing any more.
    is_dead: bool,
    finished: Vec<StepResult>,
}

impl TestExecution {
    fn end_body(&mut self, step: &StepId) {
        if self.running.remove(step) {
            self.script.end(self.run, step);
        }
    }

    /// Lets the worker die. The hop is dropped as soon as it waits.
    fn die(&mut self) {
        self.is_dead = true;
        self.script.kill_worker();
    }

    /// Ends a step with the script's result.
    fn replace(&mut self, step: StepId, result: Result<Json, AdvisedFailure>) {
        self.replaced.insert(step.clone());
        self.finished.push(StepResult { step, result: result.map_err(Into::into), report: AttemptReport::default() });
    }
}

#[async_trait]
impl Execution for TestExecution {
    async fn poll(&mut self, memo: Vec<RevealedOutcome>) -> Result<Polled, Unreachable> {
        for outcome in &memo {
            self.replaced.remove(&outcome.step);
        }
        let mut polled = {
            let _active = self.script.start_handler();
            self.inner.poll(memo).await?
        };
        for (step, _) in &polled.dropped {
            self.end_body(step);
        }
        let dropped: Vec<StepId> = match &mut polled.result {
            PollResult::Ended(_) => self.hanging.drain().collect(),
            PollResult::Wanted(wants) => {
                // if the handler no longer requests a hanging step, it has dropped the step
                let asked: HashSet<&StepId> = wants.iter().map(|want| &want.step).collect();
                let dropped = self.hanging.extract_if(|step| !asked.contains(step)).collect();
                wants.retain(|want| !self.hanging.contains(&want.step) && !self.replaced.contains(&want.step));
                dropped
            }
        };
        polled.dropped.extend(dropped.into_iter().map(|step| (step, AttemptReport::default())));
        Ok(polled)
    }

    fn run(&mut self, attempts: Vec<Attempt>) {
        for attempt in attempts {
            let MockedStart { attempt: mocked, loses_result } = self.script.start(self.run, &attempt.step);
            if loses_result {
                self.losing.insert(attempt.step.clone());
            }
            match mocked {
                MockedAttempt::Crash => return self.die(),
                MockedAttempt::Run => {
                    self.running.insert(attempt.step.clone());
                    self.inner.run(vec![attempt]);
                }
                MockedAttempt::End(result) => self.replace(attempt.step, result),
                MockedAttempt::Hang => {
                    self.hanging.insert(attempt.step);
                }
            }
        }
    }

    async fn wait(&mut self) -> Finished {
        if !self.is_dead && self.finished.iter().any(|result| self.losing.contains(&result.step)) {
            self.die();
        }
        if self.is_dead {
            return std::future::pending().await;
        }
        if !self.finished.is_empty() {
            return Finished { results: std::mem::take(&mut self.finished), dropped: Vec::new() };
        }
        let finished = self.inner.wait().await;
        if finished.results.iter().any(|result| self.losing.contains(&result.step)) {
            self.die();
            return std::future::pending().await;
        }
        finished.results.iter().for_each(|result| self.end_body(&result.step));
        finished.dropped.iter().for_each(|(step, _)| self.end_body(step));
        finished
    }

    fn stop(&mut self, step: &StepId, timeout: Duration) {
        if self.hanging.remove(step) {
            self.replace(step.clone(), timed_out(step, timeout).result);
        } else {
            self.inner.stop(step, timeout);
        }
    }

    fn bytes_to_keep(&self) -> Option<usize> {
        let is_idle = self.running.is_empty() && self.hanging.is_empty() && self.finished.is_empty();
        self.inner.bytes_to_keep().filter(|_| is_idle)
    }
}

impl Drop for TestExecution {
    fn drop(&mut self) {
        self.running.iter().for_each(|step| self.script.end(self.run, step));
    }
}
