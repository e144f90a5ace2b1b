//! The sweep (rules 26 and 27). Timers are found even if the sweep or their writer is late, and are
//! not sent more often than necessary. The retention of live runs is extended.

mod support;

use std::time::Duration;

use stepladder_core::cron::CronExpression;
use stepladder_core::decide::Operation;
use stepladder_core::missed::MissedTicks;
use stepladder_core::wake::TimerPurpose;
use stepladder_core::{RunOrStep, Status, Timer, Timestamp};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::{StoreError, Timers};
use support::EngineFixture;
use support::logged::LogCollector;
use support::only_run;
use support::script::ScriptedFunction;

#[tokio::test]
async fn rule_26_a_sweep_that_dies_is_repeated_and_no_timer_is_sent_three_times() {
    let script = ScriptedFunction::new("f")
        .request("nap", &[], Operation::SleepFor(Duration::from_secs(7_200)))
        .step("a", &["nap"]);
    let mut world = EngineFixture::new(vec![script.function()]);
    let engine = world.engine();
    engine.sweep().await.unwrap();
    world.send_event(&engine).await;
    world.hop_once(&engine).await;
    let due = world.clock.now() + Duration::from_secs(7_200);
    // no sweep ran for two hours; the cursor says from which minute to continue
    world.clock.set(due - Duration::from_secs(30));
    // the sweep dies after it sent the timer and before it advances the cursor
    let torn = support::slow::without_cursor(world.memory.clone());
    let dying = world.engine_on(torn);
    let before = world.memory.counts().sends;
    assert!(dying.sweep().await.is_err());
    engine.sweep().await.unwrap();
    engine.sweep().await.unwrap();
    let minute = due.minute();
    world.clock.set(Timestamp::of_minute(minute + 1));
    engine.sweep().await.unwrap();
    // the watchdog does not wake the run, because the run's own timer is still to come
    assert_eq!(world.memory.counts().sends - before, 2, "once by the sweep that died, once by the next");
    world.settle_within(&engine, Duration::from_secs(60)).await;
    assert_eq!(engine.query().run(only_run(&engine).await).await.unwrap().summary.status, Status::Completed);
}

#[tokio::test]
async fn rule_26_a_late_timer_is_found_in_a_minute_that_has_begun() {
    let mut world = EngineFixture::new(vec![ScriptedFunction::new("f").step("a", &[]).function()]);
    let engine = world.engine();
    world.send_event(&engine).await;
    engine.sweep().await.unwrap();
    let due = world.clock.now() - Duration::from_secs(50);
    let run = only_run(&engine).await;
    let late = Timer { due, run, group: "f".into(), purpose: TimerPurpose::Due(RunOrStep::Run) };
    world.memory.set(vec![late]).await.unwrap();
    let before = world.memory.counts().sends;
    world.clock.advance(Duration::from_secs(30));
    engine.sweep().await.unwrap();
    assert_eq!(world.memory.counts().sends, before + 1);
    engine.sweep().await.unwrap();
    assert_eq!(world.memory.counts().sends, before + 1, "sent again although it was marked");
}

#[tokio::test]
async fn rule_26_the_next_sweep_continues_after_the_last_minute_that_a_dead_one_sent() {
    let mut world = EngineFixture::new(vec![ScriptedFunction::new("f").step("a", &[]).function()]);
    let engine = world.engine();
    world.send_event(&engine).await;
    engine.sweep().await.unwrap();
    let run = only_run(&engine).await;
    let at =
        |secs, purpose| Timer { due: world.clock.now() + Duration::from_secs(secs), run, group: "f".into(), purpose };
    let wakes = (0..250).map(|n| at(600, TimerPurpose::Due(RunOrStep::Step(format!("s{n}").into()))));
    world.memory.set(wakes.chain([at(720, TimerPurpose::Watchdog)]).collect()).await.unwrap();
    world.clock.advance(Duration::from_secs(700));
    let unlucky = world.engine_on(support::slow::refuse_reads(world.memory.clone()));
    let before = world.memory.counts().sends;
    assert!(unlucky.sweep().await.is_err(), "it cannot visit the run");
    assert_eq!(world.memory.counts().sends - before, 250);
    let swept = engine.sweep().await.unwrap();
    assert_eq!((swept.timers, swept.watched), (0, 1), "the first minute was sent again");
}

#[tokio::test]
async fn rule_27_each_visit_extends_the_retention_of_a_live_run() {
    let sleeper = ScriptedFunction::new("f").request("nap", &[], Operation::SleepFor(Duration::from_secs(20 * 86_400)));
    let ended = ScriptedFunction::new("g").step("a", &[]);
    let mut world = EngineFixture::new(vec![sleeper.function(), ended.function()]);
    let store = support::slow::SlowBackend::new(world.memory.clone(), world.clock.clone(), |_| None);
    let engine = world.engine_on(store.clone());
    let event = world.send_event(&engine).await;
    for _ in 0..2 {
        world.hop_once(&engine).await;
    }
    let runs = world.runs(&engine, event).await;
    let live: Vec<_> = runs.iter().filter(|run| !run.summary.status.is_end()).map(|run| run.summary.run).collect();
    assert_eq!((runs.len(), live.len()), (2, 1));
    for visits in 1..=9 {
        // the watchdog visits the run after one hour, and then daily
        world.clock.advance(Duration::from_secs(if visits == 1 { 3_700 } else { 86_400 }));
        engine.sweep().await.unwrap();
        assert_eq!(store.renewed_runs(), live.repeat(visits));
    }
}

