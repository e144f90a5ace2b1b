//! The settings of an engine.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::retries::Retries;

/// How far one hop goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pace {
    /// One step (or one small set of parallel steps) an invocation.
    #[default]
    StepPerInvocation,
    /// Many steps, while the invocation's time budget lasts.
    WithinBudget,
}

/// Settings of an engine.
#[derive(Clone, Debug)]
pub struct Config {
    /// How far one hop goes.
    pub pace: Pace,
    /// The maximum duration of an invocation of a worker.
    pub worker_timeout: Duration,
    /// The maximum duration for functions with separate workers, by the function's id.
    pub worker_timeouts: HashMap<Arc<str>, Duration>,
    /// A lease ends this long after its invocation's deadline, because clocks differ.
    pub lease_margin: Duration,
    /// A received wake stays invisible for the worker's timeout plus this margin.
    pub visibility_margin: Duration,
    /// The maximum number of parallel steps that one invocation executes at the same time. If a
    /// run wants more at once, each step gets its own wake and so its own invocation.
    pub side_by_side: usize,
    /// Whether this is the only process that uses the storage, as is true for a local server, which
    /// holds its file's lock. Leases of earlier processes are then no longer valid.
    pub is_only_process: bool,
    /// Replaces the wait before each retry, for tests and demonstrations. This setting takes
    /// precedence over the function, the step and the error. A poll is repeated after this time or
    /// its own interval, whichever is shorter.
    pub retry_delay: Option<Duration>,
    /// How calls are retried while the storage is unavailable.
    pub storage_retries: Retries,
    /// The version of the code, written into every record.
    pub code: Arc<str>,
    /// The maximum size of the cache of run states, in bytes.
    pub cache_bytes: usize,
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
            is_only_process: false,
            retry_delay: None,
            storage_retries: Retries::default(),
            code: "0".into(),
            cache_bytes: 16 * 1024 * 1024,
        }
    }
}

impl Config {
    /// Returns how long a received wake stays invisible: the longest worker timeout plus a margin
    /// (rule 13). The function of a wake is not known before it is received.
    pub fn visibility(&self) -> Duration {
        let longest = self.worker_timeouts.values().fold(self.worker_timeout, |longest, own| longest.max(*own));
        longest + self.visibility_margin
    }

    /// Returns the maximum duration of an invocation that moves a run of this function.
    pub fn worker_timeout_of(&self, function: &str) -> Duration {
        self.worker_timeouts.get(function).copied().unwrap_or(self.worker_timeout)
    }

    /// Returns the longest step timeout that fits into a worker of this function. The remaining
    /// time is for loading the run and for writing the outcome.
    pub fn longest_step(&self, function: &str) -> Duration {
        self.worker_timeout_of(function).saturating_sub(Duration::from_secs(5))
    }
}
