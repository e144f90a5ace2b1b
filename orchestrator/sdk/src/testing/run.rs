//! A run, with the methods that a test needs for its assertions.

use std::collections::HashMap;

use serde::de::DeserializeOwned;
use stepladder_core::encrypted::Envelope;
use stepladder_core::journal::{Entry, Fact};
use stepladder_core::{Failure, Json, RunId, Status, Usage};
use stepladder_engine::view::RunDetail;

use crate::PayloadCodec;
use crate::codec;
use crate::runtime::TestRunDetail;

/// A run, as it was at the time of the call that returned it.
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
    hops: u32,
    /// The output in clear text, or why it cannot be decoded.
    output: Option<Result<Json, String>>,
}

impl TestRun {
    pub(super) fn new(
        detail: RunDetail,
        journal: Vec<Entry>,
        (executions, hops): (HashMap<String, u32>, u32),
        codec: Option<&dyn PayloadCodec>,
    ) -> Self {
        let output = detail.summary.output.as_ref().map(|output| match (codec, Envelope::read(output.get())) {
            (Some(codec), Some(envelope)) => codec::open(codec, output, &envelope),
            (None, _) | (_, None) => Ok(output.clone()),
        });
        Self { detail, journal, executions, hops, output }
    }

    /// Returns the run's id.
    pub fn id(&self) -> RunId {
        self.detail.summary.run
    }

    /// Returns the id of the run's function.
    pub fn function(&self) -> &str {
        &self.detail.summary.function
    }

    /// Returns the version of the function that the run uses, if the function has versions and the
    /// run has started.
    pub fn version(&self) -> Option<&str> {
        self.detail.version.as_deref()
    }

    /// Returns the run's status.
    pub fn status(&self) -> Status {
        self.detail.summary.status
    }

    /// Returns the output of the function. Panics if the run has not completed; the message
    /// contains the failure of the run.
    #[track_caller]
    pub fn output<T: DeserializeOwned>(&self) -> T {
        let output = match &self.output {
            Some(Ok(output)) => output,
            Some(Err(problem)) => panic!("the output of run {} cannot be decoded: {problem}", self.id()),
            None => panic!("run {} of `{}` is {:?}: {:?}", self.id(), self.function(), self.status(), self.error()),
        };
        serde_json::from_str(output.get()).unwrap_or_else(|error| {
            panic!("the output {} does not fit {}: {error}", output.get(), std::any::type_name::<T>())
        })
    }

    /// Returns the failure of the run, if it failed.
    pub fn error(&self) -> Option<&Failure> {
        self.detail.summary.error.as_ref()
    }

    /// Returns why a live run waits, as a sentence.
    pub fn waiting(&self) -> Option<&str> {
        self.detail.waiting.as_deref()
    }

    /// Returns the run's journal.
    pub fn journal(&self) -> &[Entry] {
        &self.journal
    }

    /// Returns the ids of the run's steps, in the order in which they first appear in the journal.
    pub fn steps(&self) -> Vec<&str> {
        self.detail.steps.iter().map(|step| &*step.id).collect()
    }

    /// Returns the number of attempts of a step that the journal records; 0 if there is no such
    /// step.
    pub fn attempts(&self, step: &str) -> usize {
        let started = |entry: &&Entry| matches!(&entry.fact, Fact::StepStarted { step: of, .. } if **of == *step);
        self.journal.iter().filter(started).count()
    }

    /// Returns how often the body of a step was started, whether or not it was mocked.
    pub fn executions(&self, step: &str) -> u32 {
        self.executions.get(step).copied().unwrap_or_default()
    }

    /// Returns the number of hops that the run used: on AWS, the number of invocations. This
    /// includes hops that died, and hops that found nothing to do.
    pub fn hops(&self) -> u32 {
        self.hops
    }

    /// Returns the model usage of a step, summed over all attempts, one item per model.
    pub fn usage(&self, step: &str) -> Vec<Usage> {
        self.detail.steps.iter().find(|view| *view.id == *step).map(|view| view.usage.clone()).unwrap_or_default()
    }

    /// Returns the messages that were logged with `ctx.log`, in order.
    pub fn logs(&self) -> Vec<&str> {
        self.detail.logs.iter().map(|log| &*log.line.message).collect()
    }
}

impl TestRunDetail for TestRun {
    fn detail(&self) -> &RunDetail {
        &self.detail
    }
}
