//! A function under test. The script of the test replaces the bodies of some steps.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use stepladder_core::report::HandlerLogLine;
use stepladder_core::state::RevealedOutcome;
use stepladder_core::{AttemptReport, Failure, RunId, StepId};
use stepladder_engine::RegisteredFunction;
use stepladder_engine::executor::{Executor, FinishedStep, PollResult, RunHistory, Session};

use super::script::{MockedAttempt, StepScripts};
use crate::ledger::timed_out;

pub(super) struct TestExecutor {
    inner: Arc<dyn Executor>,
    script: Arc<StepScripts>,
}

impl TestExecutor {
    /// Returns the function with this executor around its own.
    pub(super) fn wrap(function: RegisteredFunction, script: Arc<StepScripts>) -> RegisteredFunction {
        let RegisteredFunction { description, executor: inner } = function;
        RegisteredFunction { description, executor: Arc::new(Self { inner, script }) }
    }
}

impl Executor for TestExecutor {
    fn open(&self, history: RunHistory) -> Result<Box<dyn Session>, Failure> {
        Ok(Box::new(TestSession {
            run: history.run,
            inner: self.inner.open(history)?,
            script: self.script.clone(),
            running: HashSet::new(),
            hanging: HashSet::new(),
            replaced: HashSet::new(),
            finished: Vec::new(),
            dropped: Vec::new(),
        }))
    }
}

struct TestSession {
    run: RunId,
    inner: Box<dyn Session>,
    script: Arc<StepScripts>,
    /// The steps whose bodies are running.
    running: HashSet<StepId>,
    /// The steps whose bodies hang.
    hanging: HashSet<StepId>,
    /// The steps that the script completed. The inner session still waits for their outcomes.
    replaced: HashSet<StepId>,
    finished: Vec<FinishedStep>,
    dropped: Vec<StepId>,
}

impl TestSession {
    fn end_body(&mut self, step: &StepId) {
        if self.running.remove(step) {
            self.script.end(self.run, step);
        }
    }
}

#[async_trait]
impl Session for TestSession {
    async fn advance(&mut self) -> PollResult {
        let advance = {
            let _active = self.script.start_handler();
            self.inner.advance().await
        };
        let mut wants = match advance {
            PollResult::Ended(result) => {
                self.dropped.extend(self.hanging.drain());
                return PollResult::Ended(result);
            }
            PollResult::Wanted(wants) => wants,
        };
        // if the handler no longer requests a hanging step, it has dropped the step
        let asked: HashSet<&StepId> = wants.iter().map(|want| &want.step).collect();
        self.dropped.extend(self.hanging.extract_if(|step| !asked.contains(step)));
        wants.retain(|want| !self.hanging.contains(&want.step) && !self.replaced.contains(&want.step));
        PollResult::Wanted(wants)
    }

    fn start_bodies(&mut self, steps: &[StepId]) {
        for step in steps {
            match self.script.start(self.run, step) {
                MockedAttempt::Run => {
                    self.running.insert(step.clone());
                    self.inner.start_bodies(std::slice::from_ref(step));
                }
                MockedAttempt::End(result) => {
                    self.replaced.insert(step.clone());
                    self.finished.push(FinishedStep { step: step.clone(), result });
                }
                MockedAttempt::Hang => {
                    self.hanging.insert(step.clone());
                }
            }
        }
    }

    async fn wait_finished(&mut self) -> Vec<FinishedStep> {
        if !self.finished.is_empty() {
            return std::mem::take(&mut self.finished);
        }
        let finished = self.inner.wait_finished().await;
        finished.iter().for_each(|finished| self.end_body(&finished.step));
        finished
    }

    fn stop_timed_out(&mut self, step: &StepId, timeout: Duration) {
        if self.hanging.remove(step) {
            self.replaced.insert(step.clone());
            self.finished.push(timed_out(step, timeout));
        } else {
            self.inner.stop_timed_out(step, timeout);
        }
    }

    fn reveal(&mut self, outcome: RevealedOutcome) {
        self.replaced.remove(&outcome.step);
        self.inner.reveal(outcome);
    }

    fn take_dropped(&mut self) -> Vec<StepId> {
        let mut dropped = self.inner.take_dropped();
        dropped.iter().for_each(|step| self.end_body(step));
        dropped.append(&mut self.dropped);
        dropped
    }

    fn orphans(&self) -> Vec<StepId> {
        self.inner.orphans()
    }

    fn take_report(&mut self, step: &StepId) -> AttemptReport {
        self.inner.take_report(step)
    }

    fn take_log_lines(&mut self) -> Vec<HandlerLogLine> {
        self.inner.take_log_lines()
    }
}

impl Drop for TestSession {
    fn drop(&mut self) {
        self.running.iter().for_each(|step| self.script.end(self.run, step));
    }
}
