//! The number of storage and queue requests that a run needs, counted at the ports. On DynamoDB and
//! SQS each request costs money.

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use stepladder_core::decide::Operation;
use stepladder_engine::Pace;
use stepladder_testkit::memory::CallCounts;
use support::script::ScriptedFunction;
use support::{EngineFixture, have_ended};

/// Returns the requests of a run with `n` sequential steps, from its first hop to its end.
async fn count_calls(pace: Pace, n: usize) -> CallCounts {
    counts_of(ScriptedFunction::new("f"), pace, n).await
}

async fn counts_of(script: ScriptedFunction, pace: Pace, n: usize) -> CallCounts {
    let names: Vec<String> = (0..n).map(|i| format!("s{i}")).collect();
    let script = (0..n).fold(script, |script, i| match i {
        0 => script.step(&names[0], &[]),
        _ => script.step(&names[i], &[&names[i - 1]]),
    });
    let mut world = EngineFixture::new(vec![script.function()]).pace(pace);
    let engine = world.engine();
    world.send_event(&engine).await;
    // this loop replaces `settle`, because `settle` reads the runs between hops
    while world.memory.wakes() > 0 {
        world.hop_once(&engine).await;
    }
    world.memory.counts()
}

#[tokio::test]
async fn with_one_step_an_invocation_a_step_costs_a_read_two_writes_and_a_send() {
    for n in [1, 3, 30, 300] {
        let counts = count_calls(Pace::StepPerInvocation, n).await;
        let n = n as u64;
        assert_eq!((counts.reads, counts.appends, counts.sends, counts.receives), (n, 2 * n, n, n), "{n} steps");
        assert_eq!((counts.conflicts, counts.slots), (0, 0), "{n} steps");
    }
}

#[tokio::test]
async fn within_budget_a_run_costs_one_write_a_step_and_one_more() {
    for n in [1, 3, 30, 300] {
        let counts = count_calls(Pace::WithinBudget, n).await;
        assert_eq!((counts.reads, counts.appends, counts.sends, counts.receives), (1, n as u64 + 1, 1, 1), "{n} steps");
        assert_eq!((counts.conflicts, counts.slots), (0, 0), "{n} steps");
    }
}

#[tokio::test]
async fn log_lines_of_a_run_cost_no_request() {
    for pace in [Pace::StepPerInvocation, Pace::WithinBudget] {
        for n in [1, 3, 30] {
            let (silent, talks) =
                (count_calls(pace, n).await, counts_of(ScriptedFunction::new("f").with_log_lines(), pace, n).await);
            assert_eq!(silent, talks, "{pace:?}, {n} steps");
        }
    }
}

/// Returns a function with `n` parallel steps and one step after them.
fn fan_out(n: usize) -> ScriptedFunction {
    let names: Vec<String> = (0..n).map(|i| format!("s{i}")).collect();
    let before: Vec<&str> = names.iter().map(String::as_str).collect();
    let script = names.iter().fold(ScriptedFunction::new("f"), |script, name| script.step(name, &[]));
    script.step("after", &before)
}

/// Returns the requests of a run with `n` parallel steps, of which one invocation executes
/// `side_by_side`. Also returns the number of outcomes that executions were shown.
async fn fan_out_counts(n: usize, side_by_side: usize) -> (CallCounts, usize) {
    let script = fan_out(n).kept(100);
    let replays = script.replays();
    let mut world = EngineFixture::new(vec![script.function()]).pace(Pace::WithinBudget).config(|config| {
        config.side_by_side = side_by_side;
    });
    let engine = world.engine();
    world.send_event(&engine).await;
    while world.memory.wakes() > 0 {
        world.hop_once(&engine).await;
    }
    let counts = world.memory.counts();
    assert!(have_ended(&engine).await, "{n} steps");
    (counts, replays.outcomes.load(Ordering::Relaxed))
}

#[tokio::test]
async fn the_requests_of_a_fan_out_in_one_invocation_grow_with_its_steps() {
    for n in [1, 10, 100, 1_000] {
        let (counts, shown) = fan_out_counts(n, 100_000).await;
        let n = n as u64;
        assert_eq!((counts.reads, counts.sends, counts.receives, counts.conflicts), (1, 1, 1, 0), "{n} steps");
        // one write for all starts, one for each outcome, and those of the step after them
        assert!(counts.appends <= n + 3, "{n} steps: {counts:?}");
        assert_eq!(shown as u64, n + 1, "each outcome is shown once");
    }
}

#[tokio::test]
async fn the_requests_of_a_fan_out_over_invocations_grow_with_its_steps() {
    for n in [17, 100, 1_000] {
        let (counts, _) = fan_out_counts(n, 16).await;
        let (n, groups) = (n as u64, n.div_ceil(16) as u64);
        let requests = (counts.reads, counts.sends, counts.receives, counts.conflicts);
        assert_eq!(requests, (1 + groups, 1 + groups, 1 + groups, 0), "{n} steps");
        // one for the wakes, one for each start of a group, one for each outcome, and the last one
        assert_eq!(counts.appends, 1 + groups + n + 1, "{n} steps");
    }
}

#[tokio::test]
async fn many_sleeps_with_the_same_end_share_one_wake() {
    for n in [1, 10, 1_000] {
        let nap = || Operation::SleepFor(Duration::from_secs(60));
        let names: Vec<String> = (0..n).map(|i| format!("nap{i}")).collect();
        let script = names.iter().fold(ScriptedFunction::new("f"), |script, name| script.request(name, &[], nap()));
        let mut world = EngineFixture::new(vec![script.function()]);
        let engine = world.engine();
        world.send_event(&engine).await;
        world.settle(&engine).await;
        assert!(have_ended(&engine).await, "{n} sleeps");
        assert_eq!(world.memory.counts().sends, 2, "{n} sleeps: the run's own wake, and that of the sleeps");
    }
}
