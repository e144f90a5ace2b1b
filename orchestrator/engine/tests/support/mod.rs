//! Shared code of the engine's tests: scripted functions, a backend with injected faults, and a
//! world to run the functions in.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

pub mod around;
pub mod chance;
pub mod execution_log;
pub mod faults;
pub mod logged;
pub mod outage;
pub mod refusing;
pub mod script;
pub mod slow;
pub mod waiting;

use std::sync::Arc;
use std::time::Duration;

use stepladder_core::journal::{Entry, Fact, Record};
use stepladder_core::{EventId, NewEvent, RunId, Status, Timestamp, json};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::{Backend, Commit, Commits, JournalAppend, Queue};
use stepladder_engine::retries::StorageRetries;
use stepladder_engine::view::RunDetail;
use stepladder_engine::{Config, Engine, Pace, RegisteredFunction, RunFilter};
use stepladder_testkit::clock::{SeededEntropy, VirtualClock};
use stepladder_testkit::memory::Memory;
use tokio::sync::Notify;

use script::ScriptedFunction;

/// A memory adapter, a clock, and functions.
pub struct EngineFixture {
    pub memory: Arc<Memory>,
    pub clock: Arc<VirtualClock>,
    pub functions: Vec<RegisteredFunction>,
    pub config: Config,
    pub seed: u64,
}

impl EngineFixture {
    pub fn new(functions: Vec<RegisteredFunction>) -> Self {
        let clock = Arc::new(VirtualClock::new(Timestamp::from_millis(1_700_000_000_000)));
        let memory = Arc::new(Memory::new(clock.clone()));
        // repeats failed calls at once: the clock stands still while a hop waits for the storage
        let config = Config { storage_retries: StorageRetries::at_once(), ..Config::default() };
        Self { memory, clock, functions, config, seed: 1 }
    }

    pub fn pace(mut self, pace: Pace) -> Self {
        self.config.pace = pace;
        self
    }

