//! A run as a test asserts on it.

use std::collections::HashMap;

use serde::de::DeserializeOwned;
use stepladder_core::journal::{Entry, Fact};
use stepladder_core::{Failure, RunId, Status};
use stepladder_engine::view::RunDetail;

/// What has become of a run, at the time when it was asked for.
#[derive(Clone, Debug)]
pub struct TestRun {
    detail: RunDetail,
    journal: Vec<Entry>,
    executions: HashMap<String, u32>,
}

impl TestRun {
    pub(super) fn new(detail: RunDetail, journal: Vec<Entry>, executions: HashMap<String, u32>) -> Self {
        Self { detail, journal, executions }
    }

    /// Its id.
    pub fn id(&self) -> RunId {
        self.detail.summary.run
    }

    /// Its function's id.
    pub fn function(&self) -> &str {
        &self.detail.summary.function
    }

    /// Its status.
    pub fn status(&self) -> Status {
        self.detail.summary.status
    }

    /// What the function returned. Panics when it has not completed, and says what it failed with.
    #[track_caller]
    pub fn output<T: DeserializeOwned>(&self) -> T {
        let Some(output) = &self.detail.summary.output else {
            panic!("run {} of `{}` is {:?}: {:?}", self.id(), self.function(), self.status(), self.error())
        };
        serde_json::from_str(output.get()).unwrap_or_else(|error| {
            panic!("the output {} does not fit {}: {error}", output.get(), std::any::type_name::<T>())
        })
    }

    /// What it failed with.
    pub fn error(&self) -> Option<&Failure> {
        self.detail.summary.error.as_ref()
    }

    /// Its journal.
    pub fn journal(&self) -> &[Entry] {
        &self.journal
    }

    /// Its steps by id, in the order in which they were first heard of.
    pub fn steps(&self) -> Vec<&str> {
        self.detail.steps.iter().map(|step| &*step.id).collect()
    }

    /// Attempts at a step that the journal knows of; 0 for a step that there is not.
    pub fn attempts(&self, step: &str) -> usize {
        let started = |entry: &&Entry| matches!(&entry.fact, Fact::StepStarted { step: of, .. } if **of == *step);
        self.journal.iter().filter(started).count()
    }

    /// How often a step's body was begun, mocked or not.
    pub fn executions(&self, step: &str) -> u32 {
        self.executions.get(step).copied().unwrap_or_default()
    }

    /// What it has said, in order: the messages of `ctx.log`.
    pub fn logs(&self) -> Vec<&str> {
        self.detail.logs.iter().map(|log| &*log.line.message).collect()
    }

    /// The run as the engine shows it: attempts with their times and errors, and why it is not moving.
    pub fn detail(&self) -> &RunDetail {
        &self.detail
    }
}
