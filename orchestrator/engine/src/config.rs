//! What an engine can be told.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How far one hop goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// How long one invocation may take.
    pub worker_timeout: Duration,
    /// The same for functions that have workers of their own, by the function's id.
    pub worker_timeouts: HashMap<Arc<str>, Duration>,
    /// Added to an invocation's deadline to make a lease: room for clocks that differ.
    pub lease_margin: Duration,
    /// Added to the worker's time-out to make a message's visibility.
    pub visibility_margin: Duration,
    /// Parallel steps up to this many run side by side in one invocation; of more, each gets its
    /// own wake.
    pub side_by_side: usize,
    /// Whether no other process can be working on the same storage (a local server that holds its
    /// file's lock): then leases of other processes are void.
    pub is_only_process: bool,
    /// Every wait before a retry is this long, whatever function, step and error say: for tests and
    /// demonstrations. Checks that find that it is not time yet are repeated no later than they
    /// would be.
    pub retry_delay: Option<Duration>,
    /// The version of the code, written into every record.
    pub code: Arc<str>,
    /// Bytes of journals that the warm cache keeps.
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
            code: "0".into(),
            cache_bytes: 16 * 1024 * 1024,
        }
    }
}

impl Config {
    /// How long a received wake stays invisible: the worker's time-out and a margin (rule 13).
    /// Whose wake it will be is not known before, so the longest of all counts.
    pub fn visibility(&self) -> Duration {
        let longest = self.worker_timeouts.values().fold(self.worker_timeout, |longest, own| longest.max(*own));
        longest + self.visibility_margin
    }

    /// How long one invocation may take that moves a run of this function.
    pub fn worker_timeout_of(&self, function: &str) -> Duration {
        self.worker_timeouts.get(function).copied().unwrap_or(self.worker_timeout)
    }

    /// The longest step that fits into a worker of this function. What is left over is for loading
    /// and for writing the outcome.
    pub fn longest_step(&self, function: &str) -> Duration {
        self.worker_timeout_of(function).saturating_sub(Duration::from_secs(5))
    }
}
