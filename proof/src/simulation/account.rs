//! A log of executed bodies. The bodies write it themselves, so it is independent of any journal.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use stepladder_core::{RunId, StepId};

/// A body: the run and the step.
pub(crate) type BodyId = (RunId, StepId);

/// The log, which all bodies share.
#[derive(Clone, Default)]
pub(crate) struct ExecutionLog(Arc<Mutex<ExecutionCounts>>);

#[derive(Default)]
struct ExecutionCounts {
    /// How often each body was started.
    begun: HashMap<BodyId, u32>,
    /// The bodies that returned at least once.
    ended: HashSet<BodyId>,
    /// The bodies that are executing now. A body that executes twice is listed twice.
    now: Vec<BodyId>,
    /// The outcome that the latest replay of a handler received from a step.
    observed: HashMap<BodyId, String>,
}

/// The registration of an executing body. Dropping it ends the execution.
pub(crate) struct ExecutionGuard {
    account: ExecutionLog,
    body: BodyId,
}

impl ExecutionGuard {
    /// Records that the body returned.
    pub(crate) fn end(&self) {
        self.account.0.lock().expect("no panic").ended.insert(self.body.clone());
    }
}

impl Drop for ExecutionGuard {
    fn drop(&mut self) {
        let now = &mut self.account.0.lock().expect("no panic").now;
        let at = now.iter().position(|body| *body == self.body).expect("begun");
        now.swap_remove(at);
    }
}

impl ExecutionLog {
    /// Records the start of a body. Returns how often the body has started so far, and the
    /// registration of this execution.
    pub(crate) fn begin(&self, run: RunId, step: &str) -> (u32, ExecutionGuard) {
        let body = (run, StepId::from(step));
        let mut entries = self.0.lock().expect("no panic");
        entries.now.push(body.clone());
        let count = entries.begun.entry(body.clone()).or_default();
        *count += 1;
        (*count, ExecutionGuard { account: self.clone(), body })
    }

    /// Records what a handler received from a step.
    pub(crate) fn observe(&self, run: RunId, step: &str, outcome: String) {
        self.0.lock().expect("no panic").observed.insert((run, StepId::from(step)), outcome);
    }

    /// Returns what the latest replay of each handler received from its steps.
    pub(crate) fn observed(&self) -> HashMap<BodyId, String> {
        self.0.lock().expect("no panic").observed.clone()
    }

    /// Forgets what handlers received.
    pub(crate) fn forget_observed(&self) {
        self.0.lock().expect("no panic").observed.clear();
    }

    /// Returns how often a body was started.
    pub(crate) fn executions(&self, body: &BodyId) -> u32 {
        self.0.lock().expect("no panic").begun.get(body).copied().unwrap_or(0)
    }

    /// Returns whether a body returned at least once.
    pub(crate) fn has_ended(&self, run: RunId, step: &str) -> bool {
        self.0.lock().expect("no panic").ended.contains(&(run, StepId::from(step)))
    }

    /// Returns the bodies of a run, and how often each was started.
    pub(crate) fn of_run(&self, run: RunId) -> Vec<(StepId, u32)> {
        let entries = self.0.lock().expect("no panic");
        let of_run = entries.begun.iter().filter(|((of, _), _)| *of == run);
        of_run.map(|((_, step), count)| (step.clone(), *count)).collect()
    }

    /// Returns the bodies that are executing now.
    pub(crate) fn executing(&self) -> Vec<BodyId> {
        self.0.lock().expect("no panic").now.clone()
    }

    /// Returns whether a body is executing now.
    pub(crate) fn executes(&self, run: RunId, step: &StepId) -> bool {
        self.0.lock().expect("no panic").now.iter().any(|(of, body)| *of == run && body == step)
    }

    /// Returns the bodies that are executing more than once now.
    pub(crate) fn executing_twice(&self) -> Vec<BodyId> {
        let entries = self.0.lock().expect("no panic");
        let mut seen = HashSet::new();
        entries.now.iter().filter(|body| !seen.insert(*body)).cloned().collect()
    }
}
