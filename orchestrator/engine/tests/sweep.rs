//! The sweep (rule 26): timers are found however late the sweep or their writer is, and sent no more often than they must.

mod support;

use std::time::Duration;

use stepladder_core::decide::Ask;
use stepladder_core::wake::Purpose;
use stepladder_core::{Status, Timer, Timestamp};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::Timers;
use support::World;
use support::only_run;
use support::script::Script;

#[tokio::test]
async fn rule_26_a_sweep_that_dies_is_repeated_and_nothing_is_sent_three_times() {
    let script = Script::new("f").ask("nap", &[], Ask::SleepFor(Duration::from_secs(7_200))).step("a", &["nap"]);
    let mut world = World::new(vec![script.program()]);
    let engine = world.engine();
    engine.sweep().await.unwrap();
    world.go(&engine).await;
    world.hop_once(&engine).await;
    let due = world.clock.now() + Duration::from_secs(7_200);
    // an hour of missed minutes: the cursor knows where to go on
    world.clock.set(due - Duration::from_secs(30));
    // the sweep dies after sending, before it moves the cursor on
    let torn = support::slow::no_cursor(world.memory.clone());
    let dying = world.engine_on(torn);
    let before = world.memory.counts().sends;
    assert!(dying.sweep().await.is_err());
    engine.sweep().await.unwrap();
    engine.sweep().await.unwrap();
    let minute = due.minute();
    world.clock.set(Timestamp::of_minute(minute + 1));
    engine.sweep().await.unwrap();
    // the watchdog's look at the run does not wake it: its own timer is still to come
    assert_eq!(world.memory.counts().sends - before, 2, "once by the sweep that died, once by the next");
    world.settle_within(&engine, Duration::from_secs(60)).await;
    assert_eq!(engine.run(only_run(&engine).await).await.unwrap().summary.status, Status::Completed);
}

#[tokio::test]
async fn rule_26_a_timer_whose_writer_was_late_is_found_in_a_minute_that_has_begun() {
    let mut world = World::new(vec![Script::new("f").step("a", &[]).program()]);
    let engine = world.engine();
    world.go(&engine).await;
    engine.sweep().await.unwrap();
    let due = world.clock.now() - Duration::from_secs(50);
    let run = only_run(&engine).await;
    let late = Timer { due, run, group: "f".into(), purpose: Purpose::Step("".into()) };
    world.memory.set(vec![late]).await.unwrap();
    let before = world.memory.counts().sends;
    world.clock.advance(Duration::from_secs(30));
    engine.sweep().await.unwrap();
    assert_eq!(world.memory.counts().sends, before + 1);
    engine.sweep().await.unwrap();
    assert_eq!(world.memory.counts().sends, before + 1, "sent again although it was marked");
}
