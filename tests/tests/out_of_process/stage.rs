//! The processes of a scenario, and their time.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use stepladder_core::function::{RetryConfig, TriggerConfig};
use stepladder_core::{EventId, FunctionConfig, NewEvent, json as values};
use stepladder_engine::clock::{Clock, SystemEntropy};
use stepladder_engine::ports::Delivery;
use stepladder_engine::retries::StorageRetries;
use stepladder_engine::view::RunDetail;
use stepladder_engine::{Config, Engine, EngineError, StoredFunctions};
use stepladder_testkit::conformance::TestedAdapter;

use crate::front_end::{self, TcpFrontEnd};

/// How far the clock moves when nothing can be delivered.
const TICK: Duration = Duration::from_secs(5);

/// The other process.
pub(crate) struct Program {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Program {
    /// Starts the process, on a free port.
    pub(crate) fn start() -> Self {
        Self::start_at(None)
    }

    fn start_at(port: Option<u16>) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.arg("serve").args(port.map(|port| port.to_string()));
        let mut child = command.stdout(Stdio::piped()).spawn().expect("a process");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
        let port: u16 = line.trim().parse().expect("a port");
        Self { child, address: ([127, 0, 0, 1], port).into() }
    }

    fn kill(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("a process that ends");
    }

    /// Kills the process and waits for its end. Returns its port.
    pub(crate) fn end(mut self) -> u16 {
        self.kill();
        self.address.port()
    }

    /// Starts the process again, on the same port.
    pub(crate) fn start_again(port: u16) -> Self {
        Self::start_at(Some(port))
    }

    /// Controls the process, and returns its answer.
    pub(crate) async fn control(&self, control: &str, step: &str) -> Value {
        let request = json!({ "control": control, "step": step });
        front_end::call(self.address, request).await.unwrap_or_else(|error| panic!("{error:?}"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // it may have ended already
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process with an engine. It shares only the store with the others.
#[derive(Clone)]
pub(crate) struct Process {
    pub(crate) apps: Arc<StoredFunctions>,
    pub(crate) engine: Arc<Engine>,
}

/// The store and the clock, which the processes share.
pub(crate) struct Stage {
    adapter: TestedAdapter,
}

impl Stage {
    pub(crate) fn new(adapter: TestedAdapter) -> Self {
        Self { adapter }
    }

    pub(crate) fn process(&self) -> Process {
        let (backend, clock) = (self.adapter.backend.clone(), self.adapter.clock.clone());
        let config = Config { storage_retries: StorageRetries::at_once(), ..Config::default() };
        let front_end = Box::new(TcpFrontEnd { clock: clock.clone() });
        let apps = StoredFunctions::new(backend.clone(), clock.clone(), Vec::new(), config.clone(), front_end);
        let apps = Arc::new(apps.expect("no function"));
        let engine = Engine::with_functions(backend, clock, Arc::new(SystemEntropy), apps.clone(), config);
        Process { apps, engine: Arc::new(engine) }
    }

    pub(crate) async fn advance(&self, by: Duration) {
        self.adapter.advance(by).await;
    }

    /// Receives the wakes that are visible.
    pub(crate) async fn receive(&self, engine: &Engine) -> Vec<Delivery> {
        let visibility = engine.config().visibility();
        if let Some(receive_now) = &self.adapter.receive_now {
            return receive_now(10, visibility).await.expect("a queue");
        }
        let receive = self.adapter.backend.receive(10, visibility);
        tokio::pin!(receive);
        match futures::poll!(&mut receive) {
            std::task::Poll::Ready(received) => received.expect("a queue"),
            std::task::Poll::Pending => Vec::new(),
        }
    }

    /// Executes hops and moves the clock until the condition is true, for at most this time.
    pub(crate) async fn run_until(
        &self,
        process: &Process,
        limit: Duration,
        is_reached: impl AsyncFn() -> bool,
    ) -> bool {
        let end = self.adapter.clock.now() + limit;
        while !is_reached().await {
            if self.adapter.clock.now() > end {
                return false;
            }
            let received = self.receive(&process.engine).await;
            if received.is_empty() {
                self.advance(TICK).await;
                process.engine.sweep().await.expect("a sweep");
            }
            for delivery in received {
                process.engine.hop(delivery).await.expect("a hop");
            }
        }
        true
    }

    /// Starts a hop for the only visible wake, on a task of its own.
    pub(crate) async fn spawn_hop(&self, process: &Process) -> tokio::task::JoinHandle<()> {
        let mut received = self.receive(&process.engine).await;
        let mut left = 100;
        while received.is_empty() && left > 0 {
            self.advance(Duration::from_secs(1)).await;
            received = self.receive(&process.engine).await;
            left -= 1;
        }
        assert_eq!(received.len(), 1, "one wake is visible");
        let engine = process.engine.clone();
        tokio::spawn(async move { engine.hop(received.remove(0)).await.expect("a hop") })
    }

    /// Executes hops until all runs of an event have ended, within an hour.
    pub(crate) async fn end_runs(&self, process: &Process, event: EventId) -> Vec<RunDetail> {
        let has_ended = async || process.runs(event).await.iter().all(|run| run.summary.status.is_end());
        let is_reached = self.run_until(process, Duration::from_secs(3_600), has_ended).await;
        let runs = process.runs(event).await;
        assert!(is_reached, "{runs:?}");
        runs
    }
}

impl Process {
    pub(crate) async fn register(&self, app: &str, program: &Program, functions: &[FunctionConfig]) -> bool {
        let registered = self.apps.register(app, &program.address.to_string(), functions).await;
        registered.unwrap_or_else(|error: EngineError| panic!("{error}"))
    }

    /// Sends the event that starts the functions.
    pub(crate) async fn send(&self) -> EventId {
        let event = NewEvent::new("order/placed", values::empty_object());
        self.engine.intake().ingest(vec![event], None).await.expect("ingested")[0]
    }

    /// Returns the runs of an event, in the order of their functions.
    pub(crate) async fn runs(&self, event: EventId) -> Vec<RunDetail> {
        let mut runs = Vec::new();
        for run in self.engine.query().runs_of_event(&event.to_string()).await.expect("runs") {
            runs.push(self.engine.query().run(run.run).await.expect("a run"));
        }
        runs.sort_by(|a, b| a.summary.function.cmp(&b.summary.function));
        runs
    }
}

/// A function that the event starts, without retries.
pub(crate) fn function(id: &str, version: &str) -> FunctionConfig {
    FunctionConfig {
        version: Some(version.into()),
        triggers: vec![TriggerConfig::new("order/placed")],
        retry: RetryConfig { retries: 0, ..RetryConfig::default() },
        timeout: Duration::from_secs(20),
        ..FunctionConfig::new(id)
    }
}

/// Returns the output of a run as text, or why it has none.
pub(crate) fn output(run: &RunDetail) -> String {
    let summary = &run.summary;
    let failed = || format!("{:?}: {:?}", summary.status, summary.error);
    summary.output.as_ref().map_or_else(failed, |output| output.get().to_owned())
}

/// Returns the number of attempts of each step.
pub(crate) fn attempts(run: &RunDetail) -> Vec<(&str, usize)> {
    run.steps.iter().map(|step| (&*step.id, step.attempts.len())).collect()
}
