//! Functions that are paused and resumed.

use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::TestEngine;
use stepladder_sdk::testing::{Status, TestApp};

use crate::{
    JobEvent, MINUTE, SECOND, all_runs, delays_of_starts, job_event, long_working_handler, outputs, send_all,
    working_handler,
};

#[tokio::test]
async fn runs_that_have_not_started_wait_until_their_function_is_resumed() {
    let mut app = TestApp::new().function(Function::new("f", long_working_handler));
    let engine = app.engine();
    app.start(&job_event("a", 0)).await;
    assert!(engine.functions().pause("f").await.unwrap());
    assert!(!engine.functions().pause("f").await.unwrap(), "it is paused already");
    assert_eq!(engine.functions().paused_since("f").await.unwrap(), Some(app.now()));
    let sent = app.now();
    send_all(&mut app, (1..300).map(|n| job_event("a", n))).await;
    app.advance(90 * MINUTE).await;
    let runs = all_runs(&mut app).await;
    assert_eq!(outputs(&runs), [0], "one that had begun went on to its end");
    assert!(runs[1..].iter().all(|run| run.status() == Status::Scheduled));
    let waiting = engine.query().run(runs[7].id()).await.unwrap().waiting.unwrap();
    assert!(waiting.contains("is paused"), "{waiting}");
    assert_eq!(engine.functions().resume("f").await.unwrap(), 299);
    assert_eq!(engine.functions().paused_since("f").await.unwrap(), None);
    app.finish().await;
    let runs = all_runs(&mut app).await;
    assert_eq!(outputs(&runs), (0..300).collect::<Vec<_>>());
    assert_eq!(delays_of_starts(&runs[299], sent), 90 * MINUTE);
}

#[tokio::test]
async fn a_run_cancelled_during_a_pause_stays_cancelled() {
    let mut app = TestApp::new().function(Function::new("f", working_handler));
    let engine = app.engine();
    engine.functions().pause("f").await.unwrap();
    let run = app.start(&job_event("a", 0)).await.remove(0);
    engine.control().cancel(run.id(), "by hand").await.unwrap();
    engine.functions().resume("f").await.unwrap();
    app.advance(SECOND).await;
    assert_eq!(all_runs(&mut app).await[0].status(), Status::Cancelled);
}

#[tokio::test]
async fn an_unknown_function_cannot_be_paused() {
    let mut app = TestApp::new().function(Function::new("f", working_handler));
    let said = app.engine().functions().pause("g").await.unwrap_err().to_string();
    assert!(said.contains("no function `g`"), "{said}");
}

#[tokio::test]
async fn a_run_that_waits_to_start_does_not_hold_up_started_runs() {
    for limit in [Concurrency::limit(1), Concurrency::limit(1).key("event.data.client")] {
        let mut app = TestApp::new().function(Function::new("f", long_working_handler).concurrency(limit));
        let engine = app.engine();
        send_all(&mut app, (0..2).map(|n| job_event("a", n))).await;
        app.advance(SECOND).await;
        engine.functions().pause("f").await.unwrap();
        send_all(&mut app, (2..5).map(|n| job_event("a", n))).await;
        // no watchdog is due within this time
        app.advance(61 * MINUTE).await;
        assert_eq!(outputs(&all_runs(&mut app).await), [0, 1]);
        assert_eq!(engine.functions().resume("f").await.unwrap(), 3);
        app.finish().await;
        assert_eq!(outputs(&all_runs(&mut app).await), [0, 1, 2, 3, 4]);
    }
}

#[tokio::test]
async fn a_run_whose_function_has_failed_before_its_first_step_has_begun() {
    async fn fails_once(ctx: Context, event: Event<JobEvent>) -> Result<u32> {
        if ctx.attempt() == 1 {
            return Err(Error::new("not yet"));
        }
        working_handler(ctx, event).await
    }
    let function = Function::new("f", fails_once).backoff(Backoff::Fixed(MINUTE));
    let mut app = TestApp::new().function(function);
    let engine = app.engine();
    app.start(&job_event("a", 0)).await;
    app.advance(SECOND).await;
    engine.functions().pause("f").await.unwrap();
    app.start(&job_event("a", 1)).await;
    app.advance(5 * MINUTE).await;
    let runs = all_runs(&mut app).await;
    assert_eq!(outputs(&runs), [0]);
    assert_eq!(runs[1].status(), Status::Scheduled);
}
