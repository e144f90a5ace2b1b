//! The number of storage and queue requests that a run needs, counted at the ports. On DynamoDB and
//! SQS each request costs money.

mod support;

use stepladder_engine::Pace;
use stepladder_testkit::memory::CallCounts;
use support::EngineFixture;
use support::script::ScriptedFunction;

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
