//! The records of an SQS event. If a record fails or panics, only this record is reported as
//! failed.

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use futures::future::join_all;
use stepladder_core::Timestamp;
use stepladder_engine::permanent;
use stepladder_engine::ports::StoreError;

/// Processes all records concurrently, each in its own task, so that a panic fails only one record.
/// Then processes the records for which `is_alone` returns true, one after the other: if one of
/// them ends the process, it takes no other record along. The response names the failed records
/// (`ReportBatchItemFailures`), which the queue delivers again.
pub(super) async fn process_each<F, Fut>(
    event: SqsEvent,
    is_alone: impl Fn(&SqsMessage) -> bool,
    work: F,
) -> SqsBatchResponse
where
    F: Fn(SqsMessage) -> Fut,
    Fut: Future<Output = Result<(), String>> + Send + 'static,
{
    let (alone, together): (Vec<_>, Vec<_>) = event.records.into_iter().partition(is_alone);
    let together = join_all(together.into_iter().map(|record| process(record, &work))).await;
    let mut failures: Vec<_> = together.into_iter().flatten().collect();
    for record in alone {
        failures.extend(process(record, &work).await);
    }
    let mut answer = SqsBatchResponse::default();
    answer.batch_item_failures = failures;
    answer
}

/// Processes a record in a task, which starts at this call. Returns the record's id if it fails.
fn process<F, Fut>(record: SqsMessage, work: &F) -> impl Future<Output = Option<BatchItemFailure>> + use<F, Fut>
where
    F: Fn(SqsMessage) -> Fut,
    Fut: Future<Output = Result<(), String>> + Send + 'static,
{
    let id = record.message_id.clone().unwrap_or_default();
    let task = tokio::spawn(work(record));
    async move {
        match task.await {
            Ok(Ok(())) => return None,
            // a permanent error was already logged at the level ERROR, with advice
            Ok(Err(error)) => {
                tracing::warn!(message_id = id, error, "a record failed; the queue delivers it again");
            }
            Err(panic) => {
                tracing::error!(message_id = id, %panic, "a record panicked; the queue delivers it again");
            }
        }
        let mut failure = BatchItemFailure::default();
        failure.item_identifier = id;
        Some(failure)
    }
}

/// Reports an error that no retry can fix. The record fails until the queue makes it a dead letter.
pub(super) fn log_failure(doing: &str, error: StoreError) {
    permanent::report_failure(doing, None, &error);
}

/// Returns how often the record was delivered, including this delivery.
pub(super) fn receive_count(record: &SqsMessage) -> u32 {
    record.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok()).unwrap_or(1)
}

/// Returns when the message was sent.
pub(super) fn sent_at(record: &SqsMessage) -> Option<Timestamp> {
    let sent = record.attributes.get("SentTimestamp").and_then(|ms| ms.parse().ok());
    sent.map(Timestamp::from_millis)
}

/// Returns a string attribute of the message.
pub(super) fn record_attribute<'a>(record: &'a SqsMessage, name: &str) -> Option<&'a str> {
    record.message_attributes.get(name).and_then(|attribute| attribute.string_value.as_deref())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn records_together_wait_for_each_other_and_those_alone_come_after_them() {
        let together = Arc::new(tokio::sync::Barrier::new(2));
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let is_alone = |record: &SqsMessage| record.body.as_deref().is_some_and(|body| body.starts_with("alone"));
        let answer = process_each(batch_event(&["alone 1", "a", "alone 2", "b"]), is_alone, |record| {
            let (together, log) = (together.clone(), log.clone());
            async move {
                let body = record.body.unwrap_or_default();
                if !body.starts_with("alone") {
                    // passes only if both records are processed at the same time
                    together.wait().await;
                }
                log.lock().unwrap().push(format!("{body} begins"));
                tokio::task::yield_now().await;
                log.lock().unwrap().push(format!("{body} ends"));
                if body == "alone 1" { Err("no".to_owned()) } else { Ok(()) }
            }
        })
        .await;
        let failed: Vec<_> = answer.batch_item_failures.iter().map(|f| f.item_identifier.as_str()).collect();
        assert_eq!(failed, ["m-alone 1"]);
        let expected = ["alone 1 begins", "alone 1 ends", "alone 2 begins", "alone 2 ends"];
        assert_eq!(log.lock().unwrap()[4..], expected);
    }

    fn batch_event(bodies: &[&str]) -> SqsEvent {
        let record = |body: &&str| serde_json::json!({"messageId": format!("m-{body}"), "body": body});
        serde_json::from_value(serde_json::json!({"Records": bodies.iter().map(record).collect::<Vec<_>>()})).unwrap()
    }

    #[tokio::test]
    async fn a_record_that_fails_or_panics_is_reported_and_the_others_succeed() {
        let none = |_: &SqsMessage| false;
        let answer = process_each(batch_event(&["good", "bad", "panic", "fine"]), none, |record| async move {
            match record.body.as_deref() {
                Some("bad") => Err("no".to_owned()),
                Some("panic") => panic!("on purpose"),
                Some(_) | None => Ok(()),
            }
        })
        .await;
        let failed: Vec<_> = answer.batch_item_failures.iter().map(|f| f.item_identifier.as_str()).collect();
        assert_eq!(failed, ["m-bad", "m-panic"]);
        assert_eq!(serde_json::to_value(&answer).unwrap()["batchItemFailures"][0]["itemIdentifier"], "m-bad");
    }
}
