//! The log lines that report what runs do, for people and for metrics.

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use stepladder_core::decide::StepOptions;
use stepladder_core::journal::Fact;
use stepladder_core::retry::Backoff;
use stepladder_core::slot::{Holder, Limit};
use stepladder_core::spec::Concurrency;
use stepladder_core::{RunId, Timestamp, Wake, WakeCause};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::{Commit, Commits, SlotOperations};
use stepladder_testkit::clock::VirtualClock;
use support::EngineFixture;
use support::logged::LogCollector;
use support::script::{ScriptedFunction, retryable_failure};

/// A function with one step, which takes 70 ms and fails once. The retry is 30 s later.
fn slow_step(clock: Arc<Mutex<Option<Arc<VirtualClock>>>>) -> ScriptedFunction {
    let options = StepOptions { backoff: Some(Backoff::Fixed(Duration::from_secs(30))), ..StepOptions::default() };
    let script = ScriptedFunction::new("f").spec(|spec| spec.concurrency.push(Concurrency::steps(1)));
    script.body_with("a", &[], options, move |n| {
        let clock = clock.lock().unwrap().clone().unwrap();
        async move {
            clock.advance(Duration::from_millis(70));
            if n == 1 { Err(retryable_failure("once")) } else { Ok(()) }
        }
    })
}

#[tokio::test]
async fn the_activity_of_a_run_is_logged_with_times() {
    let logged = LogCollector::for_target("stepladder::run");
    let _guard = tracing::subscriber::set_default(logged.clone());
    let clock = Arc::default();
    let mut world = EngineFixture::new(vec![slow_step(Arc::clone(&clock)).function()]);
    *clock.lock().unwrap() = Some(world.clock.clone());
    let slow = support::slow::SlowBackend::new(world.memory.clone(), world.clock.clone(), |fact| {
        matches!(fact, Fact::StepStarted { attempt: 1, .. }).then_some(Duration::from_secs(300))
    });
    let engine = world.engine_on(slow);
    let begun = world.clock.now();
    // another holder keeps the only slot for ten seconds
    let other = Holder::Attempt { run: RunId::new(begun, 1), step: "a".into(), attempt: 1, hop: 0 };
    let limit = Limit { key: "f/0".into(), slots: 1 };
    world
        .memory
        .try_acquire(std::slice::from_ref(&limit), &other, begun + Duration::from_secs(10), begun)
        .await
        .unwrap();
    world.send_event(&engine).await;
    world.settle(&engine).await;
    let took = world.clock.now().since(begun).as_millis();
    let retry_at = Timestamp::from_millis(world.clock.now().as_millis() - 70);
    assert_eq!(
        logged.lines(),
        [
            "step waits for a slot function=f step=a attempt=1 key=f/0".to_owned(),
            "run started function=f".into(),
            "step interrupted function=f step=a attempt=1".into(),
            "step started function=f step=a attempt=2".into(),
            format!("step failed function=f step=a attempt=2 ms=70 error=\"once\" retry_at={retry_at}"),
            "step started function=f step=a attempt=3".into(),
            "step succeeded function=f step=a attempt=3 ms=70".into(),
            format!("run ended function=f status=Completed ms={took}"),
        ]
    );
}

/// A step that waits for a slot is logged once, even if other wakes of its run come in the
/// meantime.
#[tokio::test]
async fn a_waiting_step_is_logged_once_although_it_tries_often() {
    let logged = LogCollector::for_target("stepladder::run");
    let _guard = tracing::subscriber::set_default(logged.clone());
    let script = ScriptedFunction::new("f").spec(|spec| spec.concurrency.push(Concurrency::steps(1))).step("a", &[]);
    let mut world = EngineFixture::new(vec![script.function()]);
    let engine = world.engine();
    let begun = world.clock.now();
    let other = Holder::Attempt { run: RunId::new(begun, 1), step: "a".into(), attempt: 1, hop: 0 };
    let limit = Limit { key: "f/0".into(), slots: 1 };
    world
        .memory
        .try_acquire(std::slice::from_ref(&limit), &other, begun + Duration::from_secs(60), begun)
        .await
        .unwrap();
    world.send_event(&engine).await;
    support::hop_all(&world.memory, &engine).await;
    let run = support::only_run(&engine).await;
    for cause in [WakeCause::Next, WakeCause::Again, WakeCause::Slot, WakeCause::Watchdog] {
        let wakes = vec![Wake { run, cause, group: "f".into() }];
        world.memory.commit(Commit { wakes, ..Commit::default() }).await.unwrap();
        support::hop_all(&world.memory, &engine).await;
        assert_eq!(logged.lines(), ["step waits for a slot function=f step=a attempt=1 key=f/0"]);
    }
    world.settle(&engine).await;
    let counts = ["step waits", "run started", "run ended"].map(|line| logged.count(line));
    assert_eq!(counts, [1, 1, 1], "{:?}", logged.lines());
}
