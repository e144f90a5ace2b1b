//! The settings of a test app: functions, shared data, and what the steps do instead of running.

use std::time::Duration;

use serde::Serialize;
use stepladder_core::json;
use stepladder_engine::{Config, Pace};

use super::TestApp;
use super::script::Script;
use crate::single_calls::SingleCalls;
use crate::{Error, Function, SharedData};

impl Default for TestApp {
    fn default() -> Self {
        Self::new()
    }
}

impl TestApp {
    /// Creates an app without functions. Its time is 2024-01-01T00:00:00Z.
    pub fn new() -> Self {
        Self {
            functions: Vec::new(),
            data: SharedData::default(),
            script: Script::default(),
            config: Config::default(),
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

    /// Adds a value that functions share: [`Context::data`](crate::Context::data).
    #[must_use]
    pub fn data<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.data.insert(value);
        self
    }

    /// Returns this value from a step instead of running its body. `step` is a step's name, for all
    /// steps of that name, or an id with its number.
    #[must_use]
    pub fn mock(mut self, step: &str, value: impl Serialize) -> Self {
        let value =
            json::to_json(&value).unwrap_or_else(|error| panic!("the mock of step `{step}` is not JSON: {error}"));
        let before = self.script.entry(step).value.replace(value);
        assert!(before.is_none(), "step `{step}` has two values by `.mock`; give it one");
        self
    }

    /// Fails the first `times` attempts of a step in each run with this error. The body does not
    /// run then.
    #[must_use]
    pub fn fail(mut self, step: &str, times: u32, error: impl Into<Error>) -> Self {
        let before = self.script.entry(step).failures.replace((times, error.into().into_fault()));
        assert!(before.is_none(), "step `{step}` has two errors by `.fail`; give it one");
        self
    }

    /// Makes a step's body hang: it never ends, and the clock moves on to its timeout.
    #[must_use]
    pub fn hang(mut self, step: &str) -> Self {
        self.script.entry(step).hangs = true;
        self
    }

    /// Sets how many steps one invocation runs. By default, [`Pace::StepPerInvocation`].
    #[must_use]
    pub fn pace(mut self, pace: Pace) -> Self {
        self.calls.record("pace");
        self.config.pace = pace;
        self
    }

    /// Sets how long one invocation may take. A step's timeout must fit into it. By default, 2
    /// minutes.
    #[must_use]
    pub fn worker_timeout(mut self, limit: Duration) -> Self {
        self.calls.record("worker_timeout");
        self.config.worker_timeout = limit;
        self
    }
}
