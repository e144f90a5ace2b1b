//! A function that is resumed just when a run finds it paused.

mod support;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use stepladder_core::Status;
use stepladder_engine::Engine;

use support::EngineFixture;
use support::script::ScriptedFunction;

#[tokio::test]
async fn rule_21_a_run_enqueued_at_a_paused_function_reads_the_pause_once_more() {
    let mut world = EngineFixture::new(vec![ScriptedFunction::new("f").step("a", &[]).function()]);
    let (known, met): (Arc<OnceLock<Arc<Engine>>>, Arc<AtomicU32>) = Default::default();
    let resumes = {
        let (known, met) = (known.clone(), met.clone());
        move || {
            let (known, met) = (known.clone(), met.clone());
            async move {
                // the wait queue is still empty, so the resumption wakes no run
                assert_eq!(known.get().expect("an engine").functions().resume("f").await.expect("resumed"), 0);
                met.fetch_add(1, Ordering::SeqCst);
            }
        }
    };
    let engine = world.engine_on(support::slow::before_park(world.memory.clone(), resumes));
    assert!(known.set(engine.clone()).is_ok());
    assert!(engine.functions().pause("f").await.expect("paused"));
    let event = world.send_event(&engine).await;
    // 60 seconds are too short for any watchdog
    world.settle_within(&engine, Duration::from_secs(60)).await;
    assert_eq!(met.load(Ordering::SeqCst), 1, "the race happened");
    assert_eq!(world.runs(&engine, event).await[0].summary.status, Status::Completed);
}

#[tokio::test]
async fn another_process_notices_a_pause_within_ten_seconds_and_reads_no_more_often() {
    let mut world = EngineFixture::new(vec![ScriptedFunction::new("f").step("a", &[]).function()]);
    let (one, other) = (world.engine(), world.engine());
    let status = async |world: &EngineFixture| {
        let event = world.send_event(&one).await;
        world.settle_within(&one, Duration::from_secs(1)).await;
        world.runs(&one, event).await[0].summary.status
    };
    assert_eq!(status(&world).await, Status::Completed);
    assert!(other.functions().pause("f").await.expect("paused"));
    world.clock.advance(Duration::from_secs(9));
    assert_eq!(status(&world).await, Status::Completed, "this process has read the pause a moment ago");
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(status(&world).await, Status::Scheduled);
    // when the function is resumed, its runs continue at once in every process
    assert_eq!(other.functions().resume("f").await.expect("resumed"), 1);
    assert_eq!(status(&world).await, Status::Completed);
}
