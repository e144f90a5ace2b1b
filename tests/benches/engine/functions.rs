//! The functions of the benchmark.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use stepladder::App;
use stepladder::prelude::*;

/// The event that triggers [`sequential`].
#[derive(Serialize, Deserialize)]
pub(crate) struct SequentialStepsEvent {
    /// The number of steps.
    pub(crate) steps: usize,
}

impl EventData for SequentialStepsEvent {
    const NAME: &'static str = "bench/sequential";
}

/// The event that triggers a function with three steps.
#[derive(Serialize, Deserialize)]
struct ThreeStepsEvent {
    n: u64,
}

impl EventData for ThreeStepsEvent {
    const NAME: &'static str = "bench/three";
}

/// The event that triggers [`fan_out`].
#[derive(Serialize, Deserialize)]
struct FanOutEvent {
    /// The number of steps that start at the same time.
    steps: usize,
}

impl EventData for FanOutEvent {
    const NAME: &'static str = "bench/fan-out";
}

/// The event that triggers [`map`].
#[derive(Serialize, Deserialize)]
struct MapEvent {
    /// The number of items.
    items: usize,
    /// The maximum number of active steps.
    limit: usize,
}

impl EventData for MapEvent {
    const NAME: &'static str = "bench/map";
}

/// The event that triggers [`sleep`].
#[derive(Serialize, Deserialize)]
struct SleepEvent {
    seconds: u64,
}

impl EventData for SleepEvent {
    const NAME: &'static str = "bench/sleep";
}

/// How long each step of a fan-out lasts.
const FAN_OUT_STEP: Duration = Duration::from_millis(5);

/// The app that the server runs.
pub(crate) fn app() -> App {
    App::new()
        .function(Function::new("sequential", sequential_steps))
        .function(Function::new("three", three_steps))
        .function(Function::new("fan-out", fan_out))
        .function(Function::new("map", map))
        .function(Function::new("sleep", sleep))
}

/// Executes `steps` steps. Returns the start and end of each body, in nanoseconds of the same
/// clock.
async fn sequential_steps(ctx: Context, event: Event<SequentialStepsEvent>) -> Result<Vec<(u64, u64)>> {
    let mut marks = Vec::new();
    for i in 0..event.data.steps {
        marks.push(ctx.step(format!("step-{i}"), async || Ok((nanoseconds(), nanoseconds()))).await?);
    }
    Ok(marks)
}

async fn three_steps(ctx: Context, event: Event<ThreeStepsEvent>) -> Result<u64> {
    let first = ctx.step("first", async || Ok(event.data.n + 1)).await?;
    let second = ctx.step("second", async || Ok(first + 1)).await?;
    ctx.step("third", async || Ok(second + 1)).await
}

/// Executes steps at the same time. Returns when the first and the last of them started and when
/// the step after them started, in nanoseconds after the step before them.
async fn fan_out(ctx: Context, event: Event<FanOutEvent>) -> Result<[u64; 3]> {
    let before = ctx.step("before", async || Ok(nanoseconds())).await?;
    let steps = (0..event.data.steps).map(|i| {
        ctx.step(format!("step-{i}"), async || {
            let started = nanoseconds();
            tokio::time::sleep(FAN_OUT_STEP).await;
            Ok(started)
        })
    });
    let started = try_join_all(steps).await?;
    let after = ctx.step("after", async || Ok(nanoseconds())).await?;
    let (first, last) = (started.iter().min().copied().unwrap_or(before), started.iter().max().copied());
    Ok([first, last.unwrap_or(before), after].map(|time| time.saturating_sub(before)))
}

/// Executes a step for each item. Returns the nanoseconds from the step before to the step after.
async fn map(ctx: Context, event: Event<MapEvent>) -> Result<u64> {
    let before = ctx.step("before", async || Ok(nanoseconds())).await?;
    let items = ctx.map("item", 0..event.data.items, async |_| Ok(nanoseconds()));
    let _times: Vec<u64> = items.limit(event.data.limit).await?;
    let after = ctx.step("after", async || Ok(nanoseconds())).await?;
    Ok(after.saturating_sub(before))
}

async fn sleep(ctx: Context, event: Event<SleepEvent>) -> Result<()> {
    ctx.sleep("nap", Duration::from_secs(event.data.seconds)).await
}

fn nanoseconds() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
