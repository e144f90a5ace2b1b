//! Flow control of start times: throttle, rate limit, idempotency.

use std::time::Duration;

use stepladder_sdk::prelude::*;
use stepladder_sdk::testing::{Status, TestApp};

use crate::{MINUTE, SECOND, all_runs, delays_of_starts, job_event, runs_of, send_all, working_handler};

#[tokio::test]
async fn a_throttle_starts_runs_evenly_and_loses_none() {
    let function = Function::new("f", working_handler).throttle(Rate::new(2, SECOND));
    let mut app = TestApp::new().function(function);
    let sent = app.now();
    send_all(&mut app, (0..10).map(|n| job_event("acme", n))).await;
    app.finish().await;
    let runs = all_runs(&mut app).await;
    let began: Vec<u128> = runs.iter().map(|run| delays_of_starts(run, sent).as_millis()).collect();
    assert_eq!(began, (0..10).map(|n| n * 500).collect::<Vec<_>>());
    assert!(runs.iter().all(|run| run.status() == Status::Completed));
}

#[tokio::test]
async fn a_throttle_counts_each_key_separately_and_allows_a_burst() {
    let rate = Rate::new(1, MINUTE).burst(3).key("event.data.client");
    let mut app = TestApp::new().function(Function::new("f", working_handler).throttle(rate));
    let sent = app.now();
    send_all(&mut app, (0..4).flat_map(|n| [job_event("a", n), job_event("b", n)])).await;
    app.finish().await;
    let began: Vec<u64> = all_runs(&mut app).await.iter().map(|run| delays_of_starts(run, sent).as_secs()).collect();
    assert_eq!(began, [0, 0, 0, 0, 0, 0, 60, 60]);
}

#[tokio::test]
async fn a_throttle_holds_over_requests_and_for_called_functions() {
    async fn calling_handler(ctx: Context, event: Event<crate::JobEvent>) -> Result<u32> {
        ctx.invoke("call", "f", &event.data).await
    }
    #[derive(Deserialize)]
    struct UnfittingEvent {
        n: u32,
    }
    impl EventData for UnfittingEvent {
        const NAME: &'static str = "never/sent";
        const NAMES: &'static [&'static str] = &[];
    }
    async fn called_handler(ctx: Context, event: Event<UnfittingEvent>) -> Result<u32> {
        ctx.step("work", async || Ok(event.data.n)).await
    }
    let mut app = TestApp::new()
        .function(Function::new("calls", calling_handler))
        .function(Function::new("f", called_handler).throttle(Rate::new(1, MINUTE)));
    let sent = app.now();
    for n in 0..3 {
        app.start(&job_event("acme", n)).await;
    }
    app.finish().await;
    let called = runs_of(&mut app, "f").await;
    let mut began: Vec<u64> = called.iter().map(|run| delays_of_starts(run, sent).as_secs()).collect();
    began.sort_unstable();
    assert_eq!(began, [0, 60, 120]);
    assert!(runs_of(&mut app, "calls").await.iter().all(|run| run.status() == Status::Completed));
}

#[tokio::test]
async fn a_rate_limit_skips_surplus_runs_with_a_reason() {
    let function = Function::new("f", working_handler).rate_limit(Rate::new(3, MINUTE));
    let mut app = TestApp::new().function(function);
    send_all(&mut app, (0..5).map(|n| job_event("acme", n))).await;
    app.finish().await;
    let runs = all_runs(&mut app).await;
    let statuses: Vec<Status> = runs.iter().map(|run| run.status()).collect();
    use Status::{Completed, Skipped};
    assert_eq!(statuses, [Completed, Completed, Completed, Skipped, Skipped]);
    assert!(runs[4].error().unwrap().message.contains("rate limit (3 in 60s)"), "{:?}", runs[4].error());
    // with a rate of 3 per minute, one more run may start every 20 seconds
    app.advance(20 * SECOND).await;
    for n in 5..7 {
        app.send(&job_event("acme", n)).await;
    }
    let later: Vec<Status> = all_runs(&mut app).await[5..].iter().map(|run| run.status()).collect();
    assert_eq!(later, [Completed, Skipped]);
}

#[tokio::test]
async fn events_of_one_idempotency_key_lead_to_the_first_ones_run_for_a_day() {
    let function = Function::new("f", working_handler).idempotency("event.data.client");
    let mut app = TestApp::new().function(function);
    send_all(&mut app, [job_event("a", 1), job_event("b", 2), job_event("a", 3)]).await;
    app.finish().await;
    let again = app.send(&job_event("a", 4)).await;
    let first = all_runs(&mut app).await;
    assert_eq!(crate::outputs(&first), [1, 2]);
    assert_eq!(again[0].id(), first[0].id(), "the event lists the run that it led to");
    app.advance(Duration::from_secs(24 * 3_600)).await;
    assert_eq!(app.send(&job_event("a", 5)).await[0].output::<u32>(), 5);
}

#[tokio::test]
async fn an_event_without_the_key_is_skipped_with_the_reason() {
    for function in [
        Function::new("f", working_handler).throttle(Rate::new(1, SECOND).key("event.data.missing")),
        Function::new("f", working_handler).idempotency("event.data.missing"),
        Function::new("f", working_handler).singleton(Singleton::skip().key("event.data.missing")),
        Function::new("f", working_handler).debounce(Debounce::new(SECOND).key("event.data.missing")),
    ] {
        let mut app = TestApp::new().function(function);
        let run = app.send(&job_event("acme", 1)).await.remove(0);
        assert_eq!(run.status(), Status::Skipped);
        assert!(run.error().unwrap().message.contains("event.data.missing"), "{:?}", run.error());
    }
}
