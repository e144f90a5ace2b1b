//! The time limits of workers: timeouts per function, and deadlines of invocations.

mod support;

use std::time::Duration;

use stepladder_core::decide::StepOptions;
use stepladder_core::journal::Fact;
use stepladder_core::{Status, Timestamp, WakeCause};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::{Delivery, Queue};
use stepladder_engine::{Config, Engine, EngineError};
use stepladder_testkit::clock::SeededEntropy;
use support::script::ScriptedFunction;
use support::{EngineFixture, only_run, with_gated_step};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn with_timeout(secs: u64) -> StepOptions {
    StepOptions { timeout: Some(seconds(secs)), ..StepOptions::default() }
}

/// Configures separate workers for the function `long`, with a timeout of 900 s.
fn own_workers(config: &mut Config) {
    config.worker_timeouts = [("long".into(), seconds(900))].into();
}

/// Returns the expiry times of all leases in the journal.
async fn lease_ends(world: &EngineFixture, engine: &Engine) -> Vec<Timestamp> {
    let journal = world.journal(engine, only_run(engine).await).await;
    let lease = |fact: &Fact| match fact {
        Fact::StepStarted { lease_until, .. } => Some(*lease_until),
        _ => None,
    };
    journal.iter().filter_map(|entry| lease(&entry.fact)).collect()
}

#[tokio::test]
async fn a_function_with_separate_workers_has_their_timeout() {
    for (function, fits) in [("long", true), ("short", false)] {
        let script = ScriptedFunction::new(function).body_with("a", &[], with_timeout(600), |_| async { Ok(()) });
        let mut world = EngineFixture::new(vec![script.function()]).config(own_workers);
        let engine = world.engine();
        world.send_event(&engine).await;
        let now = world.clock.now();
        world.settle(&engine).await;
        let summary = engine.query().run(only_run(&engine).await).await.unwrap().summary;
        if fits {
            assert_eq!(summary.status, Status::Completed);
            assert_eq!(lease_ends(&world, &engine).await, [now + seconds(900) + engine.config().lease_margin]);
        } else {
            assert_eq!(summary.error.unwrap().code(), Some("timeout-too-long"));
        }
        assert_eq!(engine.config().visibility(), seconds(930), "a received wake may be of either");
    }
}

#[tokio::test]
async fn a_step_timeout_longer_than_that_of_the_functions_workers_is_refused() {
    let made = |function: &str| {
        let script = ScriptedFunction::new(function).spec(|spec| spec.timeout = seconds(600));
        let world = EngineFixture::new(vec![script.function()]).config(own_workers);
        let entropy = std::sync::Arc::new(SeededEntropy::new(1));
        Engine::with_ports(world.memory, world.clock, entropy, world.functions, world.config)
    };
    assert!(made("long").is_ok());
    let Err(EngineError::Invalid(why)) = made("short") else { panic!("600 s in a worker of 120 s") };
    assert!(why.contains("`short`") && why.contains("at most 115s"), "{why}");
}

/// Receives the only visible wake.
async fn receive_visible(world: &EngineFixture) -> Delivery {
    assert_eq!(world.memory.next_due(), Some(world.clock.now()), "nothing is visible");
    let mut deliveries = world.memory.receive(9, seconds(150)).await.unwrap();
    assert_eq!(deliveries.len(), 1);
    deliveries.remove(0)
}

#[tokio::test]
async fn an_invocation_without_enough_time_hands_its_step_to_a_fresh_one_once() {
    let script =
        ScriptedFunction::new("f").body_with("a", &[], with_timeout(60), |_| async { Ok(()) }).step("b", &["a"]);
    let executed = script.executed();
    let mut world = EngineFixture::new(vec![script.function()]);
    let engine = world.engine();
    world.send_event(&engine).await;
    let spent = world.clock.now() + seconds(61);
    engine.hop_until(receive_visible(&world).await, spent).await.unwrap();
    assert_eq!((executed.count_of("a"), world.memory.wakes()), (0, 1), "`a` did not start, and its wake was sent");
    let fresh = receive_visible(&world).await;
    assert_eq!((&fresh.wake.cause, fresh.receives), (&WakeCause::Fresh(None), 1));
    engine.hop_until(fresh, spent).await.unwrap();
    assert_eq!((executed.count_of("a"), executed.count_of("b")), (1, 0), "the fresh invocation starts the step");
    assert_eq!(
        lease_ends(&world, &engine).await,
        [spent + engine.config().lease_margin],
        "the lease is the invocation's"
    );
    assert_eq!(receive_visible(&world).await.wake.cause, WakeCause::Next);
}

