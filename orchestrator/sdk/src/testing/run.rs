//! A run as a test asserts on it.

use std::collections::HashMap;

use serde::de::DeserializeOwned;
use stepladder_core::journal::{Entry, Fact};
use stepladder_core::{Failure, RunId, Status, Usage};
use stepladder_engine::view::RunDetail;

use crate::runtime::TestRunDetail;

/// A run, as it was when the test asked for it.
///
/// ```
/// # use stepladder::prelude::*;
/// use stepladder::testing::{Fact, Status, TestApp, TestRun};
///
/// # #[derive(Serialize, Deserialize, Event)]
/// # #[event(name = "test/hello.world")]
/// # struct Hello {}
/// # async fn hello(ctx: Context, _: Event<Hello>) -> Result<u32> {
/// #     ctx.step("count", async || Ok(7)).await
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let mut app = TestApp::new().function(Function::new("hello", hello));
/// let run: TestRun = app.send(&Hello {}).await.remove(0);
/// assert_eq!((run.status(), run.attempts("count")), (Status::Completed, 1));
/// assert_eq!(run.output::<u32>(), 7);
/// assert!(run.journal().iter().any(|entry| matches!(entry.fact, Fact::StepSucceeded { .. })));
/// # }
/// ```
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

    /// Returns the run's id.
    pub fn id(&self) -> RunId {
        self.detail.summary.run
    }

    /// Returns the id of the run's function.
    pub fn function(&self) -> &str {
        &self.detail.summary.function
    }

    /// Returns the version of the function, if it has one and the run has started.
    pub fn version(&self) -> Option<&str> {
        self.detail.version.as_deref()
    }

    /// Returns the run's status.
    pub fn status(&self) -> Status {
        self.detail.summary.status
    }

    /// Returns the function's output. Panics if the run has not completed; the message contains the
    /// run's failure.
    #[track_caller]
    pub fn output<T: DeserializeOwned>(&self) -> T {
        let Some(output) = &self.detail.summary.output else {
            panic!("run {} of `{}` is {:?}: {:?}", self.id(), self.function(), self.status(), self.error())
        };
        serde_json::from_str(output.get()).unwrap_or_else(|error| {
            panic!("the output {} does not fit {}: {error}", output.get(), std::any::type_name::<T>())
        })
    }

    /// Returns the run's failure.
    pub fn error(&self) -> Option<&Failure> {
        self.detail.summary.error.as_ref()
    }

    /// Returns why a live run waits.
    pub fn waiting(&self) -> Option<&str> {
        self.detail.waiting.as_deref()
    }

    /// Returns the run's journal.
    pub fn journal(&self) -> &[Entry] {
        &self.journal
    }

    /// Returns the ids of the run's steps, in the order in which the journal first names them.
    pub fn steps(&self) -> Vec<&str> {
        self.detail.steps.iter().map(|step| &*step.id).collect()
    }

    /// Returns the number of attempts at a step in the journal; 0 if there is no such step.
    pub fn attempts(&self, step: &str) -> usize {
        let started = |entry: &&Entry| matches!(&entry.fact, Fact::StepStarted { step: of, .. } if **of == *step);
        self.journal.iter().filter(started).count()
    }

    /// Returns how often a step's body was started, mocked or not.
    pub fn executions(&self, step: &str) -> u32 {
        self.executions.get(step).copied().unwrap_or_default()
    }

    /// Returns the model usage of a step, the sum of all its attempts for each model.
    pub fn usage(&self, step: &str) -> Vec<Usage> {
        self.detail.steps.iter().find(|view| *view.id == *step).map(|view| view.usage.clone()).unwrap_or_default()
    }

    /// Returns the messages of `ctx.log`, in order.
    pub fn logs(&self) -> Vec<&str> {
        self.detail.logs.iter().map(|log| &*log.line.message).collect()
    }
}

impl TestRunDetail for TestRun {
    fn detail(&self) -> &RunDetail {
        &self.detail
    }
}
