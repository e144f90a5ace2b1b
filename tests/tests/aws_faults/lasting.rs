//! Errors that no repetition can fix: a permission that is missing, a queue or a table that is gone, a key of KMS that is
//! disabled. The message fails, its receives are counted, and nothing is sent beside it.

use std::time::Duration;

use stepladder_core::Status;
use stepladder_tests::aws_faults::Fault;

use crate::functions::{Account, everything, everything_once, go};
use crate::stage::{Sdk, Stage};
use crate::wire::Call;

/// What a queue gives up after.
const RECEIVES: u32 = 5;

fn is_of_a_journal(call: &Call<'_>) -> bool {
    call.body["Item"]["SK"]["S"].as_str().is_some_and(|sk| sk.starts_with("J#"))
}

/// A run whose wake meets these faults: each receive fails. Afterwards the sweep finds the run, and it ends.
async fn fails_each_time(plan: impl Fn(&Call<'_>) -> Fault + Send + 'static) {
    let account = Account::default();
    let stage = Stage::new(Sdk::Retries, everything(&account)).await;
    let engine = stage.engine();
    let event = stage.send(&engine, &go(1)).await;
    stage.wire.plan(plan);
    for receives in 1..=RECEIVES {
        let mut deliveries = stage.look().await;
        assert_eq!(deliveries.len(), 1, "one message, and one only");
        let delivery = deliveries.remove(0);
        assert_eq!(delivery.receives, receives, "the queue counts");
        assert!(!stage.invoke(&engine, delivery).await, "the record is reported as failed");
        stage.advance(stage.config.visibility() + Duration::from_secs(1));
    }
    assert_eq!(account.of(1).values().sum::<u32>(), 0, "no body is executed whose outcome cannot be written");
    stage.wire.clear();
    stage.settle(|| engine.clone()).await;
    assert_eq!(stage.runs(event).await[0].summary.status, Status::Completed);
    assert_eq!(account.of(1), everything_once());
    stage.assert_journals().await;
}

#[tokio::test]
async fn a_permission_to_write_that_is_missing() {
    fails_each_time(|call| if is_of_a_journal(call) { Fault::Refuse("AccessDeniedException") } else { Fault::Pass })
        .await;
}

#[tokio::test]
async fn a_request_that_the_table_calls_invalid() {
    fails_each_time(|call| if is_of_a_journal(call) { Fault::Refuse("ValidationException") } else { Fault::Pass })
        .await;
}

#[tokio::test]
async fn a_table_that_is_gone() {
    fails_each_time(|call| match call.body.get("QueueUrl") {
        None => Fault::Refuse("ResourceNotFoundException"),
        Some(_) => Fault::Pass,
    })
    .await;
}

#[tokio::test]
async fn a_key_of_kms_that_is_disabled() {
    fails_each_time(|call| match call.operation {
        "Query" => Fault::Refuse("KMSDisabledException"),
        _ => Fault::Pass,
    })
    .await;
}

#[tokio::test]
async fn a_steps_queue_that_is_gone() {
    // nothing can be read at the moment either: the wake would be sent again, if there were a queue
    fails_each_time(|call| match call.body.get("QueueUrl") {
        None => Fault::Throttle,
        Some(_) => Fault::Refuse("AWS.SimpleQueueService.NonExistentQueue"),
    })
    .await;
}