#[tokio::test]
async fn an_invocation_starts_a_step_that_just_fits_into_its_time() {
    let script = ScriptedFunction::new("f").body_with("a", &[], with_timeout(60), |_| async { Ok(()) });
    let executed = script.executed();
    let mut world = EngineFixture::new(vec![script.function()]);
    let engine = world.engine();
    world.send_event(&engine).await;
    engine.hop_until(receive_visible(&world).await, world.clock.now() + seconds(62)).await.unwrap();
    assert_eq!((executed.count_of("a"), world.memory.wakes()), (1, 0));
}

#[tokio::test]
async fn a_step_with_its_own_wake_is_handed_over_by_name_and_once() {
    let script = ScriptedFunction::new("f").step("a", &[]).step("b", &[]);
    let executed = script.executed();
    let mut world = EngineFixture::new(vec![script.function()]).config(|config| config.side_by_side = 1);
    let engine = world.engine();
    world.send_event(&engine).await;
    world.hop_once(&engine).await;
    let spent = world.clock.now() + seconds(9);
    for cause in [WakeCause::Step as fn(_) -> _, |step| WakeCause::Fresh(Some(step))] {
        assert_eq!((executed.count_of("a"), executed.count_of("b")), (0, 0));
        let deliveries = world.memory.receive(9, seconds(150)).await.unwrap();
        let causes: Vec<_> = deliveries.iter().map(|delivery| delivery.wake.cause.clone()).collect();
        assert_eq!(causes, [cause("a".into()), cause("b".into())]);
        for delivery in deliveries {
            engine.hop_until(delivery, spent).await.unwrap();
        }
    }
    assert_eq!((executed.count_of("a"), executed.count_of("b")), (1, 1));
    world.settle_within(&engine, Duration::ZERO).await;
    assert_eq!(engine.query().run(only_run(&engine).await).await.unwrap().summary.status, Status::Completed);
}

#[tokio::test]
async fn a_step_whose_lease_ends_before_its_body_starts_goes_to_a_fresh_invocation() {
    let script = ScriptedFunction::new("f").step("a", &[]);
    let executed = script.executed();
    let mut world = EngineFixture::new(vec![script.function()]);
    let slow = support::slow::SlowBackend::new(world.memory.clone(), world.clock.clone(), |fact| {
        matches!(fact, Fact::StepStarted { attempt: 1, .. }).then_some(seconds(600))
    });
    let engine = world.engine_on(slow);
    world.send_event(&engine).await;
    engine.hop_until(receive_visible(&world).await, world.clock.now() + seconds(100)).await.unwrap();
    assert_eq!(executed.count_of("a"), 0);
    assert_eq!(receive_visible(&world).await.wake.cause, WakeCause::Fresh(None));
}

#[tokio::test]
async fn a_stuck_body_is_failed_before_its_invocation_ends() {
    let (script, begun, _open) = with_gated_step(ScriptedFunction::new("f"), "a", &[]);
    let mut world = EngineFixture::new(vec![script.function()]);
    let engine = world.engine();
    world.send_event(&engine).await;
    let (delivery, hopping) = (receive_visible(&world).await, engine.clone());
    let deadline = world.clock.now() + seconds(62);
    let hop = tokio::spawn(async move { hopping.hop_until(delivery, deadline).await });
    begun.notified().await;
    // the body's own timer is due, but cannot fire because the body blocks its thread
    world.clock.set(deadline - Duration::from_millis(900));
    // `engine` cannot write here; the supervisor writes with a connection of its own
    let supervisor = engine.supervisor(world.memory.clone());
    assert_eq!(supervisor.expel_overdue().await.unwrap().len(), 1);
    assert_eq!(engine.expel_overdue().await.unwrap().len(), 0, "once");
    hop.abort();
}
