//! Events with a `ts` in the future. Their runs start at that time.

mod support;

use std::sync::Arc;
use std::time::Duration;

use stepladder_core::spec::Concurrency;
use stepladder_core::{EventId, NewEvent, Status, Timestamp, json};
use stepladder_engine::Engine;
use stepladder_engine::clock::Clock;
use support::EngineFixture;
use support::script::ScriptedFunction;

const DAY: Duration = Duration::from_secs(86_400);

async fn send(engine: &Engine, ts: Timestamp) -> EventId {
    let event = NewEvent::new("go", json::empty_object()).with_ts(ts);
    engine.intake().ingest(vec![event], None).await.unwrap()[0]
}

fn fixture_with_limit(limit: Option<u32>) -> (EngineFixture, Arc<Engine>) {
    let script = ScriptedFunction::new("f").step("a", &[]).spec(|spec| {
        spec.concurrency.extend(limit.map(Concurrency::steps));
    });
    let mut world = EngineFixture::new(vec![script.function()]);
    let engine = world.engine();
    (world, engine)
}

#[tokio::test]
async fn a_run_starts_at_the_time_of_its_event_and_not_before() {
    let (world, engine) = fixture_with_limit(None);
    let at = world.clock.now() + 3 * DAY;
    let event = send(&engine, at).await;
    world.settle_within(&engine, 3 * DAY - Duration::from_secs(1)).await;
    let run = world.runs(&engine, event).await.remove(0);
    assert_eq!(run.summary.status, Status::Scheduled);
    assert_eq!(run.waiting, Some(format!("starts at {at}, the `ts` of its event")));
    world.settle(&engine).await;
    let run = world.runs(&engine, event).await.remove(0);
    assert_eq!(run.summary.status, Status::Completed);
    assert_eq!(run.summary.ended_at, Some(at));
}

#[tokio::test]
async fn a_fast_clock_of_a_sender_delays_nothing() {
    let (world, engine) = fixture_with_limit(None);
    let event = send(&engine, world.clock.now() + Duration::from_secs(60)).await;
    world.settle_within(&engine, Duration::from_secs(1)).await;
    assert_eq!(world.status(&engine, event).await, Status::Completed);
}

#[tokio::test]
async fn a_delayed_run_is_enqueued_only_at_its_start_time() {
    let (world, engine) = fixture_with_limit(Some(1));
    let later = send(&engine, world.clock.now() + DAY).await;
    let now = send(&engine, world.clock.now()).await;
    world.settle_within(&engine, Duration::from_secs(5)).await;
    assert_eq!(world.status(&engine, now).await, Status::Completed);
    assert_eq!(world.status(&engine, later).await, Status::Scheduled);
    world.settle(&engine).await;
    assert_eq!(world.status(&engine, later).await, Status::Completed);
}

#[tokio::test]
async fn a_run_that_has_not_started_can_be_cancelled() {
    let (world, engine) = fixture_with_limit(None);
    let event = send(&engine, world.clock.now() + DAY).await;
    let run = world.runs(&engine, event).await.remove(0).summary.run;
    engine.control().cancel(run, "not needed").await.unwrap();
    world.settle_within(&engine, Duration::from_secs(5)).await;
    assert_eq!(world.status(&engine, event).await, Status::Cancelled);
}

#[tokio::test]
async fn the_watchdog_replaces_the_lost_wake_of_a_delayed_run() {
    let (world, engine) = fixture_with_limit(None);
    let event = send(&engine, world.clock.now() + Duration::from_secs(600)).await;
    world.hop_once(&engine).await;
    world.memory.lose_wakes();
    for _minute in 0..100 {
        world.clock.advance(Duration::from_secs(60));
        engine.sweep().await.unwrap();
    }
    world.settle_within(&engine, Duration::from_secs(60)).await;
    assert_eq!(world.status(&engine, event).await, Status::Completed);
}
