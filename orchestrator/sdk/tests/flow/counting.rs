//! Flow control of concurrent runs: limits on runs, shared limits, priorities, singletons.

use std::time::Duration;

use stepladder_sdk::ToEvent;
use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::TestEngine;
use stepladder_sdk::testing::{Fact, Status, TestApp, TestRun};

use crate::{JobEvent, SECOND, all_runs, delays_of_starts, job_event, long_working_handler, outputs, send_all};

const HOUR: Duration = Duration::from_secs(3_600);

/// Returns the highest number of runs that were live at the same time, from their first step to
/// their end.
fn most_alive(runs: &[TestRun]) -> usize {
    let times = |run: &TestRun| {
        let began = run.journal().iter().find(|entry| matches!(entry.fact, Fact::StepStarted { .. })).unwrap().at;
        (began, run.journal().last().unwrap().at)
    };
    let times: Vec<_> = runs.iter().map(times).collect();
    times.iter().map(|(at, _)| times.iter().filter(|(began, ended)| began <= at && at < ended).count()).max().unwrap()
}

#[tokio::test]
async fn a_limit_on_runs_counts_them_while_they_sleep() {
    let function = Function::new("f", long_working_handler).concurrency(Concurrency::runs(2));
    let mut app = TestApp::new().function(function);
    let sent = app.now();
    send_all(&mut app, (0..6).map(|n| job_event("acme", n))).await;
    app.finish().await;
    let runs = all_runs(&mut app).await;
    assert_eq!(outputs(&runs), [0, 1, 2, 3, 4, 5]);
    assert_eq!(most_alive(&runs), 2);
    let began: Vec<u64> = runs.iter().map(|run| delays_of_starts(run, sent).as_secs() / 3_600).collect();
    assert_eq!(began, [0, 0, 1, 1, 2, 2], "in the order in which they came");
}

#[tokio::test]
async fn a_limit_on_runs_by_key_and_one_on_steps_hold_together() {
    let function = Function::new("f", long_working_handler)
        .concurrency(Concurrency::runs(1).key("event.data.client"))
        .concurrency(Concurrency::limit(1));
    let mut app = TestApp::new().function(function);
    send_all(&mut app, (0..6).map(|n| job_event(&(n % 3).to_string(), n))).await;
    app.finish().await;
    let runs = all_runs(&mut app).await;
    assert_eq!(outputs(&runs), [0, 1, 2, 3, 4, 5]);
    for client in 0..3 {
        assert_eq!(most_alive(&[runs[client].clone(), runs[client + 3].clone()]), 1);
    }
}

#[tokio::test]
async fn a_cancelled_run_and_a_failed_run_release_their_slots() {
    async fn failing_handler(ctx: Context, event: Event<JobEvent>) -> Result<u32> {
        ctx.sleep("an hour", HOUR).await?;
        match event.data.n {
            1 => Err(Error::terminal("no")),
            n => Ok(n),
        }
    }
    let function = Function::new("f", failing_handler).concurrency(Concurrency::runs(1));
    let mut app = TestApp::new().function(function);
    send_all(&mut app, (0..4).map(|n| job_event("acme", n))).await;
    app.advance(SECOND).await;
    let runs = all_runs(&mut app).await;
    // the first run holds the slot, and the third waits in the queue
    for run in [&runs[0], &runs[2]] {
        app.engine().control().cancel(run.id(), "by hand").await.unwrap();
    }
    app.finish().await;
    let runs = all_runs(&mut app).await;
    let statuses: Vec<Status> = runs.iter().map(TestRun::status).collect();
    assert_eq!(statuses, [Status::Cancelled, Status::Failed, Status::Cancelled, Status::Completed]);
}

#[tokio::test]
async fn functions_that_share_a_limit_hold_it_together() {
    let shared = || Concurrency::runs(1).shared("api");
    let mut app = TestApp::new()
        .function(Function::new("f", long_working_handler).concurrency(shared()))
        .function(Function::new("g", long_working_handler).concurrency(shared()));
    send_all(&mut app, (0..3).map(|n| job_event("acme", n))).await;
    app.finish().await;
    let runs = all_runs(&mut app).await;
    assert_eq!((runs.len(), most_alive(&runs)), (6, 1));
    assert_eq!(outputs(&runs).len(), 6);
}

