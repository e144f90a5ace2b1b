//! Skipping waits. A step that sleeps or waits for a retry continues at once on request.

mod support;

use std::sync::Arc;
use std::time::Duration;

use stepladder_core::decide::Operation;
use stepladder_core::{Fact, Status};
use stepladder_engine::{Engine, EngineError};
use support::script::{ScriptedFunction, retryable_failure};
use support::{EngineFixture, count_facts, only_run};

const MONTH: Duration = Duration::from_secs(30 * 86_400);

/// Does all work that is due now.
async fn work(world: &EngineFixture, engine: &Arc<Engine>) {
    world.settle_within(engine, Duration::ZERO).await;
}

#[tokio::test]
async fn a_sleep_is_skipped() {
    let script = ScriptedFunction::new("f").request("rest", &[], Operation::SleepFor(MONTH)).step("after", &["rest"]);
    let mut world = EngineFixture::new(vec![script.function()]);
    let engine = world.engine();
    world.send_event(&engine).await;
    work(&world, &engine).await;
    let run = only_run(&engine).await;
    assert_eq!(engine.query().run(run).await.unwrap().summary.status, Status::Running);
    assert_eq!(engine.control().skip_wait(run, "rest").await.unwrap(), Status::Running);
    work(&world, &engine).await;
    assert_eq!(engine.query().run(run).await.unwrap().summary.status, Status::Completed);
    let journal = world.journal(&engine, run).await;
    assert_eq!(count_facts(&journal, |fact| matches!(fact, Fact::WaitSkipped { .. })), 1);
}

/// Tests both cases: the waiting step is the run's only step, or another step runs beside it, so
/// that the retry has its own wake.
#[tokio::test]
async fn the_wait_for_a_retry_is_skipped() {
    for beside in [false, true] {
        let body = |n| async move { if n == 1 { Err(retryable_failure("not today")) } else { Ok(()) } };
        let mut script = ScriptedFunction::new("f").body("flaky", &[], body);
        if beside {
            script = script.step("other", &[]);
        }
        let script = script.spec(|spec| {
            spec.retry.backoff = MONTH.into();
        });
        let tried = script.executed();
        let mut world = EngineFixture::new(vec![script.function()]);
        let engine = world.engine();
        world.send_event(&engine).await;
        work(&world, &engine).await;
        let run = only_run(&engine).await;
        assert_eq!(tried.count_of("flaky"), 1);
        engine.control().skip_wait(run, "flaky").await.unwrap();
        work(&world, &engine).await;
        assert_eq!(tried.count_of("flaky"), 2, "beside another: {beside}");
        assert_eq!(
            engine.query().run(run).await.unwrap().summary.status,
            Status::Completed,
            "beside another: {beside}"
        );
    }
}

#[tokio::test]
async fn the_wait_for_a_retry_of_the_function_is_skipped() {
    let script = ScriptedFunction::new("f")
        .step("done", &[])
        .with_failing_handler(1)
        .spec(|spec| spec.retry.backoff = MONTH.into());
    let mut world = EngineFixture::new(vec![script.function()]);
    let engine = world.engine();
    world.send_event(&engine).await;
    work(&world, &engine).await;
    let run = only_run(&engine).await;
    let detail = engine.query().run(run).await.unwrap();
    assert_eq!((detail.handler_errors.len(), detail.handler_due), (1, Some(engine.now() + MONTH)));
    engine.control().skip_handler_wait(run).await.unwrap();
    engine.control().skip_handler_wait(run).await.unwrap();
    assert_eq!(engine.query().run(run).await.unwrap().handler_due, Some(engine.now()));
    work(&world, &engine).await;
    assert_eq!(engine.query().run(run).await.unwrap().summary.status, Status::Completed);
    let journal = world.journal(&engine, run).await;
    assert_eq!(count_facts(&journal, |fact| matches!(fact, Fact::WaitSkipped { step: None })), 1, "twice is once");
    assert!(matches!(engine.control().skip_handler_wait(run).await, Err(EngineError::TooLate(_))));
}

#[tokio::test]
async fn a_step_without_a_timed_wait_cannot_be_skipped() {
    let script = ScriptedFunction::new("f").step("done", &[]).request("rest", &["done"], Operation::SleepFor(MONTH));
    let mut world = EngineFixture::new(vec![script.function()]);
    let engine = world.engine();
    world.send_event(&engine).await;
    work(&world, &engine).await;
    let run = only_run(&engine).await;
    for none in ["done", "nothing"] {
        assert!(matches!(engine.control().skip_wait(run, none).await, Err(EngineError::Invalid(_))), "{none}");
    }
    assert!(matches!(engine.control().skip_handler_wait(run).await, Err(EngineError::Invalid(_))));
    // the second request changes nothing, because the first one has ended the wait
    engine.control().skip_wait(run, "rest").await.unwrap();
    engine.control().skip_wait(run, "rest").await.unwrap();
    work(&world, &engine).await;
    let journal = world.journal(&engine, run).await;
    assert_eq!(count_facts(&journal, |fact| matches!(fact, Fact::WaitSkipped { .. })), 1);
    assert!(matches!(engine.control().skip_wait(run, "rest").await, Err(EngineError::TooLate(_))));
    let unknown = stepladder_core::RunId::new(engine.now(), 9);
    assert!(matches!(engine.control().skip_wait(unknown, "rest").await, Err(EngineError::NotFound(_))));
}
