//! Cancellations, timeouts and pauses on DynamoDB and SQS, while a request or a reply is lost at
//! each call.

use std::sync::atomic::Ordering;
use std::time::Duration;

use stepladder::prelude::*;
use stepladder_core::{NewEvent, Status, json};
use stepladder_engine::{RerunOptions, RunFilter};
use stepladder_tests::aws_faults::AwsFault;

use crate::functions::{GoEvent, go_event};
use crate::stage::{AwsStage, SdkRetryMode};
use crate::steps::{run_with_fault, set_fault};

const MINUTE: Duration = Duration::from_secs(60);

/// A handler with two steps and a sleep of ten minutes between them.
async fn works_long(ctx: Context, event: Event<GoEvent>) -> Result<u32> {
    ctx.step("first", async || Ok(())).await?;
    ctx.sleep("a while", 10 * MINUTE).await?;
    ctx.step("last", async || Ok(event.data.n)).await
}

/// Returns the status of an event's only run, and the reason for it.
async fn end_of(stage: &AwsStage, n: u32) -> (Status, String) {
    let mut runs = stage.observing_engine().query().runs_of_event(&format!("go-{n}")).await.expect("listed");
    assert_eq!(runs.len(), 1, "{n}");
    let run = runs.remove(0);
    (run.status, run.error.map_or_else(String::new, |error| error.message.to_string()))
}

/// Handles all messages that are visible now. Does not advance the clock.
async fn work_until_idle(stage: &AwsStage) {
    let engine = stage.engine();
    loop {
        let deliveries = stage.receive_now().await;
        if deliveries.is_empty() {
            return;
        }
        for delivery in deliveries {
            stage.invoke(&engine, delivery).await;
        }
    }
}

#[derive(Serialize, Deserialize)]
struct StopEvent {
    n: u32,
}

impl EventData for StopEvent {
    const NAME: &'static str = "shop/stop";
}

#[tokio::test]
async fn an_event_cancels_the_run_with_the_same_field_under_any_loss() {
    let function = Function::new("f", works_long).cancel_on(CancelOn::event::<StopEvent>().matching("n"));
    let stage = AwsStage::new(SdkRetryMode::Tells, vec![function]).await;
    // two runs sleep, and the event `Stop` cancels the first one
    let stopped = async |n: u32, at: usize, fault: &AwsFault| {
        let engine = stage.engine();
        for event in [go_event(n), go_event(n + 1)] {
            stage.send(&engine, &event).await;
        }
        work_until_idle(&stage).await;
        let calls = set_fault(&stage, at, fault);
        let data = json::to_json(&StopEvent { n }).expect("JSON");
        let stop = NewEvent::new(StopEvent::NAME, data).with_id(format!("stop-{n}"));
        stage.send(&engine, &stop).await;
        stage.settle(|| engine.clone()).await;
        let (status, why) = end_of(&stage, n).await;
        assert_eq!(status, Status::Cancelled, "{fault:?} at call {at}");
        assert!(why.contains("event `shop/stop`"), "{why}");
        assert_eq!(end_of(&stage, n + 1).await.0, Status::Completed, "{fault:?} at call {at}");
        calls.load(Ordering::SeqCst)
    };
    let calls = stopped(0, usize::MAX, &AwsFault::Pass).await;
    assert!(calls > 8, "{calls}");
    let mut n = 0;
    for fault in [AwsFault::LoseReply, AwsFault::LoseRequest] {
        for at in 0..calls {
            n += 2;
            stopped(n, at, &fault).await;
        }
    }
    stage.assert_journals().await;
    stage.assert_within_limits();
}

#[tokio::test]
async fn a_run_that_takes_too_long_is_cancelled_under_any_loss() {
    // four minutes are much less than the sleep, even if a wake is delivered again
    let function = Function::new("f", works_long).timeouts(Timeouts::new().finish(4 * MINUTE));
    let stage = AwsStage::new(SdkRetryMode::Tells, vec![function]).await;
    let calls = run_with_fault(&stage, &[go_event(0)], usize::MAX, &AwsFault::Pass).await;
    assert!(calls > 8, "{calls}");
    let mut n = 0;
    for fault in [AwsFault::LoseReply, AwsFault::LoseRequest] {
        for at in 0..calls {
            n += 1;
            run_with_fault(&stage, &[go_event(n)], at, &fault).await;
            let (status, why) = end_of(&stage, n).await;
            assert_eq!(status, Status::Cancelled, "{fault:?} at call {at}");
            assert!(why.contains("had not ended"), "{why}");
        }
    }
    stage.assert_journals().await;
    stage.assert_within_limits();
}

