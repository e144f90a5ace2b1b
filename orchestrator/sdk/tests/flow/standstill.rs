//! Flow control after a standstill (rule 32): overdue starts are spaced as the throttle requires,
//! and missed ticks follow their policy.

use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::{TestEngine, compile};
use stepladder_sdk::testing::{Fact, Status, TestApp, TestRun};
use stepladder_sdk::{Tick, Timestamp, ToEvent};

use crate::{
    MINUTE, SECOND, all_runs, delays_of_starts, job_event, long_working_handler, outputs, send_all, working_handler,
};

const HOUR: Duration = Duration::from_secs(3_600);

/// Returns the start times of the runs in ascending order, in seconds after `after`.
fn start_seconds(runs: &[TestRun], after: Timestamp) -> Vec<u64> {
    let mut started: Vec<u64> = runs.iter().map(|run| delays_of_starts(run, after).as_secs()).collect();
    started.sort_unstable();
    started
}

#[tokio::test]
async fn rule_32_a_throttle_holds_after_a_pause() {
    let mut app = TestApp::new().function(Function::new("f", working_handler).throttle(Rate::new(1, MINUTE)));
    app.engine().functions().pause("f").await.unwrap();
    send_all(&mut app, (0..5).map(|n| job_event("a", n))).await;
    app.advance(HOUR).await;
    let resumed = app.now();
    assert_eq!(app.engine().functions().resume("f").await.unwrap(), 5);
    app.advance(10 * SECOND).await;
    // a new run must wait for its turn as well
    send_all(&mut app, [job_event("a", 5)]).await;
    app.finish().await;
    let runs = all_runs(&mut app).await;
    assert_eq!(start_seconds(&runs, resumed), [0, 60, 120, 180, 240, 300]);
    assert_eq!(outputs(&runs), [0, 1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn rule_32_a_delayed_run_reports_when_it_starts() {
    let mut app = TestApp::new().function(Function::new("f", working_handler).throttle(Rate::new(1, MINUTE)));
    app.engine().functions().pause("f").await.unwrap();
    send_all(&mut app, (0..3).map(|n| job_event("a", n))).await;
    app.advance(HOUR).await;
    app.engine().functions().resume("f").await.unwrap();
    app.advance(SECOND).await;
    let run = all_runs(&mut app).await.remove(2);
    assert_eq!(run.status(), Status::Scheduled);
    let waiting = app.engine().query().run(run.id()).await.unwrap().waiting.unwrap();
    assert_eq!(waiting, "starts at 2024-01-01T01:02:00.000Z, when its throttle or rate limit has room");
}

#[tokio::test]
async fn rule_32_each_key_and_each_burst_holds_after_a_pause() {
    let rate = Rate::new(2, MINUTE).burst(2).key("event.data.client");
    let mut app = TestApp::new().function(Function::new("f", working_handler).throttle(rate));
    app.engine().functions().pause("f").await.unwrap();
    send_all(&mut app, (0..4).flat_map(|n| [job_event("a", n), job_event("b", n)])).await;
    app.advance(HOUR).await;
    let resumed = app.now();
    app.engine().functions().resume("f").await.unwrap();
    app.finish().await;
    assert_eq!(start_seconds(&all_runs(&mut app).await, resumed), [0, 0, 0, 0, 30, 30, 60, 60]);
}

#[tokio::test]
async fn rule_32_a_rate_limit_holds_after_a_pause() {
    let mut app = TestApp::new().function(Function::new("f", working_handler).rate_limit(Rate::new(2, MINUTE)));
    app.engine().functions().pause("f").await.unwrap();
    for n in 0..6 {
        send_all(&mut app, [job_event("a", n)]).await;
        app.advance(MINUTE / 2).await;
    }
    let resumed = app.now();
    app.engine().functions().resume("f").await.unwrap();
    app.finish().await;
    let runs = all_runs(&mut app).await;
    assert_eq!(start_seconds(&runs, resumed), [0, 0, 30, 60, 90, 120]);
}

#[tokio::test]
async fn rule_32_events_for_one_later_moment_are_spaced_from_then_on() {
    let mut app = TestApp::new().function(Function::new("f", working_handler).throttle(Rate::new(1, MINUTE)));
    let later = app.now() + HOUR;
    let events = (0..4).map(|n| job_event("a", n).to_event().unwrap().with_ts(later));
    app.engine().intake().ingest(events.collect(), None).await.unwrap();
    app.finish().await;
    assert_eq!(start_seconds(&all_runs(&mut app).await, later), [0, 60, 120, 180]);
}

#[tokio::test]
async fn a_run_that_waits_for_a_slot_is_not_counted_again() {
    // the next run gets the slot after an hour, although the throttle allows a start every minute
    for limit in [Concurrency::runs(1), Concurrency::limit(1)] {
        let mut app = TestApp::new().function(limited_by(limit));
        send_all(&mut app, (0..4).map(|n| job_event("a", n))).await;
        app.finish().await;
        let runs = all_runs(&mut app).await;
        assert_eq!(outputs(&runs), [0, 1, 2, 3]);
        let delayed = |run: &TestRun| run.journal().iter().any(|entry| matches!(entry.fact, Fact::RunDelayed { .. }));
        assert!(!runs.iter().any(delayed), "flow control let them go once");
    }
}

fn limited_by(limit: Concurrency) -> Function {
    Function::new("f", long_working_handler).throttle(Rate::new(1, MINUTE)).concurrency(limit)
}

#[tokio::test]
async fn rule_32_a_delayed_run_leaves_the_wait_queue() {
    // two functions share a slot; tickets of runs that the throttle delays must not hold up runs of
    // the other function
    let throttled = Function::new("f", working_handler)
        .throttle(Rate::new(1, MINUTE))
        .concurrency(Concurrency::limit(1).shared("api"));
    #[derive(Serialize, Deserialize)]
    struct OtherEvent {}
    impl EventData for OtherEvent {
        const NAME: &'static str = "other/asked";
    }
    async fn other_handler(ctx: Context, _: Event<OtherEvent>) -> Result<()> {
        ctx.step("work", async || Ok(())).await
    }
    let other = Function::new("g", other_handler).concurrency(Concurrency::limit(1).shared("api"));
    let mut app = TestApp::new().function(throttled).function(other);
    app.engine().functions().pause("f").await.unwrap();
    send_all(&mut app, (0..3).map(|n| job_event("a", n))).await;
    app.advance(HOUR).await;
    app.engine().functions().resume("f").await.unwrap();
    app.advance(SECOND).await;
    let run = app.start(&OtherEvent {}).await.remove(0);
    assert_eq!(run.status(), Status::Completed);
    app.finish().await;
}

/// Pauses a function with a tick every ten minutes for three hours. Returns the statuses of the
/// function's runs, and the start times of its runs in minutes after the resumption.
async fn paused_cron(policy: Option<MissedTicks>) -> (Vec<Status>, Vec<i64>) {
    async fn tick_handler(ctx: Context, _: Event<Tick>) -> Result<()> {
        ctx.step("work", async || Ok(())).await
    }
    let cron = Function::new("f", tick_handler).cron("*/10 * * * *");
    let mut app = TestApp::new().function(match policy {
        Some(policy) => cron.missed_ticks(policy),
        None => cron,
    });
    app.engine().functions().pause("f").await.unwrap();
    // from 00:00 to 03:05
    for _ in 0..185 {
        app.advance(MINUTE).await;
    }
    let resumed = app.now().as_millis();
    app.engine().functions().resume("f").await.unwrap();
    for _ in 0..20 {
        app.advance(MINUTE).await;
    }
    let runs = app.runs().await;
    let ran = runs.iter().filter(|run| run.status() == Status::Completed);
    let mut started: Vec<i64> = ran
        .map(|run| run.journal().iter().find(|entry| matches!(entry.fact, Fact::StepStarted { .. })).unwrap().at)
        .map(|at| (at.as_millis() - resumed) / 60_000)
        .collect();
    started.sort_unstable();
    let mut statuses: Vec<Status> = runs.iter().map(TestRun::status).collect();
    statuses.dedup();
    (statuses, started)
}

#[tokio::test]
async fn rule_32_missed_ticks_of_a_paused_function_follow_its_policy() {
    use Status::{Completed, Skipped};
    // the function is resumed at 03:05, so the ticks of 03:10 and 03:20 are not missed
    assert_eq!(paused_cron(Some(MissedTicks::Skip)).await, (vec![Skipped, Completed], vec![5, 15]));
    assert_eq!(paused_cron(Some(MissedTicks::RunOnce)).await, (vec![Skipped, Completed], vec![0, 5, 15]));
    assert_eq!(paused_cron(None).await, paused_cron(Some(MissedTicks::RunOnce)).await);
    let (statuses, started) = paused_cron(Some(MissedTicks::RunAll)).await;
    assert_eq!((statuses, started.len()), (vec![Completed], 21));
    assert_eq!(started[17..], [0, 0, 5, 15]);
}

#[tokio::test]
async fn missed_ticks_are_for_cron_functions_and_said_once() {
    let fault = |function: Function| compile(function, &Default::default()).err().unwrap_or_default();
    let said = fault(Function::new("f", working_handler).missed_ticks(MissedTicks::Skip));
    assert!(said.contains("`f` has missed_ticks and no cron schedule"), "{said}");
    let twice = Function::new("f", working_handler).cron("@daily").missed_ticks(MissedTicks::Skip);
    let said = fault(twice.missed_ticks(MissedTicks::RunAll));
    assert!(said.contains("`f` calls `.missed_ticks` twice"), "{said}");
}

#[tokio::test]
async fn rule_32_a_debounce_waits_for_a_quiet_period_after_a_pause() {
    let mut app = TestApp::new().function(Function::new("f", working_handler).debounce(Debounce::new(MINUTE)));
    app.engine().functions().pause("f").await.unwrap();
    app.start(&job_event("a", 1)).await;
    app.advance(HOUR).await;
    app.start(&job_event("a", 2)).await;
    let last = app.now();
    app.engine().functions().resume("f").await.unwrap();
    app.finish().await;
    let runs = all_runs(&mut app).await;
    assert_eq!((outputs(&runs), delays_of_starts(&runs[0], last)), (vec![2], MINUTE));
}
