//! Measures the requests of one run: those that start the run, and those of its invocations.

use std::sync::Arc;

use stepladder::{Function, Pace};
use stepladder_core::{NewEvent, Status, json};

use crate::stage::{AwsStage, SdkRetryMode};
use crate::wire::RequestTally;

/// Whether the run is in the cache of the worker that handles its next invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkerCache {
    Warm,
    Cold,
}

#[derive(Clone, Debug)]
pub(crate) struct MeasuredRun {
    pub(crate) start: RequestTally,
    /// The requests from the first invocation to the end of the run, including the sweep.
    pub(crate) rest: RequestTally,
    pub(crate) invocations: u64,
}

/// Creates a stage for one function. Executes one run first, so that requests which a process makes
/// only once are not counted.
pub(crate) async fn warmed_up(function: Function, pace: Pace) -> AwsStage {
    let mut stage = AwsStage::new(SdkRetryMode::Tells, vec![function]).await;
    stage.config.pace = pace;
    run(&stage, 1, WorkerCache::Warm).await;
    stage
}

/// Measures a run of the stage's function.
pub(crate) async fn run(stage: &AwsStage, n: u32, cache: WorkerCache) -> MeasuredRun {
    let engine = stage.engine();
    if cache == WorkerCache::Warm {
        // a worker reads every ten seconds whether the function is paused; here it does so before
        // the measurement
        engine.functions().paused().await.expect("the table answers");
    }
    let event = NewEvent::new("shop/go", json::to_json(&serde_json::json!({"n": n})).expect("JSON"));
    stage.wire.take_tally();
    let event = stage.send(&engine, &event).await;
    let start = stage.wire.take_tally();
    let one = || match cache {
        WorkerCache::Warm => Arc::clone(&engine),
        WorkerCache::Cold => stage.engine(),
    };
    let invocations = stage.settle(one).await as u64;
    let rest = stage.wire.take_tally();
    assert_eq!(stage.runs(event).await[0].summary.status, Status::Completed);
    stage.assert_within_limits();
    MeasuredRun { start, rest, invocations }
}
