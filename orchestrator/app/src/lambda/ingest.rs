//! Ingest: the body of a message on the events queue is one event or an array of them, as `POST /e/{key}` takes it; or the
//! rest of such a message, which an invocation before had no time for.

use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::value::RawValue;
use stepladder_aws::{EventsMessage, MESSAGE_ID, SENT_AT};
use stepladder_core::{EventId, NewEvent, Timestamp, id};
use stepladder_engine::ports::StoreError;
use stepladder_engine::{IdSeed, PIECE, Progress, TimeLimit, permanent};

use super::{Process, deadline, records};

/// After an error, what is left is tried again after so long.
const PAUSE: Duration = Duration::from_secs(10);

pub(super) async fn serve(process: Arc<Process>) -> Result<(), Error> {
    lambda_runtime::run(service_fn(move |event: LambdaEvent<SqsEvent>| {
        let (process, deadline) = (process.clone(), deadline(&event.context));
        let work = move |record| take(process.clone(), record, deadline);
        async move { Ok::<_, Error>(records::each(event.payload, work).await) }
    }))
    .await
}

/// A message that holds no event comes again until the queue gives it to the dead letters: nothing is lost, and a person
/// sees it. So does one of which nothing could be done. Where a part was done, the rest is sent as a message of its own,
/// and so each invocation gets further.
async fn take(process: Arc<Process>, record: SqsMessage, deadline: Timestamp) -> Result<(), String> {
    // what did not get through the first time is done event by event
    let piece = if records::receives(&record) > 1 { 1 } else { PIECE };
    let within = TimeLimit { deadline, piece };
    match EventsMessage::read(record.body.as_deref().unwrap_or_default()).inspect_err(|bad| unreadable(bad))? {
        EventsMessage::Stored(events) => {
            let progress = process.engine.intake().apply_pieces(&events, within).await;
            let left = events[progress.applied..].to_vec();
            let Some(pause) = told(&progress, left.len())? else { return Ok(()) };
            process.aws.send_stored(left, pause).await.map_err(|e| e.to_string())
        }
        EventsMessage::Sent(body) => {
            let seed = seed(&record);
            // SQS received them, however late they are taken in
            let received_at = Some(seed.at).filter(|at| *at > Timestamp::default());
            ingest(&process, body, seed, received_at, within).await
        }
        EventsMessage::Rest { first, received_at, events } => {
            let seed = IdSeed { at: first.time(), random: first.random() };
            ingest(&process, &events, seed, Some(received_at), within).await
        }
    }
}

async fn ingest(
    process: &Process,
    body: &str,
    seed: IdSeed,
    received_at: Option<Timestamp>,
    within: TimeLimit,
) -> Result<(), String> {
    let events =
        NewEvent::decode_all(body.as_bytes()).map_err(|bad| bad.to_string()).inspect_err(|bad| unreadable(bad))?;
    let n = events.len();
    let received_at = received_at.unwrap_or_else(|| process.engine.now());
    let progress = process.engine.intake().ingest_pieces(events, seed, Some(received_at), within).await;
    let progress = progress.map_err(|e| e.to_string())?;
    let Some(pause) = told(&progress, n - progress.applied)? else { return Ok(()) };
    let all: Vec<&RawValue> = serde_json::from_str(body).map_err(|e| e.to_string())?;
    let first = (0..progress.applied).fold(EventId::new(seed.at, seed.random), |id, _| id.next());
    process.aws.send_rest(&all[progress.applied..], first, received_at, pause).await.map_err(|e| e.to_string())
}

/// A repetition does not turn an invalid message into an event.
fn unreadable(bad: &str) {
    records::report("read events", StoreError::Unreadable(bad.to_owned()));
}

/// Logs how far a message came and after which delay the rest follows. `None` means that there is no rest.
fn told(progress: &Progress, left: usize) -> Result<Option<Duration>, String> {
    let Progress { applied, error } = progress;
    if let Some(error) = error {
        permanent::report("take events in", None, error);
    }
    let error = error.as_ref().map(ToString::to_string);
    if left == 0 {
        tracing::info!(events = applied, "events taken in");
        return Ok(None);
    }
    if *applied == 0 {
        return Err(
            error.unwrap_or_else(|| "the invocation's time was over before the first event was taken in".into())
        );
    }
    tracing::warn!(events = applied, left, error, "events taken in; the rest comes as a message of its own");
    Ok(Some(if error.is_some() { PAUSE } else { Duration::ZERO }))
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
