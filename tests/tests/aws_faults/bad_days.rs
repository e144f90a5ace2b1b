//! The adapter while AWS throttles, fails, reports conflicts or stalls connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use stepladder_core::Status;
use stepladder_engine::ports::FlowStates;
use stepladder_engine::retries::run_within;
use stepladder_tests::aws_faults::AwsFault;

use crate::functions::{ExecutionLog, everything_once, functions_with_every_step, go_event};
use crate::stage::{AwsStage, SdkRetryMode};
use crate::wire::AwsCall;

fn is_dynamo(call: &AwsCall<'_>) -> bool {
    call.body.get("QueueUrl").is_none()
}

/// Executes one run to its end while these faults are injected, and checks how often each body was
/// executed.
async fn assert_run_completes(plan: impl Fn(usize, &AwsCall<'_>) -> AwsFault + Send + 'static) {
    let account = ExecutionLog::default();
    let stage = AwsStage::new(SdkRetryMode::Retries, functions_with_every_step(&account)).await;
    let mut n = 0;
    stage.wire.plan(move |call| {
        n += 1;
        plan(n, call)
    });
    let engine = stage.engine();
    let event = stage.send(&engine, &go_event(1)).await;
    stage.settle(|| engine.clone()).await;
    stage.wire.clear();
    let run = &stage.runs(event).await[0];
    assert_eq!(run.summary.status, Status::Completed, "{:#?}", stage.facts(run.summary.run).await);
    assert_eq!(account.counts_of_run(1), everything_once());
    stage.assert_journals().await;
    stage.assert_within_limits();
}

#[tokio::test]
async fn a_run_completes_although_every_third_request_is_throttled() {
    assert_run_completes(|n, _| if n % 3 == 0 { AwsFault::Throttle } else { AwsFault::Pass }).await;
}

#[tokio::test]
async fn a_run_completes_although_every_third_request_fails() {
    assert_run_completes(|n, _| match n % 6 {
        0 => AwsFault::Status(500),
        3 => AwsFault::Status(503),
        _ => AwsFault::Pass,
    })
    .await;
}

#[tokio::test]
async fn a_run_is_created_after_conflicts_with_other_transactions() {
    assert_run_completes(|_, call| match call.operation {
        "TransactWriteItems" if call.n < 3 => AwsFault::Conflict,
        "TransactWriteItems" if call.n < 4 => AwsFault::Refuse("TransactionInProgressException"),
        _ => AwsFault::Pass,
    })
    .await;
}

/// Rule 13: while the table is throttled, the message is not received again and again. The wake is
/// sent again with a delay.
#[tokio::test]
async fn throttling_of_the_table_delays_wakes_and_loses_none() {
    let account = ExecutionLog::default();
    let stage = AwsStage::new(SdkRetryMode::Retries, functions_with_every_step(&account)).await;
    let engine = stage.engine();
    let event = stage.send(&engine, &go_event(1)).await;
    stage.wire.plan(|call| if is_dynamo(call) { AwsFault::Throttle } else { AwsFault::Pass });
    for _ in 0..10 {
        let mut deliveries = stage.receive_now().await;
        assert_eq!(deliveries.len(), 1, "one message, and one only");
        let delivery = deliveries.remove(0);
        assert_eq!(delivery.receives, 1, "not one that came again");
        assert!(stage.invoke(&engine, delivery).await, "the message is acknowledged");
        stage.advance(Duration::from_secs(10));
    }
    stage.wire.clear();
    stage.settle(|| engine.clone()).await;
    assert_eq!(stage.runs(event).await[0].summary.status, Status::Completed);
    assert_eq!(account.counts_of_run(1), everything_once());
    stage.assert_journals().await;
    stage.assert_within_limits();
}

/// If the queue fails as well, the message is received again when its visibility timeout ends.
#[tokio::test]
async fn throttling_of_table_and_queue_leaves_the_message_in_the_queue() {
    let account = ExecutionLog::default();
    let stage = AwsStage::new(SdkRetryMode::Retries, functions_with_every_step(&account)).await;
    let engine = stage.engine();
    let event = stage.send(&engine, &go_event(1)).await;
    stage.wire.plan(|_| AwsFault::Throttle);
    let delivery = stage.receive_now().await.remove(0);
    assert!(!stage.invoke(&engine, delivery).await);
    assert!(stage.receive_now().await.is_empty());
    stage.wire.clear();
    stage.settle(|| engine.clone()).await;
    assert_eq!(stage.runs(event).await[0].summary.status, Status::Completed);
    assert_eq!(account.counts_of_run(1), everything_once());
}

/// A request that gets no response is abandoned after 5 s and repeated. This is the only test that
/// waits in real time.
#[tokio::test]
async fn an_outcome_is_written_although_a_connection_stalls() {
    let account = ExecutionLog::default();
    let stage =
        AwsStage::new(SdkRetryMode::Retries, functions_with_every_step(&account)).await.with_production_clients().await;
    let engine = stage.engine();
    let stalled = Arc::new(AtomicBool::new(false));
    let stalls = stalled.clone();
    stage.wire.plan(move |call| {
        let is_outcome = call.operation == "PutItem" && call.body.to_string().contains("StepSucceeded");
        if is_outcome && !stalls.swap(true, Ordering::SeqCst) { AwsFault::Hold } else { AwsFault::Pass }
    });
    let event = stage.send(&engine, &go_event(1)).await;
    stage.settle(|| engine.clone()).await;
    assert!(stalled.load(Ordering::SeqCst));
    assert_eq!(stage.runs(event).await[0].summary.status, Status::Completed);
    assert_eq!(account.counts_of_run(1), everything_once());
}

/// A request may start after its deadline. For example, the supervisor sends such requests, and so
/// does a hop that writes a result at the last moment.
#[tokio::test]
async fn a_request_past_its_deadline_still_gets_an_attempt() {
    let stage = AwsStage::new(SdkRetryMode::Retries, Vec::new()).await.with_production_clients().await;
    let request = stage.aws.read_flow_state(vec!["unknown".into()]);
    let answer = run_within(stage.clock.clone(), stage.clock_now(), request).await;
    assert_eq!(answer.expect("an answer"), [None]);
}
