//! A store that refuses all writes for a while, as on a full disk. Outcomes of bodies are kept in
//! memory, and all runs continue soon after there is space.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use stepladder_core::Status;
use stepladder_core::journal::Fact;
use stepladder_core::spec::Concurrency;
use stepladder_engine::Engine;
use stepladder_engine::clock::Clock;
use stepladder_engine::retries::StorageRetries;
use support::script::ScriptedFunction;
use support::{EngineFixture, count_facts, only_run, slow, spawn_hop, with_gated_step};

/// Creates a process with a disk that the test can fill.
fn start_process(world: &mut EngineFixture) -> (Arc<Engine>, Arc<AtomicBool>) {
    let full = Arc::new(AtomicBool::new(false));
    let disk = slow::on_disk(world.memory.clone(), full.clone());
    (world.engine_on(disk), full)
}

/// Advances the clock second by second, and runs all tasks after each second.
async fn pass_time(world: &EngineFixture, seconds: u64) {
    for _ in 0..seconds {
        world.clock.advance(Duration::from_secs(1));
        run_all_tasks().await;
    }
}

async fn run_all_tasks() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

async fn attempts(world: &EngineFixture, engine: &Engine, step: &str) -> usize {
    let journal = world.journal(engine, only_run(engine).await).await;
    count_facts(&journal, |fact| matches!(fact, Fact::StepStarted { step: started, .. } if **started == *step))
}

#[tokio::test]
async fn an_outcome_is_kept_until_the_disk_has_space() {
    let (script, begun, open) = with_gated_step(ScriptedFunction::new("f"), "a", &[]);
    let mut world = EngineFixture::new(vec![script.step("b", &["a"]).function()])
        .config(|config| config.storage_retries = StorageRetries::default());
    world.memory.set_exclusive();
    let (engine, full) = start_process(&mut world);
    world.send_event(&engine).await;
    let hop = spawn_hop(&world, &engine);
    begun.notified().await;
    full.store(true, SeqCst);
    open.notify_one();
    pass_time(&world, 100).await;
    assert!(!hop.is_finished(), "the outcome was given up within its lease");
    full.store(false, SeqCst);
    pass_time(&world, 2).await;
    hop.await.unwrap();
    world.settle_within(&engine, Duration::from_secs(1)).await;
    assert_eq!(engine.query().run(only_run(&engine).await).await.unwrap().summary.status, Status::Completed);
    assert_eq!(attempts(&world, &engine, "a").await, 1);
}

#[tokio::test]
async fn a_slot_is_released_after_its_start_met_a_full_disk() {
    let script = ScriptedFunction::new("f").step("a", &[]).spec(|spec| spec.concurrency.push(Concurrency::steps(1)));
    let mut world = EngineFixture::new(vec![script.function()]);
    world.memory.set_exclusive();
    let (engine, full) = start_process(&mut world);
    world.send_event(&engine).await;
    full.store(true, SeqCst);
    world.hop_once(&engine).await;
    full.store(false, SeqCst);
    // five seconds are much less than the rest of the slot's lease
    world.settle_within(&engine, Duration::from_secs(5)).await;
    assert_eq!(engine.query().run(only_run(&engine).await).await.unwrap().summary.status, Status::Completed);
}

#[tokio::test]
async fn a_wake_that_met_a_full_disk_is_delivered_again_within_seconds() {
    let script = ScriptedFunction::new("f").step("a", &[]);
    let executed = script.executed();
    let mut world = EngineFixture::new(vec![script.function()]);
    world.memory.set_exclusive();
    let (engine, full) = start_process(&mut world);
    world.send_event(&engine).await;
    full.store(true, SeqCst);
    for _ in 0..3 {
        world.hop_once(&engine).await;
        let due = world.memory.next_due().unwrap();
        assert_eq!(due, world.clock.now() + Duration::from_secs(2));
        world.clock.set(due);
    }
    assert_eq!(executed.count_of("a"), 0, "a body ran without a written start");
    full.store(false, SeqCst);
    world.settle_within(&engine, Duration::from_secs(1)).await;
    assert_eq!(engine.query().run(only_run(&engine).await).await.unwrap().summary.status, Status::Completed);
    assert_eq!(executed.count_of("a"), 1);
}

#[tokio::test]
async fn a_body_finishes_although_the_outcome_of_a_parallel_body_is_refused() {
    let (script, a_begun, a_open) = with_gated_step(ScriptedFunction::new("f"), "a", &[]);
    let (script, b_begun, b_open) = with_gated_step(script, "b", &[]);
    // While another body executes, an outcome is not kept in memory. Such an outcome must not be
    // lost either.
    let mut world = EngineFixture::new(vec![script.function()]);
    let (engine, full) = start_process(&mut world);
    world.send_event(&engine).await;
    let hop = spawn_hop(&world, &engine);
    a_begun.notified().await;
    b_begun.notified().await;
    full.store(true, SeqCst);
    a_open.notify_one();
    run_all_tasks().await;
    full.store(false, SeqCst);
    b_open.notify_one();
    hop.await.unwrap();
    let journal = world.journal(&engine, only_run(&engine).await).await;
    let of = |step: &str| {
        count_facts(&journal, |f| matches!(f, Fact::StepSucceeded { step: ended, .. } if **ended == *step))
    };
    assert_eq!((of("a"), of("b")), (0, 1), "b's body was cut off");
    a_open.notify_one();
    world.settle(&engine).await;
    assert_eq!((attempts(&world, &engine, "a").await, attempts(&world, &engine, "b").await), (2, 1));
}
