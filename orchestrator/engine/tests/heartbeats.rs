//! Heartbeats of waits for callbacks: which of them are recorded, and how a wait ends without them.

mod support;

use std::sync::Arc;
use std::time::Duration;

use stepladder_core::decide::Operation;
use stepladder_core::journal::Fact;
use stepladder_core::{RunId, Status, json};
use stepladder_engine::clock::Clock;
use stepladder_engine::{Engine, EngineError, HeartbeatEffect};
use support::script::ScriptedFunction;
use support::{EngineFixture, count_facts, only_run};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// A function that executes a step, and then waits for a callback with a heartbeat every minute.
fn rendering_function() -> ScriptedFunction {
    let wait = Operation::WaitForSignal { timeout: DAY, heartbeat: Some(MINUTE), name: None };
    ScriptedFunction::new("f").step("ask", &[]).request("video", &["ask"], wait).step("show", &["video"])
}

async fn waiting_run(world: &mut EngineFixture) -> (Arc<Engine>, RunId, String) {
    let engine = world.engine();
    world.send_event(&engine).await;
    let run = only_run(&engine).await;
    world.settle_within(&engine, Duration::ZERO).await;
    let token = engine.subscriptions().callback_token(run, "video").await.unwrap();
    (engine, run, token)
}

async fn status(engine: &Engine, run: RunId) -> Status {
    engine.query().run(run).await.unwrap().summary.status
}

async fn count(world: &EngineFixture, engine: &Engine, run: RunId, fact: &str) -> usize {
    count_facts(&world.journal(engine, run).await, |of| of.name() == fact)
}

#[tokio::test]
async fn a_wait_without_any_heartbeat_ends_after_one_interval() {
    let mut world = EngineFixture::new(vec![rendering_function().function()]);
    let (engine, run, token) = waiting_run(&mut world).await;
    let start = world.clock.now();
    let waiting = engine.query().run(run).await.unwrap();
    let sentence = format!("and for a heartbeat by {}", start + MINUTE);
    assert!(waiting.waiting.as_ref().is_some_and(|text| text.ends_with(&sentence)), "{:?}", waiting.waiting);
    let awaits = waiting.steps.iter().find_map(|step| step.awaits.clone());
    assert_eq!(awaits.as_deref(), Some("a signal, with a heartbeat every 60s"));
    world.settle(&engine).await;
    assert_eq!(world.clock.now().since(start), MINUTE);
    let ended = engine.query().run(run).await.unwrap().summary;
    let error = ended.error.expect("a failure");
    assert_eq!((ended.status, error.code()), (Status::Failed, Some("heartbeat-timeout")));
    assert_eq!(
        error.message,
        "step `video` waits for a heartbeat every 60s, and no heartbeat came since the wait started"
    );
    for late in [
        engine.subscriptions().heartbeat(&token).await.map(drop),
        engine.subscriptions().signal(&token, json::null()).await.map(drop),
    ] {
        assert!(matches!(late, Err(EngineError::TooLate(_))), "{late:?}");
    }
}

#[tokio::test]
async fn a_holder_that_posts_in_time_keeps_the_wait_open_with_few_entries_and_wakes() {
    for (gap, most) in [(5, 2), (29, 2), (59, 1), (60, 1)] {
        let mut world = EngineFixture::new(vec![rendering_function().function()]);
        let (engine, run, token) = waiting_run(&mut world).await;
        let (start, minutes) = (world.clock.now(), 60);
        let mut waiting_wakes = 0;
        for n in 1..=minutes * 60 / gap {
            // a millisecond before the next heartbeat is due, if the gap is a whole interval
            let at = start + Duration::from_secs(n * gap) - Duration::from_millis(1);
            world.settle_within(&engine, at.since(world.clock.now())).await;
            world.clock.set(at);
            let receipt = engine.subscriptions().heartbeat(&token).await.unwrap();
            assert_eq!(receipt.effect.next_before(), Some(at + MINUTE));
            waiting_wakes = waiting_wakes.max(world.memory.wakes() + world.memory.timers());
        }
        assert_eq!(status(&engine, run).await, Status::Running, "every {gap} s");
        let recorded = count(&world, &engine, run, "HeartbeatReceived").await;
        assert!(recorded as u64 <= most * minutes + 1, "every {gap} s: {recorded}");
        assert!(waiting_wakes <= 8, "every {gap} s: {waiting_wakes} wakes are waiting at once");
        engine.subscriptions().signal(&token, json::null()).await.unwrap();
        world.settle_within(&engine, Duration::ZERO).await;
        assert_eq!(status(&engine, run).await, Status::Completed);
    }
}

