//! Cron schedules: the sweep sends their ticks.

mod support;

use std::sync::Arc;
use std::time::Duration;

use stepladder_core::cron::CronExpression;
use stepladder_core::journal::RunOrigin;
use stepladder_core::{RunId, Status, Timestamp};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::{Journals, Timers};
use stepladder_engine::{Engine, RunFilter};
use support::EngineFixture;
use support::script::ScriptedFunction;

const MINUTE: Duration = Duration::from_secs(60);

/// Returns a function with these cron schedules and one step.
fn script_with_cron(lines: &[&str]) -> ScriptedFunction {
    let lines = lines.iter().map(|line| CronExpression::parse(line, "UTC").unwrap()).collect();
    ScriptedFunction::new("f").step("a", &[]).spec(|spec| {
        spec.triggers.clear();
        spec.schedule.lines = lines;
    })
}

/// Sweeps every minute and executes all due hops, for this long.
async fn run_for(world: &EngineFixture, engine: &Arc<Engine>, time: Duration) {
    let end = world.clock.now() + time;
    let mut swept = world.clock.now();
    engine.sweep().await.unwrap();
    loop {
        let next = world.memory.next_due().unwrap_or(Timestamp::MAX).min(swept + MINUTE).max(world.clock.now());
        if next > end {
            return world.clock.set(end);
        }
        world.clock.set(next);
        if next >= swept + MINUTE {
            swept = next;
            engine.sweep().await.unwrap();
        }
        world.hop_once(engine).await;
    }
}

/// Returns the times at which runs were created, oldest first, in seconds after the full hour.
async fn creation_minutes(engine: &Engine) -> Vec<i64> {
    let filter = RunFilter { limit: Some(500), ..RunFilter::default() };
    let page = engine.query().runs(filter).await.unwrap();
    let mut created: Vec<i64> =
        page.runs.iter().map(|run| run.created_at.as_millis().rem_euclid(3_600_000) / 1_000).collect();
    created.reverse();
    created
}

// the world's clock starts at 22:13:20
#[tokio::test]
async fn rule_26_each_tick_starts_one_run_at_its_time_although_it_is_sent_often() {
    let mut world = EngineFixture::new(vec![script_with_cron(&["*/10 * * * *", "20 22 * * *"]).function()]);
    let engine = world.engine();
    run_for(&world, &engine, Duration::from_secs(30 * 60)).await;
    assert_eq!(creation_minutes(&engine).await, [20 * 60, 30 * 60, 40 * 60]);
    let runs = engine.query().runs(RunFilter::default()).await.unwrap().runs;
    assert!(runs.iter().all(|run| run.status == Status::Completed));
    let run = engine.query().run(runs[0].run).await.unwrap();
    assert_eq!(run.origin, RunOrigin::Cron);
    assert_eq!(run.event.ts.as_millis() % 600_000, 0);
    // the ticks are sent once more, by a sweep without a cursor
    let cursor = world.memory.cursor().await.unwrap();
    let forgotten = stepladder_engine::ports::Cursor { minute: cursor.as_ref().unwrap().minute - 30, sent: Vec::new() };
    assert!(world.memory.advance(cursor, forgotten).await.unwrap());
    run_for(&world, &engine, MINUTE).await;
    assert_eq!(creation_minutes(&engine).await.len(), 3);
}

#[tokio::test]
async fn only_the_latest_of_several_late_ticks_starts_a_run() {
    let mut world = EngineFixture::new(vec![script_with_cron(&["* * * * *"]).function()]);
    let engine = world.engine();
    engine.sweep().await.unwrap();
    world.memory.lose_wakes();
    world.clock.advance(Duration::from_secs(7 * 86_400));
    run_for(&world, &engine, MINUTE).await;
    // the runs of the current tick, of the next one, and possibly of the previous one, if that tick
    // is not missed yet
    let runs = creation_minutes(&engine).await.len();
    assert!((2..=3).contains(&runs), "{runs} runs");
    let once = script_with_cron(&["0 4 1 * *"]).function();
    let mut world = EngineFixture::new(vec![once]);
    let engine = world.engine();
    engine.sweep().await.unwrap();
    // the clock has passed the first of the month
    world.clock.advance(Duration::from_secs(25 * 86_400));
    run_for(&world, &engine, MINUTE).await;
    assert_eq!(creation_minutes(&engine).await.len(), 1);
}

#[tokio::test]
async fn a_tick_waits_for_a_worker_that_knows_its_function() {
    let mut world = EngineFixture::new(vec![script_with_cron(&["15 * * * *"]).function()]);
    let engine = world.engine();
    let mut old = EngineFixture::new(vec![ScriptedFunction::new("other").step("a", &[]).function()]);
    (old.memory, old.clock) = (world.memory.clone(), world.clock.clone());
    let old = old.engine();
    engine.sweep().await.unwrap();
    world.clock.advance(2 * MINUTE);
    world.hop_once(&old).await;
    assert!(creation_minutes(&engine).await.is_empty());
    world.clock.set(world.memory.next_due().unwrap());
    run_for(&world, &engine, MINUTE).await;
    assert_eq!(creation_minutes(&engine).await.len(), 1);
}

#[tokio::test]
async fn a_tick_with_the_run_id_of_another_tick_starts_nothing() {
    use stepladder_core::{Wake, WakeCause};
    use stepladder_engine::ports::{Commit, Commits};
    let mut world = EngineFixture::new(vec![script_with_cron(&["0 0 1 1 *"]).function()]);
    let engine = world.engine();
    let run = RunId::new(world.clock.now(), 7);
    let wake = Wake { run, cause: WakeCause::Tick(world.clock.now().minute()), group: "f".into() };
    world.memory.commit(Commit { wakes: vec![wake], ..Commit::default() }).await.unwrap();
    world.hop_once(&engine).await;
    assert!(world.memory.read(run, 0).await.unwrap().is_empty());
    assert_eq!(world.memory.wakes(), 0);
}

#[tokio::test]
async fn rule_13_a_tick_whose_run_cannot_be_created_is_sent_again() {
    let mut world = EngineFixture::new(vec![script_with_cron(&["*/10 * * * *"]).function()]);
    let unlucky = world.engine_on(support::around::with_lost_request(&world.memory, "create_runs"));
    run_for(&world, &unlucky, Duration::from_secs(8 * 60)).await;
    // the run is created ten seconds late, by the repetition of the failed call
    assert_eq!(creation_minutes(&unlucky).await, [20 * 60 + 10]);
}
