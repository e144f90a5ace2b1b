//! The role `ingest`. The body of a message on the events queue is one event or an array of events,
//! as for `POST /e/{key}`. It may also be the rest of an earlier message that an invocation had no
//! time for.

use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::value::RawValue;
use stepladder_aws::{EventsMessage, MESSAGE_ID, SENT_AT};
use stepladder_core::{EventId, NewEvent, Timestamp, id};
use stepladder_engine::ports::StoreError;
use stepladder_engine::{IdSeed, PIECE, PieceLimits, RequestProgress, permanent};

use super::{LambdaProcess, invocation_deadline, records};

/// The delay before the rest of a message is processed after an error.
const ERROR_DELAY: Duration = Duration::from_secs(10);

pub(super) async fn serve(process: Arc<LambdaProcess>) -> Result<(), Error> {
    lambda_runtime::run(service_fn(move |event: LambdaEvent<SqsEvent>| {
        let (process, deadline) = (process.clone(), invocation_deadline(&event.context));
        async move {
            let work = |record| process_message(process.clone(), record, deadline);
            let answer = records::process_each(event.payload, |_| false, work).await;
            process.flush(&event.context).await;
            Ok::<_, Error>(answer)
        }
    }))
    .await
}

/// Ingests the events of a message. If the message is unreadable or none of its events could be
/// ingested, this fails: the queue delivers the message again until it becomes a dead letter. If
/// some events were ingested, the rest is sent as a new message, so that each invocation makes
/// progress.
async fn process_message(process: Arc<LambdaProcess>, record: SqsMessage, deadline: Timestamp) -> Result<(), String> {
    // if a message failed before, its events are ingested one by one
    let piece = if records::receive_count(&record) > 1 { 1 } else { PIECE };
    let within = PieceLimits { deadline, piece };
    match EventsMessage::parse(record.body.as_deref().unwrap_or_default()).inspect_err(|bad| log_unreadable(bad))? {
        EventsMessage::StoredEvents(events) => {
            let progress = process.engine.intake().apply_pieces(&events, within).await;
            let left = events[progress.applied..].to_vec();
            let Some(delay) = delay_of_rest(&progress, left.len())? else { return Ok(()) };
            process.aws.send_stored(left, delay).await.map_err(|e| e.to_string())
        }
        EventsMessage::Sent(body) => {
            let seed = message_seed(&record);
            // the events count as received when SQS received them, however late they are ingested
            let received_at = Some(seed.at).filter(|at| *at > Timestamp::default());
            ingest(&process, body, seed, received_at, within).await
        }
        EventsMessage::RemainingEvents { first, received_at, events } => {
            let seed = IdSeed { at: first.time(), random: first.random() };
            ingest(&process, &events, seed, Some(received_at), within).await
        }
    }
}

async fn ingest(
    process: &LambdaProcess,
    body: &str,
    seed: IdSeed,
    received_at: Option<Timestamp>,
    within: PieceLimits,
) -> Result<(), String> {
    let events =
        NewEvent::decode_all(body.as_bytes()).map_err(|bad| bad.to_string()).inspect_err(|bad| log_unreadable(bad))?;
    let n = events.len();
    let received_at = received_at.unwrap_or_else(|| process.engine.now());
    let progress = process.engine.intake().ingest_pieces(events, seed, Some(received_at), within).await;
    let progress = progress.map_err(|e| e.to_string())?;
    let Some(delay) = delay_of_rest(&progress, n - progress.applied)? else { return Ok(()) };
    let all: Vec<&RawValue> = serde_json::from_str(body).map_err(|e| e.to_string())?;
    let first = (0..progress.applied).fold(EventId::new(seed.at, seed.random), |id, _| id.next());
    process.aws.send_rest(&all[progress.applied..], first, received_at, delay).await.map_err(|e| e.to_string())
}

/// Logs that a message is unreadable, and that delivering it again cannot help.
fn log_unreadable(bad: &str) {
    records::log_failure("read events", StoreError::Unreadable(bad.into()));
}

/// Logs the progress of a message, and returns the delay for the rest of the message; `None` if
/// there is no rest.
fn delay_of_rest(progress: &RequestProgress, left: usize) -> Result<Option<Duration>, String> {
    let RequestProgress { applied, error } = progress;
    if let Some(error) = error {
        permanent::report_failure("ingest events", None, error);
    }
    let error = error.as_ref().map(ToString::to_string);
    if left == 0 {
        tracing::info!(events = applied, "events ingested");
        return Ok(None);
    }
    if *applied == 0 {
        return Err(error.unwrap_or_else(|| "the invocation had no time for the first event".into()));
    }
    tracing::warn!(events = applied, left, error, "events ingested; the rest is sent as a new message");
    Ok(Some(if error.is_some() { ERROR_DELAY } else { Duration::ZERO }))
}

/// Computes the seed for the ids of a message's events (rule 15). A repeated delivery has the same
/// seed. A redriven message keeps the id of its first message, and so has the same seed too.
fn message_seed(record: &SqsMessage) -> IdSeed {
    let first = records::record_attribute(record, MESSAGE_ID).or(record.message_id.as_deref()).unwrap_or_default();
    let sent_at = records::record_attribute(record, SENT_AT).and_then(|ms| ms.parse().ok()).map(Timestamp::from_millis);
    let at = sent_at.or_else(|| records::sent_at(record)).unwrap_or_default();
    // the last 16 bits number the events of the message, so that ids from two messages do not
    // collide
    IdSeed { at, random: id::hash(&[b"message", first.as_bytes()]) & !0xFFFF }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(json: serde_json::Value) -> SqsMessage {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_message_has_the_same_seed_at_each_delivery_and_after_a_redrive() {
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
        assert_eq!(message_seed(&again), message_seed(&first));
        assert_eq!(message_seed(&redriven), message_seed(&first));
        assert_ne!(message_seed(&other), message_seed(&first));
    }
}