#[tokio::test]
async fn a_wait_ends_soon_after_the_last_heartbeat_and_survives_restarts() {
    let mut world = EngineFixture::new(vec![rendering_function().function()]);
    let (engine, run, token) = waiting_run(&mut world).await;
    world.clock.set(world.clock.now() + Duration::from_secs(50));
    let recorded = engine.subscriptions().heartbeat(&token).await.unwrap();
    assert!(matches!(recorded.effect, HeartbeatEffect::Recorded(_)), "{recorded:?}");
    let second = world.engine();
    let again = second.subscriptions().heartbeat(&token).await.unwrap();
    assert!(matches!(again.effect, HeartbeatEffect::Recent(_)), "{again:?}");
    let last = world.clock.now();
    drop(engine);
    world.settle(&second).await;
    assert_eq!((world.clock.now().since(last), status(&second, run).await), (Duration::from_secs(90), Status::Failed));
    assert_eq!(count(&world, &second, run, "HeartbeatReceived").await, 1);
}

#[tokio::test]
async fn a_heartbeat_that_is_not_needed_says_so_and_changes_nothing() {
    let plain = Operation::WaitForSignal { timeout: DAY, heartbeat: None, name: None };
    let function = ScriptedFunction::new("f").step("ask", &[]).request("video", &["ask"], plain);
    let mut world = EngineFixture::new(vec![function.function()]);
    let engine = world.engine();
    world.send_event(&engine).await;
    let run = only_run(&engine).await;
    let token = engine.subscriptions().callback_token(run, "video").await.unwrap();
    let early = engine.subscriptions().heartbeat(&token).await.unwrap();
    assert_eq!((early.run, &*early.step, early.effect), (run, "video", HeartbeatEffect::Early));
    assert_eq!(world.journal(&engine, run).await.len(), 1);
    world.settle_within(&engine, Duration::ZERO).await;
    assert_eq!(engine.subscriptions().heartbeat(&token).await.unwrap().effect, HeartbeatEffect::Unneeded);
    let ask = engine.subscriptions().callback_token(run, "ask").await.unwrap();
    assert!(matches!(engine.subscriptions().heartbeat(&ask).await, Err(EngineError::TooLate(_))), "no wait");
    assert!(matches!(engine.subscriptions().heartbeat("x").await, Err(EngineError::NotFound(_))));
    engine.subscriptions().signal(&token, json::null()).await.unwrap();
    let Err(EngineError::TooLate(sentence)) = engine.subscriptions().heartbeat(&token).await else {
        panic!("accepted")
    };
    assert!(sentence.contains("was completed already, at 2023-"), "{sentence}");
}

#[tokio::test]
async fn a_late_heartbeat_is_refused_and_wakes_the_run_if_its_timer_was_lost() {
    let mut world = EngineFixture::new(vec![rendering_function().function()]);
    let (engine, run, token) = waiting_run(&mut world).await;
    world.clock.set(world.clock.now() + 2 * MINUTE);
    world.memory.lose_wakes();
    assert_eq!(status(&engine, run).await, Status::Running, "its wake is lost");
    let Err(EngineError::TooLate(sentence)) = engine.subscriptions().heartbeat(&token).await else {
        panic!("accepted")
    };
    assert!(sentence.contains("waits no more: its wait was over at 2023-"), "{sentence}");
    world.settle_within(&engine, Duration::ZERO).await;
    assert_eq!(status(&engine, run).await, Status::Failed);
}

#[tokio::test]
async fn of_simultaneous_heartbeats_one_is_recorded_and_all_count() {
    let mut world = EngineFixture::new(vec![rendering_function().function()]);
    let (engine, run, token) = waiting_run(&mut world).await;
    let slow = support::slow::together(world.memory.clone(), |f| matches!(f, Fact::HeartbeatReceived { .. }));
    let (one, two) = (world.engine_on(slow.clone()), world.engine_on(slow));
    let post = |engine: Arc<Engine>| {
        let token = token.clone();
        async move { engine.subscriptions().heartbeat(&token).await.unwrap().effect }
    };
    let (one, two) = tokio::join!(post(one), post(two));
    assert!(one.next_before().is_some() && one.next_before() == two.next_before(), "{one:?} {two:?}");
    assert_eq!(count(&world, &engine, run, "HeartbeatReceived").await, 1);
}