#[tokio::test]
async fn priority_moves_a_run_forward_in_the_wait_queue() {
    let function = Function::new("f", long_working_handler)
        .concurrency(Concurrency::runs(1))
        .priority("event.data.client == 'pro' ? 120 : 0");
    let mut app = TestApp::new().function(function);
    let sent = app.now();
    app.start(&job_event("free", 0)).await;
    app.start(&job_event("free", 1)).await;
    app.advance(100 * SECOND).await;
    app.start(&job_event("pro", 2)).await;
    app.advance(100 * SECOND).await;
    app.start(&job_event("pro", 3)).await;
    app.finish().await;
    let mut began: Vec<_> =
        all_runs(&mut app).await.iter().map(|run| (delays_of_starts(run, sent), run.output::<u32>())).collect();
    began.sort_unstable();
    // a priority of 120 s overtakes a run that waits 100 s longer, but not one that waits 200 s
    // longer
    assert_eq!(began.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [0, 2, 1, 3]);
}

#[tokio::test]
async fn a_singleton_skips_while_a_run_is_live() {
    let singleton = Singleton::skip().key("event.data.client");
    let mut app = TestApp::new().function(Function::new("f", long_working_handler).singleton(singleton));
    send_all(&mut app, [job_event("a", 0), job_event("a", 1), job_event("b", 2)]).await;
    app.advance(SECOND).await;
    app.start(&job_event("a", 3)).await;
    app.advance(2 * HOUR).await;
    app.start(&job_event("a", 4)).await;
    app.finish().await;
    let runs = all_runs(&mut app).await;
    assert_eq!(outputs(&runs), [0, 2, 4]);
    let reason = runs[1].error().unwrap().message.clone();
    assert!(reason.contains(&runs[0].id().to_string()), "{reason}");
    assert_eq!(runs.iter().filter(|run| run.status() == Status::Skipped).count(), 2);
}

/// The flow state of a live run expires after a week, unless the run's watchdog extends it.
#[tokio::test]
async fn a_singleton_holds_for_a_run_of_months() {
    async fn sleeping_handler(ctx: Context, event: Event<JobEvent>) -> Result<u32> {
        ctx.sleep("a season", 24 * 90 * HOUR).await?;
        Ok(event.data.n)
    }
    let mut app = TestApp::new().function(Function::new("f", sleeping_handler).singleton(Singleton::skip()));
    app.start(&job_event("a", 0)).await;
    for n in 1..5 {
        app.advance(24 * 20 * HOUR).await;
        app.start(&job_event("a", n)).await;
    }
    app.finish().await;
    app.start(&job_event("a", 5)).await;
    app.finish().await;
    assert_eq!(outputs(&all_runs(&mut app).await), [0, 5]);
}

#[tokio::test]
async fn a_run_that_replaces_a_waiting_run_replaces_its_predecessor_too() {
    let mut app = TestApp::new().function(Function::new("f", long_working_handler).singleton(Singleton::replace()));
    app.start(&job_event("a", 0)).await;
    let later = job_event("a", 1).to_event().unwrap().with_ts(app.now() + 30 * 60 * SECOND);
    app.engine().intake().ingest(vec![later], None).await.unwrap();
    app.advance(SECOND).await;
    app.start(&job_event("a", 2)).await;
    app.finish().await;
    assert_eq!(outputs(&all_runs(&mut app).await), [2]);
}

#[tokio::test]
async fn a_replacing_singleton_cancels_the_live_run() {
    let mut app = TestApp::new().function(Function::new("f", long_working_handler).singleton(Singleton::replace()));
    app.start(&job_event("a", 0)).await;
    app.advance(SECOND).await;
    // the run of the first of these events is replaced before it starts, and has cancelled no other
    // run
    send_all(&mut app, (1..3).map(|n| job_event("a", n))).await;
    app.advance(SECOND).await;
    let alive = all_runs(&mut app).await.iter().filter(|run| !run.status().is_end()).count();
    assert_eq!(alive, 1);
    app.start(&job_event("a", 3)).await;
    app.finish().await;
    let runs = all_runs(&mut app).await;
    assert_eq!(outputs(&runs), [3]);
    let last = runs[2].error().unwrap().message.clone();
    assert!(last.contains(&format!("run {} takes its place", runs[3].id())), "{last}");
}
