//! Permanent errors: a missing permission, a deleted queue or table, a disabled KMS key. Each
//! delivery of the message fails, and no other message is sent.

use std::time::Duration;

use stepladder_core::Status;
use stepladder_tests::aws_faults::AwsFault;

use crate::functions::{ExecutionLog, everything_once, functions_with_every_step, go_event};
use crate::stage::{AwsStage, SdkRetryMode};
use crate::wire::AwsCall;

/// The number of receives after which a message moves to the dead letter queue.
const RECEIVES: u32 = 5;

fn is_of_a_journal(call: &AwsCall<'_>) -> bool {
    call.body["Item"]["SK"]["S"].as_str().is_some_and(|sk| sk.starts_with("J#"))
}

/// Lets every receive of a run's wake fail with these faults. After the faults have ended, the
/// sweep wakes the run, and the run ends.
async fn fails_each_time(plan: impl Fn(&AwsCall<'_>) -> AwsFault + Send + 'static) {
    let account = ExecutionLog::default();
    let stage = AwsStage::new(SdkRetryMode::Retries, functions_with_every_step(&account)).await;
    let engine = stage.engine();
    let event = stage.send(&engine, &go_event(1)).await;
    stage.wire.plan(plan);
    for receives in 1..=RECEIVES {
        let mut deliveries = stage.receive_now().await;
        assert_eq!(deliveries.len(), 1, "one message, and one only");
        let delivery = deliveries.remove(0);
        assert_eq!(delivery.receives, receives, "the queue counts");
        assert!(!stage.invoke(&engine, delivery).await, "the record is reported as failed");
        stage.advance(stage.config.visibility() + Duration::from_secs(1));
    }
    assert_eq!(
        account.counts_of_run(1).values().sum::<u32>(),
        0,
        "no body is executed if its outcome cannot be written"
    );
    stage.wire.clear();
    stage.settle(|| engine.clone()).await;
    assert_eq!(stage.runs(event).await[0].summary.status, Status::Completed);
    assert_eq!(account.counts_of_run(1), everything_once());
    stage.assert_journals().await;
}

#[tokio::test]
async fn a_wake_fails_without_the_permission_to_write() {
    fails_each_time(
        |call| if is_of_a_journal(call) { AwsFault::Refuse("AccessDeniedException") } else { AwsFault::Pass },
    )
    .await;
}

#[tokio::test]
async fn a_wake_fails_if_the_table_rejects_a_request() {
    fails_each_time(
        |call| if is_of_a_journal(call) { AwsFault::Refuse("ValidationException") } else { AwsFault::Pass },
    )
    .await;
}

#[tokio::test]
async fn a_wake_fails_if_the_table_is_deleted() {
    fails_each_time(|call| match call.body.get("QueueUrl") {
        None => AwsFault::Refuse("ResourceNotFoundException"),
        Some(_) => AwsFault::Pass,
    })
    .await;
}

#[tokio::test]
async fn a_wake_fails_if_the_kms_key_is_disabled() {
    fails_each_time(|call| match call.operation {
        "Query" => AwsFault::Refuse("KMSDisabledException"),
        _ => AwsFault::Pass,
    })
    .await;
}

#[tokio::test]
async fn a_wake_fails_if_the_steps_queue_is_deleted() {
    // calls to the table are throttled. If the queue existed, the wake would therefore be sent
    // again with a delay
    fails_each_time(|call| match call.body.get("QueueUrl") {
        None => AwsFault::Throttle,
        Some(_) => AwsFault::Refuse("AWS.SimpleQueueService.NonExistentQueue"),
    })
    .await;
}
