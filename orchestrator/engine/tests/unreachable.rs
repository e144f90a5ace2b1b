//! An executor that cannot be reached for a while. No retry is used, and the run goes on
//! afterwards.

mod support;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use stepladder_core::Status;
use stepladder_core::spec::Concurrency;
use stepladder_engine::clock::Clock;
use support::EngineFixture;
use support::outage::Outage;
use support::script::ScriptedFunction;

#[tokio::test]
async fn a_run_survives_an_outage_of_its_executor_without_a_retry() {
    let parts: [fn(&Outage) -> &AtomicU32; 3] =
        [|outage| &outage.opens, |outage| &outage.polls, |outage| &outage.attempts];
    for part in parts {
        let script = ScriptedFunction::new("f")
            .spec(|spec| {
                spec.retry.retries = 0;
                spec.concurrency.push(Concurrency::steps(1));
            })
            .step("a", &[])
            .step("b", &["a"]);
        let outage = script.outage();
        part(&outage).store(30, Ordering::Relaxed);
        let mut world = EngineFixture::new(vec![script.function()]);
        let engine = world.engine();
        let event = world.send_event(&engine).await;
        world.settle(&engine).await;
        let detail = &world.runs(&engine, event).await[0];
        assert_eq!(detail.summary.status, Status::Completed);
        assert_eq!(part(&outage).load(Ordering::Relaxed), 0, "it was unreachable thirty times");
        let attempts = |step: &str| detail.steps.iter().find(|view| *view.id == *step).map(|view| view.attempts.len());
        assert_eq!((attempts("a"), attempts("b")), (Some(1), Some(1)), "the number of an attempt is used again");
    }
}

#[tokio::test]
async fn the_run_says_since_when_its_executor_cannot_be_reached() {
    let script = ScriptedFunction::new("f").step("a", &[]);
    let outage = script.outage();
    outage.opens.store(u32::MAX, Ordering::Relaxed);
    let mut world = EngineFixture::new(vec![script.function()]);
    let engine = world.engine();
    let event = world.send_event(&engine).await;
    world.settle_within(&engine, Duration::from_secs(86_400)).await;
    let detail = &world.runs(&engine, event).await[0];
    assert!(!detail.summary.status.is_end(), "it goes on without end");
    let waiting = detail.waiting.clone().unwrap_or_default();
    assert!(waiting.contains("cannot be reached since") && waiting.contains("connection refused"), "{waiting}");
    let entries = engine.query().entries_since(detail.summary.run, 0).await.unwrap();
    assert_eq!(entries, 2, "the outage is written once");
    outage.opens.store(0, Ordering::Relaxed);
    world.settle(&engine).await;
    assert_eq!(world.status(&engine, event).await, Status::Completed);
}

#[tokio::test]
async fn an_executor_that_does_not_answer_is_unreachable_before_the_invocation_ends() {
    let parts: [fn(&Outage) -> &AtomicU32; 2] = [|outage| &outage.silent_opens, |outage| &outage.silent_polls];
    for part in parts {
        let script = ScriptedFunction::new("f").spec(|spec| spec.retry.retries = 0).step("a", &[]);
        let outage = script.outage();
        part(&outage).store(1, Ordering::Relaxed);
        let mut world = EngineFixture::new(vec![script.function()]);
        let engine = world.engine();
        let event = world.send_event(&engine).await;
        let deadline = world.clock.now() + engine.config().worker_timeout_of("f");
        let hop = support::spawn_hop(&world, &engine);
        let pass_time_to = async |now| {
            world.clock.set(now);
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        };
        pass_time_to(world.clock.now()).await;
        pass_time_to(deadline - Duration::from_millis(2_001)).await;
        assert!(!hop.is_finished(), "the executor still has time");
        pass_time_to(deadline - Duration::from_secs(2)).await;
        assert!(hop.is_finished(), "two seconds are left to write what follows");
        hop.await.expect("no panic");
        let waiting = world.runs(&engine, event).await[0].waiting.clone().unwrap_or_default();
        assert!(waiting.contains("did not answer before the invocation ended"), "{waiting}");
        world.settle(&engine).await;
        let detail = &world.runs(&engine, event).await[0];
        assert_eq!(detail.summary.status, Status::Completed);
        assert_eq!(detail.steps[0].attempts.len(), 1, "no retry was used");
    }
}