    pub fn config(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Creates an engine, as a separate process with its own worker id and cache.
    pub fn engine(&mut self) -> Arc<Engine> {
        self.engine_on(self.memory.clone())
    }

    pub fn engine_on(&mut self, backend: Arc<dyn Backend>) -> Arc<Engine> {
        self.engine_at(backend, self.clock.clone())
    }

    /// Creates an engine with a clock of its own, instead of the world's.
    pub fn engine_at(&mut self, backend: Arc<dyn Backend>, clock: Arc<dyn Clock>) -> Arc<Engine> {
        self.seed += 1;
        let entropy = Arc::new(SeededEntropy::new(self.seed));
        let engine = Engine::with_ports(backend, clock, entropy, self.functions.clone(), self.config.clone());
        Arc::new(engine.expect("functions that can work"))
    }

    /// Sends the event `go` and returns the event's id.
    pub async fn send_event(&self, engine: &Engine) -> EventId {
        let event = NewEvent::new("go", json::empty_object());
        engine.intake().ingest(vec![event], None).await.expect("ingested")[0]
    }

    /// Executes hops, sweeps and advances the clock until every run has ended, for at most a year.
    pub async fn settle(&self, engine: &Arc<Engine>) {
        self.settle_within(engine, Duration::from_secs(365 * 86_400)).await;
    }

    /// Like `settle`, but for at most `time`.
    pub async fn settle_within(&self, engine: &Arc<Engine>, time: Duration) {
        let end = self.clock.now() + time;
        engine.sweep().await.ok();
        while let Some(due) = self.memory.next_due() {
            if due > end {
                return;
            }
            if due > self.clock.now() {
                // sweeps every minute, so that each timer is sent in time
                self.clock.set(due.max(self.clock.now()));
                engine.sweep().await.ok();
            }
            self.hop_once(engine).await;
            if self.all_ended(engine).await {
                return;
            }
        }
    }

    /// Executes a hop for one wake, if a wake is visible.
    pub async fn hop_once(&self, engine: &Arc<Engine>) {
        hop_once(&self.memory, engine).await;
    }

    async fn all_ended(&self, engine: &Engine) -> bool {
        let page = engine.query().runs(Default::default()).await;
        page.is_ok_and(|page| page.runs.iter().all(|run| run.status.is_end()))
    }

    /// Executes hops for up to four visible wakes. A hop may fail. Returns whether any wake was
    /// visible.
    pub async fn hop_visible(&self, engine: &Arc<Engine>) -> bool {
        if self.memory.next_due().is_none_or(|due| due > self.clock.now()) {
            return false;
        }
        for delivery in self.memory.receive(4, engine.config().visibility()).await.unwrap() {
            engine.hop(delivery).await.ok();
        }
        true
    }

    pub async fn runs(&self, engine: &Engine, event: EventId) -> Vec<RunDetail> {
        let mut runs = Vec::new();
        for run in engine.query().runs_of_event(&event.to_string()).await.expect("listed") {
            runs.push(engine.query().run(run.run).await.expect("a run"));
        }
        runs
    }

    pub async fn status(&self, engine: &Engine, event: EventId) -> Status {
        self.runs(engine, event).await[0].summary.status
    }

    pub async fn journal(&self, engine: &Engine, run: RunId) -> Vec<Entry> {
        let page = engine.query().journal(run, 0, usize::MAX - 1).await.expect("a journal");
        page.entries.into_iter().map(|(_, entry)| entry).collect()
    }
}

/// Executes a hop for one wake. Returns whether a wake was visible.
async fn hop_once(memory: &Memory, engine: &Engine) -> bool {
    if memory.next_due().is_none_or(|due| due > engine.now()) {
        return false;
    }
    let received = memory.receive(1, engine.config().visibility());
    let Ok(Ok(deliveries)) = tokio::time::timeout(Duration::from_millis(1), received).await else { return false };
    for delivery in deliveries {
        engine.hop(delivery).await.expect("hopped");
    }
    true
}

/// Executes hops until no wake is visible.
pub async fn hop_all(memory: &Memory, engine: &Engine) {
    while hop_once(memory, engine).await {}
}

/// Returns whether there is at least one run, and all runs have ended.
pub async fn have_ended(engine: &Engine) -> bool {
    let page = engine.query().runs(RunFilter::default()).await;
    page.is_ok_and(|page| !page.runs.is_empty() && page.runs.iter().all(|run| run.status.is_end()))
}

/// Returns the number of entries with a fact for which `is` returns true.
pub fn count_facts(journal: &[Entry], is: impl Fn(&Fact) -> bool) -> usize {
    journal.iter().filter(|entry| is(&entry.fact)).count()
}

/// Returns the id of the only run.
pub async fn only_run(engine: &Engine) -> stepladder_core::RunId {
    let runs = engine.query().runs(RunFilter::default()).await.unwrap().runs;
    assert_eq!(runs.len(), 1);
    runs[0].run
}

/// Adds a step with a body that notifies the first `Notify` at its start, and waits for the second.
pub fn with_gated_step(
    script: ScriptedFunction,
    id: &str,
    after: &[&str],
) -> (ScriptedFunction, Arc<Notify>, Arc<Notify>) {
    let (begun, open) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (b, o) = (begun.clone(), open.clone());
    let script = script.body(id, after, move |_| {
        let (b, o) = (b.clone(), o.clone());
        async move {
            b.notify_one();
            o.notified().await;
            Ok(())
        }
    });
    (script, begun, open)
}

/// Receives one wake and executes its hop on a separate task.
pub fn spawn_hop(world: &EngineFixture, engine: &Arc<Engine>) -> tokio::task::JoinHandle<()> {
    let (memory, engine) = (world.memory.clone(), engine.clone());
    tokio::spawn(async move {
        let delivery = memory.receive(1, engine.config().visibility()).await.unwrap().remove(0);
        engine.hop(delivery).await.unwrap();
    })
}

/// Appends a harmless entry as another writer, so that the hop's next write is a conflict.
pub async fn write_conflicting_entry(world: &EngineFixture, engine: &Engine) {
    let run = only_run(engine).await;
    let seq = engine.query().journal(run, 0, 1_000).await.unwrap().entries.len() as u64;
    let entries = vec![Fact::StepsWoken { steps: vec![], together: false }.into_entry(world.clock.now())];
    let record = Record { seq, token: 99, code: "other".into(), entries };
    let append = Some(JournalAppend { run, record }.into());
    world.memory.commit(Commit { append, ..Commit::default() }).await.unwrap();
}