#[tokio::test]
async fn a_run_that_does_not_start_in_time_is_cancelled_under_any_lost_reply() {
    let function =
        Function::new("f", works_long).concurrency(Concurrency::runs(1)).timeouts(Timeouts::new().start(4 * MINUTE));
    let stage = AwsStage::new(SdkRetryMode::Tells, vec![function]).await;
    let calls = run_with_fault(&stage, &[go_event(0), go_event(1)], usize::MAX, &AwsFault::Pass).await;
    assert!(calls > 8, "{calls}");
    for at in 0..calls {
        let n = 2 * at as u32 + 2;
        run_with_fault(&stage, &[go_event(n), go_event(n + 1)], at, &AwsFault::LoseReply).await;
        let mut ends = [end_of(&stage, n).await, end_of(&stage, n + 1).await];
        ends.sort_by_key(|(status, _)| status.to_string());
        assert_eq!(ends.each_ref().map(|(status, _)| *status), [Status::Cancelled, Status::Completed], "at call {at}");
        assert!(ends[0].1.contains("had not begun"), "{ends:?}");
    }
    stage.assert_journals().await;
    stage.assert_within_limits();
}

#[tokio::test]
async fn a_paused_function_starts_nothing_until_it_is_resumed_under_any_loss() {
    let stage = AwsStage::new(SdkRetryMode::Tells, vec![Function::new("f", works_long)]).await;
    let resumed = async |n: u32, at: usize, fault: &AwsFault| {
        assert!(stage.engine().functions().pause("f").await.expect("paused"));
        let engine = stage.engine();
        stage.send(&engine, &go_event(n)).await;
        for _ in 0..2 {
            work_until_idle(&stage).await;
            assert_eq!(end_of(&stage, n).await.0, Status::Scheduled);
            stage.advance(5 * MINUTE);
        }
        let calls = set_fault(&stage, at, fault);
        // without a response, the caller repeats the request
        while engine.functions().resume("f").await.is_err() {}
        stage.settle(|| engine.clone()).await;
        assert_eq!(end_of(&stage, n).await.0, Status::Completed, "{fault:?} at call {at}");
        calls.load(Ordering::SeqCst)
    };
    let calls = resumed(0, usize::MAX, &AwsFault::Pass).await;
    assert!(calls > 8, "{calls}");
    let mut n = 0;
    for fault in [AwsFault::LoseReply, AwsFault::LoseRequest] {
        for at in 0..calls {
            n += 1;
            resumed(n, at, &fault).await;
        }
    }
    stage.assert_journals().await;
    stage.assert_within_limits();
}

#[tokio::test]
async fn many_runs_are_cancelled_and_rerun_in_bulk() {
    let stage = AwsStage::new(SdkRetryMode::Retries, vec![Function::new("f", works_long)]).await;
    let engine = stage.engine();
    for n in 0..5 {
        stage.send(&engine, &go_event(n)).await;
    }
    work_until_idle(&stage).await;
    let of = |status| RunFilter { status, functions: vec!["f".into()], limit: Some(2), ..RunFilter::default() };
    // requests one page at a time, as a client does
    let (mut cancelled, mut cursor) = (Vec::new(), None);
    loop {
        let page = engine.control().cancel_all(RunFilter { cursor, ..of(None) }, "by hand").await.expect("cancelled");
        cancelled.extend(page.done);
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(cancelled.len(), 5);
    stage.settle(|| engine.clone()).await;
    for n in 0..5 {
        assert_eq!(end_of(&stage, n).await.0, Status::Cancelled);
    }
    let again = engine
        .control()
        .rerun_all(RunFilter { limit: Some(500), ..of(Some(Status::Cancelled)) }, RerunOptions::default())
        .await;
    assert_eq!(again.expect("begun").done.len(), 5);
    stage.settle(|| engine.clone()).await;
    let done =
        stage.observing_engine().query().runs(RunFilter { limit: Some(500), ..of(Some(Status::Completed)) }).await;
    assert_eq!(done.expect("listed").runs.len(), 5);
    stage.assert_journals().await;
}
