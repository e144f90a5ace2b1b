//! Flow control that collects events: debounce and batch.

use std::time::Duration;

use stepladder_sdk::ToEvent;
use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::TestEngine;
use stepladder_sdk::testing::{Fact, Status, TestApp};

use crate::{JobEvent, MINUTE, SECOND, all_runs, delays_of_starts, job_event, outputs, send_all, working_handler};

async fn counting_handler(ctx: Context, events: Vec<Event<JobEvent>>) -> Result<Vec<u32>> {
    ctx.step("count", async || Ok(events.iter().map(|event| event.data.n).collect())).await
}

#[tokio::test]
async fn a_debounce_starts_with_the_last_event_after_a_quiet_period() {
    let mut app = TestApp::new().function(Function::new("f", working_handler).debounce(Debounce::new(10 * SECOND)));
    let sent = app.now();
    for n in 0..5 {
        app.start(&job_event("acme", n)).await;
        app.advance(6 * SECOND).await;
    }
    assert_eq!(all_runs(&mut app).await[0].status(), Status::Scheduled);
    app.finish().await;
    let runs = all_runs(&mut app).await;
    assert_eq!(outputs(&runs), [4]);
    assert_eq!(delays_of_starts(&runs[0], sent), 34 * SECOND);
    // the next event starts another run
    app.send(&job_event("acme", 9)).await;
    assert_eq!(outputs(&all_runs(&mut app).await), [4, 9]);
}

#[tokio::test]
async fn a_debounce_ends_at_its_max_wait_and_counts_each_key_separately() {
    let debounce = Debounce::new(10 * SECOND).max_wait(25 * SECOND).key("event.data.client");
    let mut app = TestApp::new().function(Function::new("f", working_handler).debounce(debounce));
    let sent = app.now();
    for n in 0..8 {
        send_all(&mut app, [job_event("a", n)]).await;
        if n == 0 {
            send_all(&mut app, [job_event("b", 100)]).await;
        }
        app.advance(6 * SECOND).await;
    }
    app.finish().await;
    let runs = all_runs(&mut app).await;
    let told: Vec<_> = runs.iter().map(|run| (run.output::<u32>(), delays_of_starts(run, sent).as_secs())).collect();
    // the events with key `a` arrive at 0, 6, … 42 s: five of them join the run that starts at 25
    // s, the other three the run that starts at 52 s
    assert_eq!(told, [(4, 25), (100, 10), (7, 52)]);
}

#[tokio::test]
async fn a_batch_starts_when_it_is_full_or_its_timeout_passes() {
    let mut app = TestApp::new().function(Function::batch("f", Batch::new(3, MINUTE), counting_handler));
    let sent = app.now();
    send_all(&mut app, (0..7).map(|n| job_event("acme", n))).await;
    app.finish().await;
    let runs = all_runs(&mut app).await;
    let told: Vec<_> =
        runs.iter().map(|run| (run.output::<Vec<u32>>(), delays_of_starts(run, sent).as_secs())).collect();
    assert_eq!(told, [(vec![0, 1, 2], 0), (vec![3, 4, 5], 0), (vec![6], 60)]);
}

#[tokio::test]
async fn a_batch_collects_over_requests_by_key_and_each_event_lists_its_run() {
    let batch = Batch::new(10, MINUTE).key("event.data.client");
    let mut app = TestApp::new().function(Function::batch("f", batch, counting_handler));
    let first = app.start(&job_event("a", 1)).await.remove(0);
    app.start(&job_event("b", 2)).await;
    app.advance(10 * SECOND).await;
    let third = app.start(&job_event("a", 3)).await;
    assert_eq!(third[0].id(), first.id());
    app.finish().await;
    let runs = all_runs(&mut app).await;
    assert_eq!(runs.iter().map(|run| run.output::<Vec<u32>>()).collect::<Vec<_>>(), [vec![1, 3], vec![2]]);
}

#[tokio::test]
async fn a_repeated_event_is_in_one_batch_once_before_and_after_that_has_begun() {
    let mut app = TestApp::new().function(Function::batch("f", Batch::new(3, MINUTE), counting_handler));
    let engine = app.engine();
    let event = |n: u32| {
        let data = stepladder_core::json::to_json(&job_event("acme", n)).unwrap();
        stepladder_sdk::NewEvent::new(JobEvent::NAME, data).with_id(format!("job-{n}"))
    };
    for n in [1, 2, 1, 2] {
        engine.intake().ingest(vec![event(n)], None).await.unwrap();
    }
    engine.intake().ingest(vec![event(2), event(1), event(3)], None).await.unwrap();
    app.finish().await;
    engine.intake().ingest(vec![event(1), event(2), event(3), event(4)], None).await.unwrap();
    app.finish().await;
    let runs = all_runs(&mut app).await;
    assert_eq!(runs.iter().map(|run| run.output::<Vec<u32>>()).collect::<Vec<_>>(), [vec![1, 2, 3], vec![4]]);
}

