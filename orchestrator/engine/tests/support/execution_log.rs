//! A record of the bodies that a scripted function executed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use stepladder_core::{RunId, StepId};

/// A record of the executed bodies, shared by all sessions of a script.
#[derive(Clone, Default)]
pub struct ExecutionLog(Arc<Mutex<ExecutionCounts>>);

#[derive(Default)]
struct ExecutionCounts {
    /// The number of executions of each body.
    counts: HashMap<StepId, u32>,
    /// The bodies that are executing now.
    now: Vec<(RunId, StepId)>,
    /// The highest number of bodies that executed at the same time.
    most: usize,
    /// A body that was started while the same body was executing.
    twice: Option<(RunId, StepId)>,
    /// The number of executions of each body, by run.
    by_run: HashMap<(RunId, StepId), u32>,
}

/// Marks a body as executing, until the guard is dropped.
pub(super) struct ExecutionGuard {
    executed: ExecutionLog,
    what: (RunId, StepId),
}

impl Drop for ExecutionGuard {
    fn drop(&mut self) {
        let now = &mut self.executed.0.lock().unwrap().now;
        let at = now.iter().position(|what| *what == self.what).expect("begun");
        now.swap_remove(at);
    }
}

impl ExecutionLog {
    pub(super) fn begin(&self, run: RunId, id: &StepId) -> (u32, ExecutionGuard) {
        let mut account = self.0.lock().unwrap();
        let what = (run, id.clone());
        if account.now.contains(&what) {
            account.twice = Some(what.clone());
        }
        account.now.push(what.clone());
        account.most = account.most.max(account.now.len());
        *account.by_run.entry(what.clone()).or_default() += 1;
        let count = account.counts.entry(id.clone()).or_default();
        *count += 1;
        (*count, ExecutionGuard { executed: self.clone(), what })
    }

    /// Returns the highest number of bodies that executed at the same time.
    pub fn most_at_once(&self) -> usize {
        self.0.lock().unwrap().most
    }

    /// Returns a body that was started while the same body was executing. There must be no such
    /// body.
    pub fn executed_twice(&self) -> Option<(RunId, StepId)> {
        self.0.lock().unwrap().twice.clone()
    }

    /// Returns the number of executions of each body, by run.
    pub fn by_run(&self) -> HashMap<(RunId, StepId), u32> {
        self.0.lock().unwrap().by_run.clone()
    }

    /// Returns the bodies that are executing now. A body that executes twice is listed twice.
    pub fn now(&self) -> Vec<(RunId, StepId)> {
        self.0.lock().unwrap().now.clone()
    }

    /// Returns the number of executions of a step's body.
    pub fn count_of(&self, id: &str) -> u32 {
        self.0.lock().unwrap().counts.get(id).copied().unwrap_or(0)
    }
}
