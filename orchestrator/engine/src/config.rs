//! The settings of an engine.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::retries::StorageRetries;
use crate::telemetry::{RunObserver, Tracer};

/// How many steps one hop executes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pace {
    /// One step, or one small set of parallel steps, per invocation.
    #[default]
    StepPerInvocation,
    /// As many steps as fit into the time budget of the invocation.
    WithinBudget,
}

/// The settings of an engine.
#[derive(Clone, Debug)]
pub struct Config {
    /// How many steps one hop executes.
    pub pace: Pace,
    /// The maximum duration of a worker's invocation.
    pub worker_timeout: Duration,
    /// The maximum duration of an invocation for functions with dedicated workers, by function id.
    pub worker_timeouts: HashMap<Arc<str>, Duration>,
    /// How long a lease lasts beyond the deadline of its invocation, because clocks differ.
    pub lease_margin: Duration,
    /// How long a received wake stays invisible beyond the timeout of the worker.
    pub visibility_margin: Duration,
    /// The maximum number of parallel steps that one invocation executes at the same time. If a run
    /// needs more, each step gets its own wake and so its own invocation.
    pub side_by_side: usize,
    /// If set, replaces the delay before each retry, for tests and demonstrations. It takes
    /// precedence over the settings of the function, the step and the error. A poll is repeated
    /// after this delay or after its own interval, whichever is shorter.
    pub retry_delay: Option<Duration>,
    /// How calls are retried while the storage is unavailable.
    pub storage_retries: StorageRetries,
    /// The version of the code, which is written into every record.
    pub code: Arc<str>,
    /// The maximum size of the cache of run states, in bytes.
    pub cache_bytes: usize,
    /// The maximum size of the executions that are kept between the hops of a run, in bytes. With
    /// 0, each hop replays the run from its journal.
    pub suspended_bytes: usize,
    /// What receives every record that this process writes, to trace and to count runs.
    pub observers: Vec<Arc<dyn RunObserver>>,
    /// What connects executing code to the traces of runs.
    pub tracer: Option<Arc<dyn Tracer>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            pace: Pace::default(),
            worker_timeout: Duration::from_secs(120),
            worker_timeouts: HashMap::new(),
            lease_margin: Duration::from_secs(5),
            visibility_margin: Duration::from_secs(30),
            side_by_side: 16,
            retry_delay: None,
            storage_retries: StorageRetries::default(),
            code: "0".into(),
            cache_bytes: 16 * 1024 * 1024,
            suspended_bytes: 16 * 1024 * 1024,
            observers: Vec::new(),
            tracer: None,
        }
    }
}

impl Config {
    /// Returns how long a received wake stays invisible: the longest worker timeout plus a margin
    /// (rule 13). The longest timeout is used because the function of a wake is not known before
    /// the wake is received.
    pub fn visibility(&self) -> Duration {
        let longest = self.worker_timeouts.values().fold(self.worker_timeout, |longest, own| longest.max(*own));
        longest + self.visibility_margin
    }

    /// Returns the maximum duration of a worker's invocation for this function.
    pub fn worker_timeout_of(&self, function: &str) -> Duration {
        self.worker_timeouts.get(function).copied().unwrap_or(self.worker_timeout)
    }

    /// Returns the maximum timeout of a step that fits into a worker's invocation for this
    /// function. The rest of the invocation is needed to load the run and to write the outcome.
    pub fn longest_step(&self, function: &str) -> Duration {
        self.worker_timeout_of(function).saturating_sub(Duration::from_secs(5))
    }
}
