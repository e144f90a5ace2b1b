//! Measures functions of an app with Inngest's SDK: Node.js executes them, and the server calls it
//! over HTTP. The processor times of both are reported apart, because most of it is Node's.

mod app;

use std::time::Duration;

use serde_json::{Value, json};
use stepladder_tests::ApiClient;

use crate::marks::BodyTimes;
use crate::measured::{ParallelFigures, SequentialFigures, time_of_each};
use crate::options::{BenchOptions, STEPS, STEPS_OF_MANY};
use crate::ours::server::BenchServer;
use crate::ours::{SendMode, wait_for_end, wait_until_idle};
use crate::process::{ProcessorUsage, ProcessorWatch};
use app::BenchApp;

/// The figures of an app under both loads.
#[derive(Debug)]
pub(crate) struct AppFigures {
    /// How the functions are called.
    pub(crate) name: &'static str,
    /// Long runs, executed one after the other.
    pub(crate) sequential: SequentialFigures,
    /// The processor time of Node.js per step of the long runs.
    pub(crate) sequential_node: Option<Duration>,
    /// Many short runs at the same time.
    pub(crate) many: ParallelFigures,
    /// The processor time of Node.js per step of the short runs.
    pub(crate) many_node: Option<Duration>,
}

/// The processor times of both processes in the same period.
struct BothUsages {
    /// The server and the app together.
    all: ProcessorUsage,
    node: Option<Duration>,
}

struct BothWatches {
    all: ProcessorWatch,
    node: ProcessorWatch,
}

/// Returns a sentence if the app cannot be started.
pub(crate) fn missing() -> Option<&'static str> {
    let installed = stepladder_tests::binary::root().join(".test/node/node_modules/inngest");
    (!installed.is_dir()).then_some("its package is missing; run ./test once")
}

/// Measures an app with checkpoints, and with one call for each step.
pub(crate) async fn measure(options: &BenchOptions) -> Vec<AppFigures> {
    let mut figures = Vec::new();
    for (name, way) in [("checkpoints", "checkpoints"), ("one call a step", "calls")] {
        figures.push(measure_way(name, way, options).await);
    }
    figures
}

async fn measure_way(name: &'static str, way: &str, options: &BenchOptions) -> AppFigures {
    let server = BenchServer::start("budget").await;
    let app = BenchApp::start(&server).await;
    let api = server.api();
    // warms up: Node.js compiles the functions while they run
    for _ in 0..3 {
        run_sequential(&api, way).await;
    }
    run_many(&api, &server, &app, way, options.runs.div_ceil(2)).await;

    let watch = BothWatches::start(&server, &app);
    let mut marks = Vec::new();
    for _ in 0..options.sequential_runs {
        marks.push(run_sequential(&api, way).await);
    }
    let used = watch.stop();
    let sequential_node = time_of_each(used.node, options.sequential_runs * STEPS);
    let sequential = SequentialFigures::of(&marks, &used.all);

    let mut times = Vec::new();
    for _ in 0..options.rounds {
        times.push(run_many(&api, &server, &app, way, options.runs).await);
    }
    let node = times.iter().map(|used| used.node).sum();
    let all: Vec<ProcessorUsage> = times.into_iter().map(|used| used.all).collect();
    let many = ParallelFigures::of(SendMode::Batches.name(), options.runs, STEPS_OF_MANY, &all);
    let many_node = time_of_each(node, options.runs * STEPS_OF_MANY * options.rounds);
    AppFigures { name, sequential, sequential_node, many, many_node }
}

/// Executes one run and returns the times of its steps.
async fn run_sequential(api: &ApiClient, way: &str) -> BodyTimes {
    let ids = api.send(&json!({"name": format!("app/sequential-{way}"), "data": {"steps": STEPS}})).await;
    let run = wait_for_end(api, &ids[0]).await;
    let marks: BodyTimes = serde_json::from_value(run["output"].clone()).expect("the function gives marks");
    assert_eq!(marks.len(), STEPS);
    marks
}

/// Executes many runs at the same time. Measures from the first request to the end of the last run.
async fn run_many(api: &ApiClient, server: &BenchServer, app: &BenchApp, way: &str, runs: usize) -> BothUsages {
    let watch = BothWatches::start(server, app);
    let ids = SendMode::Batches.send(api, &format!("app/three-{way}"), runs).await;
    wait_until_idle(api, ids.last().expect("at least one run")).await;
    let used = watch.stop();
    for (n, id) in ids.iter().enumerate() {
        let output: Value = wait_for_end(api, id).await["output"].take();
        assert_eq!(output, json!(n + STEPS_OF_MANY), "each run gives its own result");
    }
    used
}

impl BothWatches {
    fn start(server: &BenchServer, app: &BenchApp) -> Self {
        Self { all: ProcessorWatch::start(&[server.pid(), app.pid()]), node: ProcessorWatch::start(&[app.pid()]) }
    }

    fn stop(&self) -> BothUsages {
        BothUsages { all: self.all.stop(), node: self.node.stop().cpu }
    }
}
