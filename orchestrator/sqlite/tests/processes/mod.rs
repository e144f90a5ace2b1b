//! A data file that is closed and reopened after each hop, by one process after the other.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use stepladder_core::{NewEvent, RunId, Status, Timestamp, json};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::{Delivery, Queue};
use stepladder_engine::view::RunDetail;
use stepladder_engine::{Config, Engine, Pace, RunFilter};
use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::{SharedData, compile};
use stepladder_sqlite::{Sqlite, SqliteOptions};
use stepladder_testkit::clock::{SeededEntropy, VirtualClock};

pub const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// The event that starts the functions.
#[derive(Serialize, Deserialize)]
pub struct RequestedEvent {}

impl EventData for RequestedEvent {
    const NAME: &'static str = "test/asked";
}

/// A record of what the bodies did, in order.
pub type ActionLog = Arc<Mutex<Vec<String>>>;

/// The functions of a process, and the log that their bodies write to.
pub type FunctionsAndLog<'a> = (fn() -> Vec<Function>, &'a ActionLog);

/// A process that opens the data file and executes at most one hop.
pub struct TestProcess {
    pub engine: Engine,
    sqlite: Arc<Sqlite>,
}

impl TestProcess {
    pub fn start(path: &Path, clock: &Arc<VirtualClock>, (functions, ledger): FunctionsAndLog<'_>, pace: Pace) -> Self {
        let sqlite = Arc::new(Sqlite::open(path, SqliteOptions { clock: clock.clone() }).expect("a data file"));
        let mut data = SharedData::default();
        data.insert(ledger.clone());
        let compiled = functions().into_iter().flat_map(|f| compile(f, &data).expect("a function")).collect();
        let config = Config { pace, ..Config::default() };
        let entropy = Arc::new(SeededEntropy::new(clock.now().as_millis() as u64));
        let engine = Engine::with_ports(sqlite.clone(), clock.clone(), entropy, compiled, config).expect("an engine");
        Self { engine, sqlite }
    }

    /// Sends the event of the functions, and returns the run that it creates.
    pub async fn start_run(&self) -> RunId {
        let event = NewEvent::new(RequestedEvent::NAME, json::to_json(&RequestedEvent {}).expect("JSON"));
        let id = self.engine.intake().ingest(vec![event], None).await.expect("accepted")[0];
        self.engine.query().runs_of_event(&id.to_string()).await.expect("a run")[0].run
    }

    pub async fn receive_due(&self) -> Vec<Delivery> {
        receive_due(&self.sqlite).await
    }
}

/// Receives a wake if one is due.
pub async fn receive_due(sqlite: &Sqlite) -> Vec<Delivery> {
    let receive = sqlite.receive(1, Duration::from_secs(150));
    futures::pin_mut!(receive);
    match futures::poll!(receive) {
        Poll::Ready(received) => received.expect("a queue"),
        Poll::Pending => Vec::new(),
    }
}

/// Runs a function to its end, with a new process for each hop. Returns the run's status and error,
/// and the number of processes.
pub async fn run(functions: fn() -> Vec<Function>, ledger: &ActionLog) -> (Status, Option<String>, u32) {
    let (detail, _, processes) = run_with(functions, ledger, async |_, _, _| ()).await;
    (detail.summary.status, detail.summary.error.map(|error| error.message), processes)
}

/// Runs a function to its end, with a new process for each hop. Calls `before_hop` with the number
/// of the process before each hop. Returns the run, the statuses of all other runs, and the number
/// of processes until all runs have ended.
pub async fn run_with(
    functions: fn() -> Vec<Function>,
    ledger: &ActionLog,
    before_hop: impl AsyncFn(&Engine, RunId, u32),
) -> (RunDetail, Vec<Status>, u32) {
    run_at_pace(Pace::StepPerInvocation, (functions, ledger), before_hop).await
}

/// Like `run_with`, at this pace.
pub async fn run_at_pace(
    pace: Pace,
    functions: FunctionsAndLog<'_>,
    before_hop: impl AsyncFn(&Engine, RunId, u32),
) -> (RunDetail, Vec<Status>, u32) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("dev.db");
    let clock = Arc::new(VirtualClock::new(NOW));
    let first = TestProcess::start(&path, &clock, functions, pace);
    let run = first.start_run().await;
    drop(first);
    settle_at_pace(pace, (&path, &clock), run, functions, before_hop).await
}

/// Like `run_with`, for a run that has been created.
pub async fn settle(
    path: &Path,
    clock: &Arc<VirtualClock>,
    run: RunId,
    functions: FunctionsAndLog<'_>,
    before_hop: impl AsyncFn(&Engine, RunId, u32),
) -> (RunDetail, Vec<Status>, u32) {
    settle_at_pace(Pace::StepPerInvocation, (path, clock), run, functions, before_hop).await
}

async fn settle_at_pace(
    pace: Pace,
    (path, clock): (&Path, &Arc<VirtualClock>),
    run: RunId,
    functions: FunctionsAndLog<'_>,
    before_hop: impl AsyncFn(&Engine, RunId, u32),
) -> (RunDetail, Vec<Status>, u32) {
    for processes in 1..500 {
        let process = TestProcess::start(path, clock, functions, pace);
        before_hop(&process.engine, run, processes).await;
        let all = process.engine.query().runs(RunFilter::default()).await.expect("a listing").runs;
        if all.iter().all(|run| run.status.is_end()) {
            let mut others: Vec<_> = all.iter().filter(|one| one.run != run).map(|run| run.status).collect();
            others.sort_by_key(Status::to_string);
            return (process.engine.query().run(run).await.expect("the run"), others, processes);
        }
        process.engine.sweep().await.expect("a sweep");
        match process.receive_due().await.pop() {
            Some(delivery) => process.engine.hop(delivery).await.expect("a hop"),
            None => clock.advance(Duration::from_secs(15)),
        }
    }
    panic!("the runs do not end");
}
