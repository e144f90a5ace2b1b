//! Measures our server at both paces: one step per invocation, and several steps within an
//! invocation's time budget.

pub(crate) mod overload;
pub(crate) mod server;

use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use serde_json::{Value, json};
use stepladder_tests::ApiClient;

use crate::marks::BodyTimes;
use crate::measured::{EngineFigures, ParallelFigures, SequentialFigures};
use crate::options::{BATCH, BATCHES, BenchOptions, CLIENTS, STEPS, STEPS_OF_MANY};
use crate::process::{ProcessorUsage, ProcessorWatch, peak_memory};
use server::BenchServer;

/// The figures of our server.
#[derive(Debug)]
pub(crate) struct OurFigures {
    /// The figures at the pace of one step per invocation.
    pub(crate) step: EngineFigures,
    /// The figures at the pace of several steps within an invocation's time budget.
    pub(crate) budget: EngineFigures,
    /// The usage while accepting events that trigger no function.
    pub(crate) ingest: ProcessorUsage,
}

/// How often to check whether runs have ended. More frequent checks would slow the server down.
const CHECK_INTERVAL: Duration = Duration::from_millis(4);

/// Measures our server.
pub(crate) async fn measure(options: &BenchOptions) -> OurFigures {
    OurFigures {
        step: at_pace("one step an invocation", "step", options).await,
        budget: at_pace("within budget", "budget", options).await,
        ingest: measure_ingest(options).await,
    }
}

async fn at_pace(name: &str, pace: &str, options: &BenchOptions) -> EngineFigures {
    let server = BenchServer::start(pace).await;
    let api = server.api();
    // warms up files, connections and caches
    let begun = Instant::now();
    run_sequential(&api, Duration::ZERO).await;
    let usual = begun.elapsed();
    run_many(&api, &server, options.runs.div_ceil(5), SendMode::Batches).await;

    let watch = ProcessorWatch::start(&[server.pid()]);
    let mut marks = Vec::new();
    for _ in 0..options.sequential_runs {
        marks.push(run_sequential(&api, usual.mul_f64(0.7)).await);
    }
    let sequential = SequentialFigures::of(&marks, &watch.stop());
    let mut ways = Vec::new();
    for sending in [SendMode::Batches, SendMode::Single] {
        let mut times = Vec::new();
        for _ in 0..options.rounds {
            times.push(run_many(&api, &server, options.runs, sending).await);
        }
        ways.push(ParallelFigures::of(sending.name(), options.runs, STEPS_OF_MANY, &times));
    }
    let memory = peak_memory(&[server.pid()]);
    EngineFigures { name: name.into(), sequential, many: ways, memory }
}

/// Executes one run and returns the times of its steps. Waits for `alone` before the first check,
/// because checks take processor time from the server.
async fn run_sequential(api: &ApiClient, alone: Duration) -> BodyTimes {
    let ids = api.send(&json!({"name": "bench/sequential", "data": {"steps": STEPS}})).await;
    tokio::time::sleep(alone).await;
    let run = wait_for_end(api, &ids[0]).await;
    let marks: BodyTimes = serde_json::from_value(run["output"].clone()).expect("the function gives marks");
    assert_eq!(marks.len(), STEPS);
    marks
}

/// How events are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SendMode {
    /// [`BATCH`] events per request, and [`BATCHES`] requests at the same time.
    Batches,
    /// One event per request, and [`CLIENTS`] requests at the same time.
    Single,
}

impl SendMode {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Batches => format!("{BATCH} events a request, {BATCHES} requests at a time"),
            Self::Single => format!("1 event a request, {CLIENTS} requests at a time"),
        }
    }

    /// Sends events with consecutive numbers, and returns their ids.
    pub(crate) async fn send(self, api: &ApiClient, name: &str, n: usize) -> Vec<String> {
        let events: Vec<Value> = (0..n).map(|n| json!({"name": name, "data": {"n": n, "seconds": 86_400}})).collect();
        let (size, at_once) = match self {
            Self::Batches => (BATCH, BATCHES),
            Self::Single => (1, CLIENTS),
        };
        let bodies: Vec<Value> = events.chunks(size).map(|chunk| Value::Array(chunk.to_vec())).collect();
        let sent = stream::iter(&bodies).map(|body| api.send(body)).buffered(at_once);
        sent.collect::<Vec<_>>().await.concat()
    }
}

/// Executes many runs at the same time. Returns the usage from the first request to the end of the
/// last run.
async fn run_many(api: &ApiClient, server: &BenchServer, runs: usize, sending: SendMode) -> ProcessorUsage {
    let watch = ProcessorWatch::start(&[server.pid()]);
    let ids = sending.send(api, "bench/three", runs).await;
    wait_until_idle(api, ids.last().expect("at least one run")).await;
    let used = watch.stop();
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(wait_for_end(api, id).await["output"], json!(n + STEPS_OF_MANY), "each run gives its own result");
    }
    used
}

/// Waits until no run is live. `last` is the event that was sent last.
pub(crate) async fn wait_until_idle(api: &ApiClient, last: &str) {
    wait_for_end(api, last).await;
    // the run that was created last may not be the last to end
    for status in ["Running", "Scheduled"] {
        while !api.get(&format!("/v1/runs?status={status}&limit=1")).await.1["data"]
            .as_array()
            .expect("a list")
            .is_empty()
        {
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
    }
}

/// Waits until the only run of an event has completed, and returns the run.
pub(crate) async fn wait_for_end(api: &ApiClient, event: &str) -> Value {
    loop {
        let (status, mut answer) = api.get(&format!("/v1/events/{event}/runs")).await;
        assert_eq!(status, 200, "{answer}");
        let run = answer["data"][0].take();
        if !run["ended_at"].is_null() {
            assert_eq!(run["status"], "Completed", "{run}");
            return run;
        }
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
}

async fn measure_ingest(options: &BenchOptions) -> ProcessorUsage {
    let server = BenchServer::start("step").await;
    let api = server.api();
    SendMode::Batches.send(&api, "bench/unused", options.events / 10).await;
    let watch = ProcessorWatch::start(&[server.pid()]);
    let ids = SendMode::Batches.send(&api, "bench/unused", options.events).await;
    let used = watch.stop();
    assert_eq!(ids.len(), options.events);
    used
}
