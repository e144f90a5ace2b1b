//! Alerts of the one-machine server: on every page, and to a sink such as a webhook.
//!
//! An alert is raised when a check finds a problem, and resolved when the next check does not. The
//! sink hears of each change once. If it fails, a later check repeats what it missed, after a delay
//! that doubles up to an hour.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use stepladder_api::text::{format_duration, format_size};
use stepladder_core::Timestamp;
use stepladder_engine::{AlertLimits, Engine, EngineError, RunProblem};

/// The time after which wakes that are due, and of which none is processed, count as stalled.
const STALLED: Duration = Duration::from_secs(60);
/// The maximum number of messages that are kept while the sink fails.
const MAX_MISSED: usize = 50;
/// The delays before a sink that has failed is asked again: the first, and the longest.
const FIRST_DELAY: Duration = Duration::from_secs(30);
const LONGEST_DELAY: Duration = Duration::from_secs(3_600);
/// The maximum number of bytes of a function's id in a sentence.
const ID_BYTES: usize = 120;

/// The free space of the disk with the data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// The number of free bytes.
    pub free: u64,
    /// The number of all bytes.
    pub all: u64,
}

impl DiskSpace {
    /// The number of free bytes below which the disk counts as full: 1 GiB, or a twentieth of a
    /// small disk.
    fn is_low(self) -> bool {
        self.free < (1 << 30).min(self.all / 20)
    }
}

/// Where alerts go.
#[async_trait]
pub trait AlertSink: Send + Sync {
    /// Sends a sentence.
    ///
    /// # Errors
    /// Why it was not sent, without the address.
    async fn send(&self, text: &str) -> Result<(), String>;
}

/// An alert that is raised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// What is wrong, as a sentence without a final dot.
    pub sentence: String,
    /// When a check found it first.
    pub since: Timestamp,
}

/// The alerts that are raised now, which pages show.
#[derive(Debug, Default)]
pub struct AlertBoard(Mutex<BTreeMap<String, Alert>>);

impl AlertBoard {
    /// Returns the alerts.
    pub fn alerts(&self) -> Vec<Alert> {
        self.0.lock().values().cloned().collect()
    }
}

/// A function that measures the disk; `None` if it cannot be measured.
pub type DiskProbe = Box<dyn Fn() -> Option<DiskSpace> + Send + Sync>;

/// Checks for problems, and tells the board and the sink.
pub struct AlertMonitor {
    engine: Arc<Engine>,
    board: Arc<AlertBoard>,
    sink: Option<Box<dyn AlertSink>>,
    disk: DiskProbe,
    limits: AlertLimits,
    /// The number of processed wakes, and since when it has not changed although wakes are due.
    processed: (u64, Option<Timestamp>),
    /// Messages that the sink has not taken.
    missed: VecDeque<String>,
    /// How many times in a row the sink has failed, and when it is asked again.
    failures: u32,
    retry_at: Option<Timestamp>,
}

impl fmt::Debug for AlertMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlertMonitor").field("board", &self.board).field("has_sink", &self.sink.is_some()).finish()
    }
}

impl AlertMonitor {
    /// Creates a monitor.
    pub fn new(engine: Arc<Engine>, board: Arc<AlertBoard>, sink: Option<Box<dyn AlertSink>>, disk: DiskProbe) -> Self {
        let (limits, processed, missed) = (AlertLimits::default(), (0, None), VecDeque::new());
        Self { engine, board, sink, disk, limits, processed, missed, failures: 0, retry_at: None }
    }

    /// Checks once.
    ///
    /// # Errors
    /// [`EngineError::Store`]; then nothing has changed.
    pub async fn check(&mut self) -> Result<(), EngineError> {
        let mut found: BTreeMap<String, String> = BTreeMap::new();
        for problem in self.engine.query().run_problems(&self.limits).await? {
            let (id, sentence) = described(&problem);
            found.insert(id, sentence);
        }
        if let Some(sentence) = self.stalled_queue() {
            found.insert("queue".into(), sentence);
        }
        if let Some(space) = (self.disk)().filter(|space| space.is_low()) {
            let free = format_size(usize::try_from(space.free).unwrap_or(usize::MAX));
            found.insert("disk".into(), format!("the disk with the data file has only {free} left"));
        }
        self.update(found);
        self.tell().await;
        Ok(())
    }

    /// Returns a sentence if wakes are due and none was processed for a while.
    fn stalled_queue(&mut self) -> Option<String> {
        let backlog = self.engine.query().backlog()?;
        let now = self.engine.now();
        let (served, since) = &mut self.processed;
        if backlog.due == 0 || backlog.served != *served {
            (*served, *since) = (backlog.served, (backlog.due > 0).then_some(now));
            return None;
        }
        let stalled = now.since(*since.get_or_insert(now));
        (stalled >= STALLED).then(|| format!("{} wakes are due, and none was processed for a minute", backlog.due))
    }

    fn update(&mut self, found: BTreeMap<String, String>) {
        let now = self.engine.now();
        let mut board = self.board.0.lock();
        let resolved: Vec<String> = board.keys().filter(|id| !found.contains_key(*id)).cloned().collect();
        for id in resolved {
            if let Some(alert) = board.remove(&id) {
                let after = format_duration(now.since(alert.since));
                self.missed.push_back(format!("Resolved after {after}: {}", alert.sentence));
            }
        }
        for (id, sentence) in found {
            match board.get_mut(&id) {
                // the numbers in the sentence may have changed
                Some(alert) => alert.sentence = sentence,
                None => {
                    self.missed.push_back(format!("Alert: {sentence}"));
                    board.insert(id, Alert { sentence, since: now });
                }
            }
        }
        let surplus = self.missed.len().saturating_sub(MAX_MISSED);
        self.missed.drain(..surplus);
    }

    /// Logs the changes, and sends them to the sink.
    async fn tell(&mut self) {
        let Some(sink) = &self.sink else {
            self.missed.drain(..).for_each(|text| tracing::warn!("{text}"));
            return;
        };
        let now = self.engine.now();
        if self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        while let Some(text) = self.missed.front() {
            if let Err(error) = sink.send(text).await {
                let delay = FIRST_DELAY.saturating_mul(1 << self.failures.min(16)).min(LONGEST_DELAY);
                self.failures = self.failures.saturating_add(1);
                self.retry_at = Some(now + delay);
                tracing::warn!(%error, "an alert could not be sent; tried again in {}", format_duration(delay));
                return;
            }
            (self.failures, self.retry_at) = (0, None);
            tracing::warn!("{text}");
            self.missed.pop_front();
        }
    }
}

/// Returns the id of a problem and its sentence.
fn described(problem: &RunProblem) -> (String, String) {
    let brief = |id: &str| id[..id.floor_char_boundary(ID_BYTES)].to_owned();
    match problem {
        RunProblem::Failing { function, failed, ended } => (
            format!("failing {function}"),
            format!("{failed} of {ended} runs of {} failed within an hour", brief(function)),
        ),
        RunProblem::Waiting { function, waited, runs } => (
            format!("waiting {function}"),
            format!(
                "{runs} run{} of {} wait{} to start, the oldest for {}",
                if *runs == 1 { "" } else { "s" },
                brief(function),
                if *runs == 1 { "s" } else { "" },
                format_duration(*waited)
            ),
        ),
    }
}
