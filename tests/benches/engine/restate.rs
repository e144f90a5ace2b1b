//! Measures Restate's server under the same loads, with its default settings and with functions in
//! Node.js.

pub(crate) mod growth;
mod parts;
mod server;

use futures::{StreamExt, stream};
use serde_json::json;
use stepladder_tests::ApiClient;

use crate::marks::BodyTimes;
use crate::measured::{EngineFigures, ParallelFigures, SequentialFigures};
use crate::options::{BenchOptions, CLIENTS, STEPS, STEPS_OF_MANY};
use crate::process::{ProcessorUsage, ProcessorWatch, peak_memory};
pub(crate) use parts::{RestateInstallation, install};
use server::RestateServer;

/// How many requests are sent at the same time, each waiting for the end of its run. The better of
/// the two figures is reported.
const WAITING: [usize; 2] = [CLIENTS, 4 * CLIENTS];

/// Measures Restate's server.
pub(crate) async fn measure(parts: &RestateInstallation, options: &BenchOptions) -> EngineFigures {
    let server = RestateServer::start(parts).await;
    let api = server.api();
    // warms up: Node.js compiles the functions while they run
    run_sequential(&api).await;
    run_sequential(&api).await;
    run_many(&api, &server, options.runs.div_ceil(5), CLIENTS).await;

    let watch = ProcessorWatch::start(&server.pids());
    let mut marks = Vec::new();
    for _ in 0..options.sequential_runs {
        marks.push(run_sequential(&api).await);
    }
    let sequential = SequentialFigures::of(&marks, &watch.stop());
    let mut ways = Vec::new();
    for waiting in WAITING {
        let mut times = Vec::new();
        for _ in 0..options.rounds {
            times.push(run_many(&api, &server, options.runs, waiting).await);
        }
        let sent = format!("1 run a request, {waiting} requests at a time");
        ways.push(ParallelFigures::of(sent, options.runs, STEPS_OF_MANY, &times));
    }
    let memory = peak_memory(&server.pids());
    EngineFigures { name: format!("Restate {}", parts.version), sequential, many: ways, memory }
}

/// Executes one run and returns the times of its steps.
async fn run_sequential(api: &ApiClient) -> BodyTimes {
    let (status, body) = api.post("/bench/sequential", STEPS.to_string()).await;
    assert_eq!(status, 200, "{body}");
    let marks: BodyTimes = serde_json::from_value(body).expect("the function gives marks");
    assert_eq!(marks.len(), STEPS);
    marks
}

/// Executes many runs at the same time. Measures the usage from the first request to the last
/// response.
async fn run_many(api: &ApiClient, server: &RestateServer, runs: usize, at_once: usize) -> ProcessorUsage {
    let watch = ProcessorWatch::start(&server.pids());
    let answers = stream::iter(0..runs).map(|n| api.post("/bench/three", n.to_string())).buffered(at_once);
    let answers: Vec<_> = answers.collect().await;
    let used = watch.stop();
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(answer, &(200, json!(n + STEPS_OF_MANY)), "each run gives its own result");
    }
    used
}