/// The sweeps of the first hours fail, so there is no cursor.
#[tokio::test]
async fn rule_26_timers_from_before_the_first_sweep_that_works_are_sent() {
    let script = ScriptedFunction::new("f")
        .request("nap", &[], Operation::SleepFor(Duration::from_secs(7_200)))
        .step("a", &["nap"]);
    let mut world = EngineFixture::new(vec![script.function()]);
    let engine = world.engine();
    world.send_event(&engine).await;
    world.hop_once(&engine).await;
    world.clock.advance(Duration::from_secs(3 * 3_600));
    let swept = engine.sweep().await.unwrap();
    assert_eq!((swept.timers, swept.watched), (1, 1), "the sleep's end, and the watchdog an hour after the start");
    world.settle_within(&engine, Duration::from_secs(60)).await;
    assert_eq!(engine.query().run(only_run(&engine).await).await.unwrap().summary.status, Status::Completed);
}

#[tokio::test]
async fn rule_26_ticks_count_as_missed_from_the_oldest_timer_on() {
    // the world's clock starts at 22:13:20
    let cron = ScriptedFunction::new("f").step("a", &[]).spec(|spec| {
        spec.triggers.clear();
        spec.schedule.lines = vec![CronExpression::parse("5 * * * *", "UTC").unwrap()];
        spec.schedule.missed_ticks = MissedTicks::RunAll;
    });
    let mut world = EngineFixture::new(vec![cron.function(), ScriptedFunction::new("g").step("a", &[]).function()]);
    // this store returns the time of its oldest timer rounded to the hour
    let store = support::slow::without_timers_beyond(world.memory.clone());
    let engine = world.engine_on(store);
    world.send_event(&engine).await;
    assert_eq!(engine.sweep().await.unwrap().ticks, 0, "the tick of 22:05 is from before the first deploy");

    // on another store, the first sweep is at 00:43, and the oldest timer is the watchdog of 23:13
    let mut world = EngineFixture::new(world.functions);
    let engine = world.engine_on(support::slow::without_timers_beyond(world.memory.clone()));
    world.send_event(&engine).await;
    world.clock.advance(Duration::from_secs(150 * 60));
    let swept = engine.sweep().await.unwrap();
    assert_eq!((swept.ticks, swept.watched), (1, 1), "that of 00:05, and none of 22:05 and 23:05");
}

/// If a sweep cannot store its first cursor, the next sweep begins at the same minute.
#[tokio::test]
async fn rule_26_the_first_cursor_is_stored_before_anything_is_sent() {
    let mut world = EngineFixture::new(vec![ScriptedFunction::new("f").step("a", &[]).function()]);
    let engine = world.engine();
    world.send_event(&engine).await;
    world.clock.advance(Duration::from_secs(3 * 3_600));
    let unlucky = world.engine_on(support::slow::refuse_reads(world.memory.clone()));
    assert!(unlucky.sweep().await.is_err(), "it cannot visit the run");
    let cursor = world.memory.cursor().await.unwrap().expect("a cursor");
    assert_eq!(Timestamp::of_minute(cursor.minute), world.clock.now() - Duration::from_secs(2 * 3_600 + 20));
    assert_eq!(engine.sweep().await.unwrap().watched, 1);
}

#[tokio::test]
async fn rule_34_timers_are_sent_once_while_the_cursor_cannot_be_stored() {
    let script = ScriptedFunction::new("f")
        .request("nap", &[], Operation::SleepFor(Duration::from_secs(3_000)))
        .step("a", &["nap"]);
    let mut world = EngineFixture::new(vec![script.function()]);
    let denied = || StoreError::Refused("the worker has lost its rights".into());
    let (store, refuses) =
        support::refusing::refusing(&world.memory, move |call| (call.name == "advance").then(denied));
    let engine = world.engine_on(store);
    world.send_event(&engine).await;
    world.hop_once(&engine).await;
    world.clock.advance(Duration::from_secs(3_000));
    let sends = world.memory.counts().sends;
    for _ in 0..3 {
        assert!(engine.sweep().await.is_err(), "the cursor cannot be stored");
        world.clock.advance(Duration::from_secs(60));
    }
    assert_eq!(world.memory.counts().sends, sends + 1);
    refuses.store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(engine.sweep().await.unwrap().timers, 0, "the cursor is stored, and what was sent is not sent again");
    assert!(world.memory.cursor().await.unwrap().is_some());
}

/// Rule 34: the other timers of the same minute and of later minutes are sent, and the cursor
/// advances.
#[tokio::test]
async fn rule_34_an_unreadable_timer_stops_no_other() {
    let errors = LogCollector::for_target("stepladder::permanent");
    let _guard = tracing::subscriber::set_default(errors.clone());
    let script = ScriptedFunction::new("f")
        .request("nap", &[], Operation::SleepFor(Duration::from_secs(3_600)))
        .step("a", &["nap"]);
    let mut world = EngineFixture::new(vec![script.function()]);
    let engine = world.engine();
    engine.sweep().await.unwrap();
    world.send_event(&engine).await;
    world.hop_once(&engine).await;
    let engine = world.engine_on(support::slow::unreadable_timer(
        world.memory.clone(),
        (world.clock.now() + Duration::from_secs(3_600)).minute(),
    ));
    world.clock.advance(Duration::from_secs(2 * 3_600));
    let swept = engine.sweep().await.unwrap();
    assert_eq!((swept.timers, swept.watched, swept.unreadable), (1, 1, 1));
    assert_eq!(errors.count("permanent error doing=\"read a timer\""), 1, "{:?}", errors.lines());
    assert_eq!(engine.sweep().await.unwrap(), Default::default(), "the cursor has passed it");
    world.settle_within(&engine, Duration::from_secs(60)).await;
    assert_eq!(engine.query().run(only_run(&engine).await).await.unwrap().summary.status, Status::Completed);
}
