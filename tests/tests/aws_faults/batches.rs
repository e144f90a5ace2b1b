//! Batches that AWS carries out only in part. The remaining entries are requested again.

use std::time::Duration;

use stepladder_core::{RunId, Status, Timestamp, Wake};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::{Commit, Commits, EarlyWrite, Listings};
use stepladder_tests::aws_faults::AwsFault;

use crate::functions::{ExecutionLog, functions_with_every_step, go_event, parallel_function, retrying_function};
use crate::stage::{AwsStage, SdkRetryMode};

fn first_without(
    operation: &'static str,
    places: &[usize],
) -> impl FnMut(&crate::wire::AwsCall<'_>) -> AwsFault + use<> {
    let places = places.to_vec();
    move |call| match call.operation == operation && call.n == 0 {
        true => AwsFault::LeaveOut(places.clone()),
        false => AwsFault::Pass,
    }
}

/// The first batch sets two timers, and one of them is left out.
#[tokio::test]
async fn timers_left_out_of_a_batch_are_set_again() {
    let account = ExecutionLog::default();
    let stage = AwsStage::new(SdkRetryMode::Tells, vec![retrying_function(&account, Duration::from_secs(1_800))]).await;
    stage.wire.plan(first_without("BatchWriteItem", &[1]));
    let engine = stage.engine();
    stage.wire.take_tally();
    stage.send(&engine, &go_event(1)).await;
    let delivery = stage.receive_now().await.remove(0);
    assert!(stage.invoke(&engine, delivery).await);
    assert_eq!(stage.wire.take_tally().requests_of("BatchWriteItem"), 2);
    stage.advance(Duration::from_secs(1_800));
    stage.sweep(&engine).await;
    stage.advance(Duration::from_secs(60));
    let woken = stage.receive_now().await.len();
    assert_eq!(woken, 2, "one wake for each sleep");
}

#[tokio::test]
async fn wakes_left_out_of_a_batch_are_sent_again() {
    let account = ExecutionLog::default();
    let mut stage = AwsStage::new(SdkRetryMode::Tells, vec![parallel_function(&account, 12)]).await;
    stage.config.side_by_side = 4;
    stage.wire.plan(first_without("SendMessageBatch", &[0, 3, 7]));
    let engine = stage.engine();
    let event = stage.send(&engine, &go_event(1)).await;
    stage.settle(|| engine.clone()).await;
    let run = &stage.runs(event).await[0];
    assert_eq!(run.summary.status, Status::Completed, "{:#?}", stage.facts(run.summary.run).await);
    assert!(account.counts_of_run(1).values().all(|times| *times == 1) && account.counts_of_run(1).len() == 12);
    stage.assert_within_limits();
}

#[tokio::test]
async fn rows_left_out_of_a_batch_are_read_again() {
    let account = ExecutionLog::default();
    let stage = AwsStage::new(SdkRetryMode::Tells, {
        let mut functions = functions_with_every_step(&account);
        functions.push(parallel_function(&account, 1));
        functions.push(retrying_function(&account, Duration::from_secs(60)));
        functions
    })
    .await;
    let engine = stage.engine();
    let event = stage.send(&engine, &go_event(1)).await;
    stage.wire.plan(first_without("BatchGetItem", &[0, 2]));
    assert_eq!(stage.aws.runs_of(event).await.expect("listed").len(), 3);
}

#[tokio::test]
async fn messages_left_out_of_a_batch_are_deleted_again() {
    let account = ExecutionLog::default();
    let stage = AwsStage::new(SdkRetryMode::Tells, functions_with_every_step(&account)).await;
    let wake = |n| Wake {
        run: RunId::new(Timestamp::from_millis(1), n),
        cause: stepladder_core::WakeCause::Due,
        group: "everything".into(),
    };
    let due = stage.clock.now();
    let before = (0..3).map(|n| EarlyWrite::Wake { wake: wake(n), due }).collect();
    stage.aws.commit(Commit { before, ..Commit::default() }).await.expect("sent");
    let received = stage.receive_now().await;
    assert_eq!(received.len(), 3);
    stage.wire.plan(first_without("DeleteMessageBatch", &[1]));
    let acks = received.into_iter().map(|delivery| delivery.receipt).collect();
    stage.aws.commit(Commit { acks, ..Commit::default() }).await.expect("deleted");
    stage.advance(stage.config.visibility());
    assert!(stage.receive_now().await.is_empty());
}
