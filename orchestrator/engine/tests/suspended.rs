//! Executions that are kept between the hops of a run, so that a hop of a long run does not replay
//! all outcomes.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use stepladder_core::decide::Operation;
use stepladder_core::retry::{Backoff, RetryPolicy};
use stepladder_core::{Status, json};
use stepladder_engine::Engine;
use support::script::{Replays, ScriptedFunction};
use support::{EngineFixture, hop_all, only_run};

/// Returns a function with `n` steps, one after the other.
fn sequence(n: usize) -> ScriptedFunction {
    let names: Vec<String> = (0..n).map(|i| format!("s{i}")).collect();
    (0..n).fold(ScriptedFunction::new("f"), |script, i| match i {
        0 => script.step(&names[0], &[]),
        _ => script.step(&names[i], &[&names[i - 1]]),
    })
}

fn count(replays: &Replays) -> (usize, usize) {
    (replays.opened.load(Ordering::Relaxed), replays.outcomes.load(Ordering::Relaxed))
}

async fn status(engine: &Engine) -> Status {
    engine.query().run(only_run(engine).await).await.unwrap().summary.status
}

/// Executes a run of `n` steps at one step an invocation. Returns how often it was replayed.
async fn replays_of(n: usize, suspended_bytes: usize) -> (usize, usize) {
    let script = sequence(n).kept(100);
    let replays = script.replays();
    let mut world =
        EngineFixture::new(vec![script.function()]).config(|config| config.suspended_bytes = suspended_bytes);
    let engine = world.engine();
    world.send_event(&engine).await;
    hop_all(&world.memory, &engine).await;
    assert_eq!(status(&engine).await, Status::Completed);
    count(&replays)
}

#[tokio::test]
async fn the_work_of_a_warm_hop_does_not_grow_with_the_steps_before_it() {
    // an execution is kept once it has seen 16 outcomes
    let before = (1..=16).sum::<usize>();
    for n in [1, 10, 16] {
        assert_eq!(replays_of(n, 1 << 20).await, (n, (1..=n).sum()), "each hop replays a short run");
    }
    for n in [17, 100, 1_000] {
        assert_eq!(replays_of(n, 1 << 20).await, (16, before + n - 16), "then each outcome is passed once");
    }
    assert_eq!(replays_of(100, 99).await, (100, 5_050), "without room, each hop replays the run");
}

/// Two processes with a function, and an event that was sent.
async fn two_processes(script: ScriptedFunction) -> (EngineFixture, Arc<Engine>, Arc<Engine>) {
    let mut world = EngineFixture::new(vec![script.function()]);
    let (first, second) = (world.engine(), world.engine());
    world.send_event(&first).await;
    (world, first, second)
}

#[tokio::test]
async fn a_kept_execution_sees_the_outcomes_of_another_process() {
    let script = sequence(40).kept(100);
    let (replays, executed) = (script.replays(), script.executed());
    let (world, first, second) = two_processes(script).await;
    for n in 0..40 {
        world.hop_once(if n < 16 || [0, 3, 5, 6].contains(&(n % 8)) { &first } else { &second }).await;
    }
    assert_eq!(status(&first).await, Status::Completed);
    assert_eq!(executed.executed_twice(), None);
    assert_eq!(count(&replays).0, 16 + 1, "then each process has one execution");
    let output = first.query().run(only_run(&first).await).await.unwrap().summary.output.unwrap();
    let order: Vec<String> = (0..40).map(|i| format!("s{i}")).collect();
    assert_eq!(output.get(), json::to_json(&order).unwrap().get(), "each execution sees each outcome once");
}

#[tokio::test]
async fn an_execution_of_an_earlier_attempt_of_the_handler_is_not_continued() {
    // the first process keeps an execution of attempt 1, and the second one ends that attempt
    let script = sequence(20).kept(100).with_failing_handler(1);
    let script = script
        .spec(|spec| spec.retry = RetryPolicy { backoff: Backoff::Fixed(Duration::ZERO), ..RetryPolicy::default() });
    let replays = script.replays();
    let (world, first, second) = two_processes(script).await;
    for _ in 0..18 {
        world.hop_once(&first).await;
    }
    let of_first = count(&replays).0;
    world.hop_once(&second).await;
    world.hop_once(&second).await;
    assert_eq!((of_first, count(&replays).0), (16, 17), "each has an execution of attempt 1");
    world.settle(&first).await;
    assert_eq!(status(&first).await, Status::Completed);
    assert_eq!(count(&replays).0, 18, "the first process opens a new execution for attempt 2");
    let failures = first.query().run(only_run(&first).await).await.unwrap().handler_errors;
    assert_eq!(failures.len(), 1, "attempt 2 is not the end of attempt 1 once more");
}

#[tokio::test]
async fn an_execution_that_no_hop_needs_is_dropped_after_a_minute() {
    for (sleeps, opened) in [(30, 16), (300, 17)] {
        let nap = Operation::SleepFor(Duration::from_secs(sleeps));
        let script = sequence(20).request("nap", &["s19"], nap).step("b", &["nap"]).kept(100);
        let replays = script.replays();
        let mut world = EngineFixture::new(vec![script.function()]);
        let engine = world.engine();
        world.send_event(&engine).await;
        world.settle(&engine).await;
        assert_eq!(status(&engine).await, Status::Completed);
        assert_eq!(count(&replays).0, opened, "after {sleeps} s");
    }
}
