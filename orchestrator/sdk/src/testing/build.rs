//! The settings of a test app: functions, shared data, and what steps do instead of executing their
//! bodies.

use std::time::Duration;

use serde::Serialize;
use stepladder_core::json;
use stepladder_engine::{Config, Pace};

use super::TestApp;
use super::script::StepScripts;
use crate::single_calls::SingleCalls;
use crate::{Error, Function, PayloadCodec, SharedData};

impl Default for TestApp {
    fn default() -> Self {
        Self::new()
    }
}

impl TestApp {
    /// Creates an app without functions. Its clock starts at 2024-01-01T00:00:00Z.
    pub fn new() -> Self {
        Self {
            functions: Vec::new(),
            data: SharedData::default(),
            script: StepScripts::default(),
            // each hop replays the run, which shows code that is not deterministic
            config: Config { suspended_bytes: 0, ..Config::default() },
            calls: SingleCalls::default(),
            world: None,
        }
    }

    /// Adds a function.
    #[must_use]
    pub fn function(mut self, function: Function) -> Self {
        self.functions.push(function);
        self
    }

    /// Adds a value that all functions share: see [`Context::data`](crate::Context::data).
    #[must_use]
    pub fn data<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.data.insert(value);
        self
    }

    /// Encodes values before they reach the journal, as `App::payload_codec` does.
    /// [`TestRun::output`](super::TestRun::output) decodes.
    #[must_use]
    pub fn payload_codec(mut self, codec: impl PayloadCodec) -> Self {
        self.calls.record("payload_codec");
        self.data.set_codec(codec);
        self
    }

    /// Makes a step return this value instead of executing its body. `step` is the name of a step,
    /// which applies to all steps with this name, or the id of a single step.
    #[must_use]
    pub fn mock(mut self, step: &str, value: impl Serialize) -> Self {
        let value =
            json::to_json(&value).unwrap_or_else(|error| panic!("the mock of step `{step}` is not JSON: {error}"));
        let before = self.script.mock_of_step(step).value.replace(value);
        assert!(before.is_none(), "step `{step}` has two values by `.mock`; give it one");
        self
    }

    /// Makes the first `times` attempts of a step fail with this error in each run, without
    /// executing the body.
    #[must_use]
    pub fn fail(mut self, step: &str, times: u32, error: impl Into<Error>) -> Self {
        let before = self.script.mock_of_step(step).failures.replace((times, error.into().into_fault()));
        assert!(before.is_none(), "step `{step}` has two errors by `.fail`; give it one");
        self
    }

    /// Makes the body of a step hang: it never ends, and the clock moves on to the timeout of the
    /// step.
    #[must_use]
    pub fn hang(mut self, step: &str) -> Self {
        self.script.mock_of_step(step).hangs = true;
        self
    }

    /// Makes the worker die in the first `times` attempts of a step in each run, after the start of
    /// the attempt was recorded and instead of executing the body. Everything else that the same
    /// invocation executes dies too. The attempt is interrupted: the step starts again when its
    /// lease ends, which uses no retry. A step fails after ten interruptions in a row.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// use stepladder::testing::TestApp;
    ///
    /// # #[derive(Serialize, Deserialize, Event)] #[event(name = "shop/order.placed")] struct Order {}
    /// async fn pay(ctx: Context, _: Event<Order>) -> Result<u32> {
    ///     ctx.step("charge", async || Ok(500)).await
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let mut app = TestApp::new().function(Function::new("pay", pay).retries(0)).crash("charge", 2);
    /// let run = app.send(&Order {}).await.remove(0);
    /// assert_eq!((run.output::<u32>(), run.attempts("charge")), (500, 3));
    /// # }
    /// ```
    #[must_use]
    pub fn crash(mut self, step: &str, times: u32) -> Self {
        let before = self.script.mock_of_step(step).crashes.replace(times);
        assert!(before.is_none(), "step `{step}` has two numbers by `.crash`; give it one");
        self
    }

    /// Makes the worker die in the first `times` attempts of a step in each run, after the body has
    /// ended and before its result is recorded. The body is executed again, so this shows whether
    /// it may be: whether it passes an idempotency key, for example. If the step also has a
    /// [`crash`](Self::crash), these are the attempts after it.
    #[must_use]
    pub fn crash_after(mut self, step: &str, times: u32) -> Self {
        let before = self.script.mock_of_step(step).lost_results.replace(times);
        assert!(before.is_none(), "step `{step}` has two numbers by `.crash_after`; give it one");
        self
    }

    /// Sets how many steps one invocation executes. The default is [`Pace::StepPerInvocation`].
    #[must_use]
    pub fn pace(mut self, pace: Pace) -> Self {
        self.calls.record("pace");
        self.config.pace = pace;
        self
    }

    /// Sets the time limit of one invocation. The timeout of each step must fit into it. The
    /// default is 2 minutes.
    #[must_use]
    pub fn worker_timeout(mut self, limit: Duration) -> Self {
        self.calls.record("worker_timeout");
        self.config.worker_timeout = limit;
        self
    }
}
