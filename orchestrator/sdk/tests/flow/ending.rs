//! What ends a run from outside: events that cancel, and timeouts.

use std::time::Duration;

use stepladder_sdk::ToEvent;
use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::TestEngine;
use stepladder_sdk::testing::{Status, TestApp, TestRun};

use crate::{
    MINUTE, SECOND, all_runs, delays_of_starts, job_event, long_working_handler, outputs, send_all, working_handler,
};

#[derive(Serialize, Deserialize)]
struct StopEvent {
    client: String,
}

impl EventData for StopEvent {
    const NAME: &'static str = "job/stopped";
}

fn stop_event(client: &str) -> StopEvent {
    StopEvent { client: client.into() }
}

fn statuses(runs: &[TestRun]) -> Vec<Status> {
    runs.iter().map(TestRun::status).collect()
}

use Status::{Cancelled, Completed};

#[tokio::test]
async fn an_event_cancels_the_runs_whose_field_it_shares() {
    for cancel in [
        CancelOn::event::<StopEvent>().matching("client"),
        CancelOn::named("job/stopped").filter("async.data.client == event.data.client"),
    ] {
        let mut app = TestApp::new().function(Function::new("f", long_working_handler).cancel_on(cancel));
        send_all(&mut app, [job_event("a", 0), job_event("b", 1), job_event("a", 2)]).await;
        app.advance(SECOND).await;
        app.start(&stop_event("a")).await;
        assert_eq!(statuses(&all_runs(&mut app).await), [Cancelled, Status::Running, Cancelled]);
        let said = all_runs(&mut app).await[0].error().unwrap().message.clone();
        assert!(said.contains("event `job/stopped`"), "{said}");
        app.start(&job_event("a", 3)).await;
        app.finish().await;
        assert_eq!(outputs(&all_runs(&mut app).await), [1, 3], "one that began afterwards lives");
    }
}

#[tokio::test]
async fn an_event_cancels_runs_that_have_not_started_and_only_before_the_timeout() {
    let function = Function::new("f", long_working_handler)
        .concurrency(Concurrency::runs(1))
        .cancel_on(CancelOn::event::<StopEvent>().timeout(90 * MINUTE));
    let mut app = TestApp::new().function(function);
    send_all(&mut app, (0..2).map(|n| job_event("a", n))).await;
    app.advance(MINUTE).await;
    app.start(&stop_event("any")).await;
    assert_eq!(statuses(&all_runs(&mut app).await), [Cancelled, Cancelled]);
    send_all(&mut app, (2..4).map(|n| job_event("a", n))).await;
    app.advance(91 * MINUTE).await;
    app.start(&stop_event("any")).await;
    app.finish().await;
    assert_eq!(outputs(&all_runs(&mut app).await), [2, 3]);
}

#[tokio::test]
async fn an_event_does_not_read_runs_that_have_ended() {
    let mut app = TestApp::new()
        .function(Function::new("f", working_handler).cancel_on(CancelOn::event::<StopEvent>().matching("client")));
    for n in 0..5 {
        app.send(&job_event("a", n)).await;
    }
    let before = app.memory().counts().reads;
    app.send(&stop_event("a")).await;
    assert_eq!(app.memory().counts().reads, before);
    assert_eq!(app.memory().waiting(), 0);
}

#[tokio::test]
async fn a_run_past_its_start_timeout_is_cancelled() {
    let function = Function::new("f", long_working_handler)
        .concurrency(Concurrency::runs(1))
        .timeouts(Timeouts::new().start(30 * MINUTE));
    let mut app = TestApp::new().function(function);
    let sent = app.now();
    send_all(&mut app, (0..3).map(|n| job_event("a", n))).await;
    app.finish().await;
    let runs = all_runs(&mut app).await;
    assert_eq!(statuses(&runs), [Completed, Cancelled, Cancelled]);
    assert_eq!(runs[1].journal().last().unwrap().at.since(sent), 30 * MINUTE);
    assert!(runs[1].error().unwrap().message.contains("had not begun"), "{:?}", runs[1].error());
}

#[tokio::test]
async fn a_run_past_its_finish_timeout_is_cancelled() {
    for (within, ends) in [(30 * MINUTE, Cancelled), (2 * Duration::from_secs(3_600), Completed)] {
        let function = Function::new("f", long_working_handler)
            .throttle(Rate::new(1, MINUTE))
            .timeouts(Timeouts::new().finish(within));
        let mut app = TestApp::new().function(function);
        let sent = app.now();
        send_all(&mut app, (0..2).map(|n| job_event("a", n))).await;
        app.finish().await;
        let runs = all_runs(&mut app).await;
        assert_eq!(statuses(&runs), [ends, ends]);
        if ends == Cancelled {
            // the timeout counts from the run's first step, not from its event
            assert_eq!(delays_of_starts(&runs[1], sent), MINUTE);
            assert_eq!(runs[1].journal().last().unwrap().at.since(sent), MINUTE + within);
        }
    }
}

#[tokio::test]
async fn the_start_timeout_counts_from_a_future_ts() {
    let function = || Function::new("f", long_working_handler).timeouts(Timeouts::new().start(30 * MINUTE));
    for (limited, ends) in [(false, [Completed; 2]), (true, [Completed, Cancelled])] {
        let function = if limited { function().concurrency(Concurrency::runs(1)) } else { function() };
        let mut app = TestApp::new().function(function);
        let sent = app.now();
        let ahead = |n| job_event("a", n).to_event().unwrap().with_ts(sent + 120 * MINUTE);
        app.engine().intake().ingest(vec![ahead(0), ahead(1)], None).await.unwrap();
        app.finish().await;
        let runs = all_runs(&mut app).await;
        assert_eq!(statuses(&runs), ends);
        assert_eq!(delays_of_starts(&runs[0], sent), 120 * MINUTE);
        if limited {
            assert_eq!(runs[1].journal().last().unwrap().at.since(sent), 150 * MINUTE);
        }
    }
}
