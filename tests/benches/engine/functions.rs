//! The functions of the benchmark: steps with empty bodies.

use std::sync::LazyLock;
use std::time::Instant;

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

/// The app that the server runs.
pub(crate) fn app() -> App {
    App::new().function(Function::new("sequential", sequential_steps)).function(Function::new("three", three_steps))
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

fn nanoseconds() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
