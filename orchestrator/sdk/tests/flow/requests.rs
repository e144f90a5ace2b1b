//! Requests of many events: each event is handled as if it had been sent alone, in the order of the
//! request (rule 31).

use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::TestEngine;
use stepladder_sdk::testing::{Status, TestApp};
use stepladder_sdk::{NewEvent, ToEvent};

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

fn stop_event(client: &str) -> NewEvent {
    StopEvent { client: client.into() }.to_event().unwrap()
}

fn job_event_of(client: &str, n: u32) -> NewEvent {
    job_event(client, n).to_event().unwrap()
}

async fn counting_handler(ctx: Context, events: Vec<Event<crate::JobEvent>>) -> Result<usize> {
    ctx.step("count", async || Ok(events.len())).await
}

/// The number of events. It exceeds the number of rounds of decisions that a request may have, so a
/// request with one round per event would fail.
const MANY: u32 = 250;

#[tokio::test]
async fn a_request_of_many_events_of_one_key_is_throttled_evenly() {
    let mut app = TestApp::new().function(Function::new("f", working_handler).throttle(Rate::new(25, SECOND)));
    let sent = app.now();
    send_all(&mut app, (0..MANY).map(|n| job_event("a", n))).await;
    app.finish().await;
    let runs = all_runs(&mut app).await;
    assert_eq!(outputs(&runs), (0..MANY).collect::<Vec<_>>());
    for (run, n) in runs.iter().zip(0..) {
        assert!(
            delays_of_starts(run, sent) >= n * SECOND / 25,
            "run {n} began after {:?}",
            delays_of_starts(run, sent)
        );
    }
}

#[tokio::test]
async fn a_request_of_many_events_of_one_key_fills_a_rate_limit_and_the_rest_is_skipped() {
    let mut app = TestApp::new().function(Function::new("f", working_handler).rate_limit(Rate::new(200, MINUTE)));
    send_all(&mut app, (0..MANY).map(|n| job_event("a", n))).await;
    app.finish().await;
    let runs = all_runs(&mut app).await;
    assert_eq!(outputs(&runs), (0..200).collect::<Vec<_>>());
    assert!(runs[200..].iter().all(|run| run.status() == Status::Skipped));
}

#[tokio::test]
async fn a_singleton_runs_the_first_or_the_last_event_of_a_request() {
    for (singleton, lives, others) in
        [(Singleton::skip(), 0, Status::Skipped), (Singleton::replace(), MANY - 1, Status::Cancelled)]
    {
        let mut app = TestApp::new().function(Function::new("f", long_working_handler).singleton(singleton));
        send_all(&mut app, (0..MANY).map(|n| job_event("a", n))).await;
        app.finish().await;
        let runs = all_runs(&mut app).await;
        assert_eq!(outputs(&runs), [lives]);
        assert_eq!(runs.iter().filter(|run| run.status() == others).count(), MANY as usize - 1);
    }
}

#[tokio::test]
async fn events_of_a_request_with_one_idempotency_key_list_the_same_run() {
    let mut app = TestApp::new().function(Function::new("f", working_handler).idempotency("event.data.client"));
    let events = (0..MANY).map(|n| job_event_of("a", n)).collect();
    let ids = app.engine().intake().ingest(events, None).await.unwrap();
    let run = all_runs(&mut app).await.remove(0).id();
    for id in ids {
        let runs = app.engine().query().runs_of_event(&id.to_string()).await.unwrap();
        assert_eq!(runs.iter().map(|run| run.run).collect::<Vec<_>>(), [run]);
    }
}

#[tokio::test]
async fn a_request_of_more_events_than_a_thousand_batches_contain_is_batched() {
    for size in [1, 2] {
        let batch = Function::batch("f", Batch::new(size, MINUTE), counting_handler);
        let mut app = TestApp::new().function(batch);
        send_all(&mut app, (0..1_100 * size).map(|n| job_event("a", n))).await;
        app.finish().await;
        let runs = app.runs().await;
        assert_eq!(runs.len(), 1_100);
        assert!(runs.iter().all(|run| run.output::<u32>() == size));
    }
}

#[tokio::test]
async fn a_repeated_request_starts_nothing_again() {
    let functions = [
        Function::new("f", working_handler).throttle(Rate::new(25, SECOND)),
        Function::new("f", working_handler).singleton(Singleton::skip()),
        Function::new("f", working_handler).debounce(Debounce::new(SECOND)),
    ];
    for function in functions {
        let mut app = TestApp::new().function(function);
        let events: Vec<_> = (0..MANY).map(|n| job_event_of("a", n).with_id(format!("job-{n}"))).collect();
        let first = app.engine().intake().ingest(events.clone(), None).await.unwrap();
        let runs = app.runs().await.len();
        assert_eq!(app.engine().intake().ingest(events, None).await.unwrap(), first);
        assert_eq!(app.runs().await.len(), runs);
        app.finish().await;
        assert_eq!(app.runs().await.len(), runs);
    }
}

#[tokio::test]
async fn a_stop_cancels_the_job_before_it_and_not_the_one_after_it() {
    let function =
        || Function::new("f", long_working_handler).cancel_on(CancelOn::event::<StopEvent>().matching("client"));
    for function in [function(), function().singleton(Singleton::skip()), function().singleton(Singleton::replace())] {
        let mut app = TestApp::new().function(function);
        app.engine()
            .intake()
            .ingest(vec![job_event_of("a", 0), stop_event("a"), job_event_of("a", 1)], None)
            .await
            .unwrap();
        app.finish().await;
        let runs = all_runs(&mut app).await;
        assert_eq!(runs.iter().map(|run| run.status()).collect::<Vec<_>>(), [Status::Cancelled, Status::Completed]);
        assert!(runs[0].error().unwrap().message.contains("event `job/stopped`"), "{:?}", runs[0].error());
    }
}

#[tokio::test]
async fn a_repeated_stop_cancels_earlier_runs_and_not_later_ones() {
    let mut app = TestApp::new().function(
        Function::new("f", long_working_handler).cancel_on(CancelOn::event::<StopEvent>().matching("client")),
    );
    let stop = stop_event("a").with_id("stop-1");
    app.start(&stop).await;
    app.advance(SECOND).await;
    let run = app.start(&job_event("a", 1)).await.remove(0);
    app.start(&stop).await;
    // the second `stop` repeats an event that is older than the rerun, so it must not cancel the
    // rerun
    app.engine().control().rerun(run.id(), Default::default()).await.unwrap();
    app.start(&stop).await;
    app.finish().await;
    assert_eq!(outputs(&all_runs(&mut app).await), [1, 1]);
}