#[tokio::test]
async fn a_batch_of_one_starts_at_once_and_a_large_one_before_it_is_full() {
    let mut app = TestApp::new().function(Function::batch("f", Batch::new(1, MINUTE), counting_handler));
    let sent = app.now();
    send_all(&mut app, [job_event("a", 1), job_event("a", 2)]).await;
    app.finish().await;
    let runs = all_runs(&mut app).await;
    assert_eq!(runs.iter().map(|run| run.output::<Vec<u32>>()).collect::<Vec<_>>(), [vec![1], vec![2]]);
    assert!(runs.iter().all(|run| delays_of_starts(run, sent) == Duration::ZERO));

    let mut app = TestApp::new().function(Function::batch("f", Batch::new(1_000, MINUTE), counting_handler));
    let large = "x".repeat(1024 * 1024);
    send_all(&mut app, (0..6).map(|n| job_event(&large, n))).await;
    app.finish().await;
    let runs = all_runs(&mut app).await;
    assert_eq!(runs.iter().map(|run| run.output::<Vec<u32>>()).collect::<Vec<_>>(), [vec![0, 1, 2, 3], vec![4, 5]]);
}

#[tokio::test]
async fn a_run_that_collects_events_costs_one_wake_however_often_it_is_delayed() {
    let mut app = TestApp::new().function(Function::new("f", working_handler).debounce(Debounce::new(10 * SECOND)));
    for n in 0..50 {
        app.start(&job_event("acme", n)).await;
        app.advance(SECOND).await;
    }
    app.finish().await;
    let runs = all_runs(&mut app).await;
    assert_eq!(outputs(&runs), [49]);
    let joined = runs[0].journal().iter().filter(|entry| matches!(entry.fact, Fact::EventJoined { .. })).count();
    let begun = runs[0].journal().iter().filter(|entry| matches!(entry.fact, Fact::CollectingEnded)).count();
    assert_eq!((joined, begun), (49, 1));
}

#[tokio::test]
async fn a_cancelled_batch_does_not_take_later_events() {
    let mut app = TestApp::new().function(Function::batch("f", Batch::new(3, MINUTE), counting_handler));
    let first = app.start(&job_event("a", 1)).await.remove(0);
    app.engine().control().cancel(first.id(), "by hand").await.unwrap();
    app.send(&job_event("a", 2)).await;
    let runs = all_runs(&mut app).await;
    assert_eq!((runs[0].status(), runs[1].output::<Vec<u32>>()), (Status::Cancelled, vec![2]));
}

#[tokio::test]
async fn an_event_with_a_future_ts_has_a_run_of_its_own_that_starts_then() {
    let batch = Function::batch("f", Batch::new(2, 10 * SECOND), counting_handler);
    let debounce = Function::new("f", async |ctx: Context, event: Event<JobEvent>| {
        ctx.step("work", async || Ok(vec![event.data.n])).await
    })
    .debounce(Debounce::new(10 * SECOND));
    for function in [batch, debounce] {
        let mut app = TestApp::new().function(function);
        let sent = app.now();
        let ahead = |n: u32| job_event("acme", n).to_event().unwrap().with_ts(sent + 60 * MINUTE);
        app.engine()
            .intake()
            .ingest(vec![ahead(0), job_event("acme", 1).to_event().unwrap(), ahead(2)], None)
            .await
            .unwrap();
        app.advance(30 * MINUTE).await;
        let statuses: Vec<_> = all_runs(&mut app).await.iter().map(|run| run.status()).collect();
        assert_eq!(statuses, [Status::Scheduled, Status::Completed, Status::Scheduled]);
        app.finish().await;
        let runs = all_runs(&mut app).await;
        let told: Vec<_> =
            runs.iter().map(|run| (run.output::<Vec<u32>>(), delays_of_starts(run, sent).as_secs())).collect();
        assert_eq!(told, [(vec![0], 3_600), (vec![1], 10), (vec![2], 3_600)]);
    }
}
