//! Measures long and wide runs: whether the price of a step grows with the number of steps before
//! it or beside it.

use std::time::{Duration, Instant};

use serde_json::json;
use stepladder_tests::ApiClient;

use crate::marks::{BodyTimes, StepGaps};
use crate::options::BenchOptions;
use crate::ours::server::BenchServer;
use crate::ours::{SendMode, wait_for_end};
use crate::process::{ProcessorWatch, peak_memory};

/// The number of steps of a long run.
pub(crate) const LONG: usize = 3_100;
/// The windows of steps for which gaps are reported, each with its first step and its length.
pub(crate) const WINDOWS: [(usize, usize); 4] = [(1, 20), (101, 20), (1_001, 20), (3_001, 20)];
/// The numbers of steps of the fan-outs.
pub(crate) const WIDTHS: [usize; 4] = [16, 100, 1_000, 10_000];
/// The items of the maps, each with the maximum number of active steps.
const MAPS: [(usize, usize); 2] = [(1_000, 50), (10_000, 50)];
/// The time between two checks of a run.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// The number of runs that sleep at the same time.
const SLEEPERS: usize = 100_000;

/// The figures of one engine.
#[derive(Clone, Debug)]
pub(crate) struct GrowthFigures {
    /// The engine's name and settings.
    pub(crate) name: String,
    /// The long run.
    pub(crate) long: LongRun,
    /// The fan-outs, each with its number of steps.
    pub(crate) fan_outs: Vec<(usize, FanOut)>,
    /// The maps: items, limit, and the time of the map.
    pub(crate) maps: Vec<(usize, usize, Duration)>,
    /// The time until the runs sleep, with their number.
    pub(crate) asleep: Option<(usize, Duration)>,
    /// The peak memory of the engine's processes after the long run, the fan-outs, the maps and the
    /// sleeping runs, in bytes.
    pub(crate) memory: Vec<Option<u64>>,
}

/// The figures of one run with many sequential steps.
#[derive(Clone, Debug)]
pub(crate) struct LongRun {
    /// The median gap in each window.
    pub(crate) gaps: Vec<Duration>,
    /// The time from the first step to the last one.
    pub(crate) whole: Duration,
    /// The processor time per step.
    pub(crate) cpu: Option<Duration>,
}

/// The times of a fan-out, from the step before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FanOut {
    /// When the first step started.
    pub(crate) first: Duration,
    /// When the last step started.
    pub(crate) last: Duration,
    /// When the step after the fan-out started.
    pub(crate) end: Duration,
}

impl FanOut {
    /// Reads the output of the function.
    pub(crate) fn of(nanoseconds: [u64; 3]) -> Self {
        let [first, last, end] = nanoseconds.map(Duration::from_nanos);
        Self { first, last, end }
    }
}

impl LongRun {
    /// Computes the figures from the times of the steps and the processor time of all of them.
    pub(crate) fn of(marks: &BodyTimes, cpu: Option<Duration>) -> Self {
        let window = |(first, length): (usize, usize)| {
            let steps = marks.get(first..(first + length).min(marks.len())).unwrap_or_default();
            StepGaps::from_runs(&[steps.to_vec()]).p50
        };
        let (first, last) = (marks.first().map_or(0, |mark| mark.0), marks.last().map_or(0, |mark| mark.0));
        Self {
            gaps: WINDOWS.map(window).to_vec(),
            whole: Duration::from_nanos(last - first),
            cpu: cpu.map(|cpu| cpu / u32::try_from(marks.len()).unwrap_or(u32::MAX)),
        }
    }
}

/// Measures our server at both paces.
pub(crate) async fn measure(options: &BenchOptions) -> Vec<GrowthFigures> {
    let mut figures = Vec::new();
    for (name, pace) in [("one step an invocation", "step"), ("within budget", "budget")] {
        figures.push(at_pace(name, pace, options).await);
    }
    figures
}

async fn at_pace(name: &str, pace: &str, options: &BenchOptions) -> GrowthFigures {
    let server = BenchServer::start(pace).await;
    let api = server.api();
    run(&api, "bench/sequential", json!({"steps": 100})).await; // warms up
    let watch = ProcessorWatch::start(&[server.pid()]);
    let marks = run(&api, "bench/sequential", json!({"steps": LONG})).await;
    let marks: BodyTimes = serde_json::from_value(marks).expect("the function gives marks");
    assert_eq!(marks.len(), LONG);
    let long = LongRun::of(&marks, watch.stop().cpu);
    let mut memory = vec![peak_memory(&[server.pid()])];
    let mut fan_outs = Vec::new();
    for width in WIDTHS.into_iter().filter(|width| !options.quick || *width <= 1_000) {
        let times = run(&api, "bench/fan-out", json!({"steps": width})).await;
        fan_outs.push((width, FanOut::of(serde_json::from_value(times).expect("the function gives three times"))));
    }
    memory.push(peak_memory(&[server.pid()]));
    let mut maps = Vec::new();
    for (items, limit) in MAPS.into_iter().filter(|(items, _)| !options.quick || *items <= 1_000) {
        let time = run(&api, "bench/map", json!({"items": items, "limit": limit})).await;
        maps.push((items, limit, Duration::from_nanos(time.as_u64().expect("the function gives its time"))));
    }
    memory.push(peak_memory(&[server.pid()]));
    let sleepers = if options.quick { SLEEPERS / 20 } else { SLEEPERS };
    let asleep = Some((sleepers, fall_asleep(&api, sleepers).await));
    memory.push(peak_memory(&[server.pid()]));
    GrowthFigures { name: name.into(), long, fan_outs, maps, asleep, memory }
}

/// Executes one run and returns its output. Checks are rare, because each check takes processor
/// time from the server.
pub(crate) async fn run(api: &ApiClient, name: &str, data: serde_json::Value) -> serde_json::Value {
    let ids = api.send(&json!({"name": name, "data": data})).await;
    loop {
        tokio::time::sleep(CHECK_INTERVAL).await;
        let (_, runs) = api.get(&format!("/v1/events/{}/runs", ids[0])).await;
        if !runs["data"][0]["ended_at"].is_null() {
            return wait_for_end(api, &ids[0]).await["output"].take();
        }
    }
}

/// Starts runs that sleep for a day. Returns the time until no run waits for its start.
async fn fall_asleep(api: &ApiClient, runs: usize) -> Duration {
    let begun = Instant::now();
    SendMode::Batches.send(api, "bench/sleep", runs).await;
    loop {
        let (_, scheduled) = api.get("/v1/runs?status=Scheduled&limit=1").await;
        if scheduled["data"].as_array().is_some_and(Vec::is_empty) {
            return begun.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
