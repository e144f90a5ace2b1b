//! Ingest: the body of a message on the events queue is one event or an array of them, as `POST /e/{key}` takes it.

use std::sync::Arc;

use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use stepladder_aws::{MESSAGE_ID, SENT_AT};
use stepladder_core::{NewEvent, Timestamp, id};
use stepladder_engine::ports::StoreError;
use stepladder_engine::{IdSeed, permanent};

use super::{Process, records};

pub(super) async fn serve(process: Arc<Process>) -> Result<(), Error> {
    lambda_runtime::run(service_fn(move |event: LambdaEvent<SqsEvent>| {
        let process = process.clone();
        async move { Ok::<_, Error>(records::each(event.payload, |record| take(process.clone(), record)).await) }
    }))
    .await
}

/// A message that holds no event comes again until the queue gives it to the dead letters: nothing is lost, and a person
/// sees it.
async fn take(process: Arc<Process>, record: SqsMessage) -> Result<(), String> {
    let body = record.body.as_deref().unwrap_or_default();
    let events = NewEvent::decode_all(body.as_bytes()).map_err(|bad| bad.to_string());
    let events = events.inspect_err(|bad| records::report("read events", StoreError::Unreadable(bad.clone())))?;
    let (seed, n) = (seed(&record), events.len());
    let ids = process.engine.ingest(events, Some(seed)).await.map_err(|error| {
        permanent::report_engine("take events in", &error);
        error.to_string()
    })?;
    tracing::info!(events = n, first = ids.first().map(tracing::field::display), "events taken in");
    Ok(())
}

/// Events without an id of their own take the message's and their place in it (rule 15): delivered again, they are the
/// same events. A dead letter that was moved back still says what its first message was.
fn seed(record: &SqsMessage) -> IdSeed {
    let first = records::attribute(record, MESSAGE_ID).or(record.message_id.as_deref()).unwrap_or_default();
    let sent_at = records::attribute(record, SENT_AT).and_then(|ms| ms.parse().ok()).map(Timestamp::from_millis);
    let at = sent_at.or_else(|| records::sent_at(record)).unwrap_or_default();
    // the last 16 bits count the events of the message, so that no two messages' ids meet
    IdSeed { at, random: id::hash(&[b"message", first.as_bytes()]) & !0xFFFF }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(json: serde_json::Value) -> SqsMessage {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_message_gives_its_events_the_same_ids_each_time_and_after_a_redrive() {
        let first = record(serde_json::json!({
            "messageId": "m1", "receiptHandle": "a", "attributes": {"SentTimestamp": "1700000000000"}
        }));
        let again = record(serde_json::json!({
            "messageId": "m1", "receiptHandle": "b", "attributes": {"SentTimestamp": "1700000000000"}
        }));
        let redriven = record(serde_json::json!({
            "messageId": "m2", "attributes": {"SentTimestamp": "1800000000000"},
            "messageAttributes": {
                "stepladder-message-id": {"stringValue": "m1", "dataType": "String"},
                "stepladder-sent-at": {"stringValue": "1700000000000", "dataType": "String"}
            }
        }));
        let other = record(serde_json::json!({"messageId": "m2", "attributes": {"SentTimestamp": "1700000000000"}}));
        assert_eq!(seed(&again), seed(&first));
        assert_eq!(seed(&redriven), seed(&first));
        assert_ne!(seed(&other), seed(&first));
    }
}
