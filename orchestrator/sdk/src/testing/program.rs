//! A function as a test wants it: some of its bodies answer from the script instead of running.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use stepladder_core::report::Placed;
use stepladder_core::state::Revealed;
use stepladder_core::{Failure, Report, RunId, Spec, StepId};
use stepladder_engine::program::{Advance, Finished, History, Program, Session};

use super::script::{Attempt, Script};
use crate::board::timed_out;

pub(super) struct TestProgram {
    inner: Arc<dyn Program>,
    script: Arc<Script>,
}

impl TestProgram {
    pub(super) fn around(inner: Arc<dyn Program>, script: Arc<Script>) -> Arc<dyn Program> {
        Arc::new(Self { inner, script })
    }
}

impl Program for TestProgram {
    fn spec(&self) -> &Spec {
        self.inner.spec()
    }

    fn version(&self) -> Option<&str> {
        self.inner.version()
    }

    fn open(&self, history: History) -> Result<Box<dyn Session>, Failure> {
        Ok(Box::new(TestSession {
            run: history.run,
            inner: self.inner.open(history)?,
            script: self.script.clone(),
            real: HashSet::new(),
            hanging: HashSet::new(),
            answered: HashSet::new(),
            ready: Vec::new(),
            dropped: Vec::new(),
        }))
    }
}

struct TestSession {
    run: RunId,
    inner: Box<dyn Session>,
    script: Arc<Script>,
    /// Bodies that run.
    real: HashSet<StepId>,
    /// Bodies that hang.
    hanging: HashSet<StepId>,
    /// Steps that the script answered; the inner session believes that they wait.
    answered: HashSet<StepId>,
    ready: Vec<Finished>,
    dropped: Vec<StepId>,
}

impl TestSession {
    fn real_ended(&mut self, step: &StepId) {
        if self.real.remove(step) {
            self.script.end(self.run, step);
        }
    }
}

#[async_trait]
impl Session for TestSession {
    async fn advance(&mut self) -> Advance {
        let advance = {
            let _active = self.script.advancing();
            self.inner.advance().await
        };
        let mut wants = match advance {
            Advance::Ended(result) => {
                self.dropped.extend(self.hanging.drain());
                return Advance::Ended(result);
            }
            Advance::Wanted(wants) => wants,
        };
        // what hangs and is not asked for any more was dropped by the handler
        let asked: HashSet<&StepId> = wants.iter().map(|want| &want.step).collect();
        self.dropped.extend(self.hanging.extract_if(|step| !asked.contains(step)));
        wants.retain(|want| !self.hanging.contains(&want.step) && !self.answered.contains(&want.step));
        Advance::Wanted(wants)
    }

    fn begin(&mut self, steps: &[StepId]) {
        for step in steps {
            match self.script.begin(self.run, step) {
                Attempt::Real => {
                    self.real.insert(step.clone());
                    self.inner.begin(std::slice::from_ref(step));
                }
                Attempt::Ends(result) => {
                    self.answered.insert(step.clone());
                    self.ready.push(Finished { step: step.clone(), result });
                }
                Attempt::Hangs => {
                    self.hanging.insert(step.clone());
                }
            }
        }
    }

    async fn finished(&mut self) -> Vec<Finished> {
        if !self.ready.is_empty() {
            return std::mem::take(&mut self.ready);
        }
        let finished = self.inner.finished().await;
        finished.iter().for_each(|finished| self.real_ended(&finished.step));
        finished
    }

    fn expire(&mut self, step: &StepId, timeout: Duration) {
        if self.hanging.remove(step) {
            self.answered.insert(step.clone());
            self.ready.push(timed_out(step, timeout));
        } else {
            self.inner.expire(step, timeout);
        }
    }

    fn reveal(&mut self, outcome: Revealed) {
        self.answered.remove(&outcome.step);
        self.inner.reveal(outcome);
    }

    fn dropped(&mut self) -> Vec<StepId> {
        let mut dropped = self.inner.dropped();
        dropped.iter().for_each(|step| self.real_ended(step));
        dropped.append(&mut self.dropped);
        dropped
    }

    fn orphans(&self) -> Vec<StepId> {
        self.inner.orphans()
    }

    fn report(&mut self, step: &StepId) -> Report {
        self.inner.report(step)
    }

    fn said(&mut self) -> Vec<Placed> {
        self.inner.said()
    }
}

impl Drop for TestSession {
    fn drop(&mut self) {
        self.real.iter().for_each(|step| self.script.end(self.run, step));
    }
}
