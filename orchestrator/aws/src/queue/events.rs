//! Messages on the events queue for work that an invocation did not finish. The body of a message
//! contains the ids of the events. So a repeated delivery, or a dead letter that is moved back,
//! concerns the same events.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use stepladder_core::{EventId, Timestamp};
use stepladder_engine::ports::{StoreError, StoreResult};

use super::message::group_id;
use crate::Aws;
use crate::error::request_error;

/// The maximum total size of the events in one message, in bytes. SQS accepts 1 MiB, which includes
/// the other fields.
const MAX_EVENTS_BYTES: usize = 1_000_000;

/// The content of a message on the events queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventsMessage<'a> {
    /// Events in the form in which the sender sent them: one event, or an array.
    Sent(&'a str),
    /// The remaining events of a larger request.
    RemainingEvents {
        /// The id of the first event. The other events have the consecutive ids.
        first: EventId,
        /// When the request was received.
        received_at: Timestamp,
        /// A JSON array of events.
        events: String,
    },
    /// Events that are stored but have not started their runs yet.
    StoredEvents(Vec<EventId>),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RemainingEventsBody<'a> {
    #[serde(rename = "stepladder/rest")]
    first: EventId,
    received_at: Timestamp,
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredEventsBody {
    #[serde(rename = "stepladder/stored")]
    events: Vec<EventId>,
}

impl<'a> EventsMessage<'a> {
    /// Parses the body of a message. Does not check whether the events can be accepted.
    ///
    /// # Errors
    /// A sentence, if the body looks like a message of Stepladder but is invalid.
    pub fn parse(body: &'a str) -> Result<Self, String> {
        let invalid = |e: serde_json::Error| format!("not a message of Stepladder: {e}");
        if body.starts_with(r#"{"stepladder/rest""#) {
            let RemainingEventsBody { first, received_at, events } = serde_json::from_str(body).map_err(invalid)?;
            let events = serde_json::to_string(&events).map_err(invalid)?;
            return Ok(Self::RemainingEvents { first, received_at, events });
        }
        if body.starts_with(r#"{"stepladder/stored""#) {
            let StoredEventsBody { events } = serde_json::from_str(body).map_err(invalid)?;
            return Ok(Self::StoredEvents(events));
        }
        Ok(Self::Sent(body))
    }
}

impl Aws {
    /// Sends the remaining events of a request as messages. `first` is the id of the first of these
    /// events.
    ///
    /// # Errors
    /// The queue does not accept all messages. Some may have been sent; sending them again is
    /// harmless.
    pub async fn send_rest(
        &self,
        mut events: &[&RawValue],
        mut first: EventId,
        received_at: Timestamp,
        delay: Duration,
    ) -> StoreResult<()> {
        while !events.is_empty() {
            let mut bytes = 0;
            let fitting = events.iter().take_while(|event| {
                bytes += event.get().len() + 1;
                bytes <= MAX_EVENTS_BYTES
            });
            let n = fitting.count().max(1);
            let rest = RemainingEventsBody { first, received_at, events: events[..n].to_vec() };
            self.send_events(&rest, delay).await?;
            events = &events[n..];
            first = (0..n).fold(first, |id, _| id.next());
        }
        Ok(())
    }

    /// Sends a message that makes stored events start their runs after the delay.
    ///
    /// # Errors
    /// The queue does not accept the message.
    pub async fn send_stored(&self, events: Vec<EventId>, delay: Duration) -> StoreResult<()> {
        self.send_events(&StoredEventsBody { events }, delay).await
    }

    async fn send_events(&self, body: &impl Serialize, delay: Duration) -> StoreResult<()> {
        let Some(queue) = self.queues.events.as_deref() else {
            return Err(StoreError::Unreadable("STEPLADDER_EVENTS_QUEUE_URL is not set; template.yaml sets it".into()));
        };
        let body = serde_json::to_string(body).map_err(StoreError::unreadable)?;
        let request = self.sqs.send_message().queue_url(queue).message_body(body).message_group_id(group_id("rest"));
        let request = request.delay_seconds(i32::try_from(delay.as_secs()).unwrap_or(900));
        request.send().await.map(drop).map_err(|e| request_error("SendMessage", e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_parsed_as_they_were_written() {
        let first = EventId::new(Timestamp::from_millis(5), 7);
        let raw = [r#"{"name":"a","data":{"n":1.50}}"#, r#"{"name":"b"}"#]
            .map(|text| RawValue::from_string(text.into()).unwrap());
        let events = raw.iter().map(|raw| &**raw).collect();
        let body =
            serde_json::to_string(&RemainingEventsBody { first, received_at: Timestamp::from_millis(9), events })
                .unwrap();
        let EventsMessage::RemainingEvents { first: id, received_at, events } = EventsMessage::parse(&body).unwrap()
        else {
            panic!("{body}")
        };
        assert_eq!((id, received_at.as_millis()), (first, 9));
        assert_eq!(events, r#"[{"name":"a","data":{"n":1.50}},{"name":"b"}]"#);
        let body = serde_json::to_string(&StoredEventsBody { events: vec![first] }).unwrap();
        assert_eq!(EventsMessage::parse(&body), Ok(EventsMessage::StoredEvents(vec![first])));
    }

    #[test]
    fn a_body_that_is_not_ours_is_an_event_of_a_sender() {
        for body in [r#"{"name":"a"}"#, "[]", "nonsense", ""] {
            assert_eq!(EventsMessage::parse(body), Ok(EventsMessage::Sent(body)));
        }
        for body in [r#"{"stepladder/rest":"x"}"#, r#"{"stepladder/stored":["x"]}"#, r#"{"stepladder/stored""#] {
            assert!(EventsMessage::parse(body).unwrap_err().starts_with("not a message of Stepladder"));
        }
    }
}
