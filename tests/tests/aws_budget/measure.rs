//! One run, measured: what its start took, and what its invocations did.

use std::sync::Arc;

use stepladder::{Function, Pace};
use stepladder_core::{NewEvent, Status, json};

use crate::stage::{Sdk, Stage};
use crate::wire::Tally;

/// Whether each invocation finds the run in its worker's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cache {
    Warm,
    Cold,
}

#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) start: Tally,
    /// From the first invocation to the end, the sweep included.
    pub(crate) rest: Tally,
    pub(crate) invocations: u64,
}

/// A stage for one function, on which one run has been: what a process does once is done.
pub(crate) async fn warmed_up(function: Function, pace: Pace) -> Stage {
    let mut stage = Stage::new(Sdk::Tells, vec![function]).await;
    stage.config.pace = pace;
    run(&stage, 1, Cache::Warm).await;
    stage
}

/// A run of the stage's function.
pub(crate) async fn run(stage: &Stage, n: u32, cache: Cache) -> Measured {
    let engine = stage.engine();
    if cache == Cache::Warm {
        // once in ten seconds, a worker looks whether functions are paused
        engine.functions().paused().await.expect("the table answers");
    }
    let event = NewEvent::new("shop/go", json::to_json(&serde_json::json!({"n": n})).expect("JSON"));
    stage.wire.take_tally();
    let event = stage.send(&engine, &event).await;
    let start = stage.wire.take_tally();
    let one = || match cache {
        Cache::Warm => Arc::clone(&engine),
        Cache::Cold => stage.engine(),
    };
    let invocations = stage.settle(one).await as u64;
    let rest = stage.wire.take_tally();
    assert_eq!(stage.runs(event).await[0].summary.status, Status::Completed);
    stage.assert_within_limits();
    Measured { start, rest, invocations }
}
