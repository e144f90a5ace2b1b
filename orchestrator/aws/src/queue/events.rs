//! Messages on the events queue that carry what an invocation left undone. Their bodies say under which ids their events
//! are known, so that a delivery, a repetition and a dead letter that is moved back are about the same events.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use stepladder_core::{EventId, Timestamp};
use stepladder_engine::ports::{StoreError, StoreResult};

use super::message::group;
use crate::Aws;
use crate::fault::unavailable;

/// Bytes of events in one message: SQS takes 1 MiB, and the frame of the rest needs a few of them.
const MESSAGE_BYTES: usize = 1_000_000;

/// What a message of the events queue holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventsMessage<'a> {
    /// Events as their sender wrote them: one, or an array.
    Sent(&'a str),
    /// The rest of another message.
    Rest {
        /// The id of its first event; those of the others follow it.
        first: EventId,
        /// When all of them were received.
        received_at: Timestamp,
        /// A JSON array of events.
        events: String,
    },
    /// Events that are stored and not applied yet.
    Stored(Vec<EventId>),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rest<'a> {
    #[serde(rename = "stepladder/rest")]
    first: EventId,
    received_at: Timestamp,
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    #[serde(rename = "stepladder/stored")]
    events: Vec<EventId>,
}

impl<'a> EventsMessage<'a> {
    /// Reads a message's body. Whether the events in it can be accepted is not looked at.
    ///
    /// # Errors
    /// When it begins as one of ours and goes on otherwise; says where.
    pub fn read(body: &'a str) -> Result<Self, String> {
        let bad = |e: serde_json::Error| format!("not a message of Stepladder: {e}");
        if body.starts_with(r#"{"stepladder/rest""#) {
            let Rest { first, received_at, events } = serde_json::from_str(body).map_err(bad)?;
            let events = serde_json::to_string(&events).map_err(bad)?;
            return Ok(Self::Rest { first, received_at, events });
        }
        if body.starts_with(r#"{"stepladder/stored""#) {
            let Stored { events } = serde_json::from_str(body).map_err(bad)?;
            return Ok(Self::Stored(events));
        }
        Ok(Self::Sent(body))
    }
}

impl Aws {
    /// Sends the rest of a request, as messages of its own: these events, of which the first one has this id.
    ///
    /// # Errors
    /// When the queue does not take them all. Some may be sent; sending them again harms nothing.
    pub async fn send_rest(
        &self,
        mut events: &[&RawValue],
        mut first: EventId,
        received_at: Timestamp,
        delay: Duration,
    ) -> StoreResult<()> {
        while !events.is_empty() {
            let mut bytes = 0;
            let fits = events.iter().take_while(|event| {
                bytes += event.get().len() + 1;
                bytes <= MESSAGE_BYTES
            });
            let n = fits.count().max(1);
            let rest = Rest { first, received_at, events: events[..n].to_vec() };
            self.send_events(&rest, delay).await?;
            events = &events[n..];
            first = (0..n).fold(first, |id, _| id.next());
        }
        Ok(())
    }

    /// Leaves stored events to a message, which applies them after the delay.
    ///
    /// # Errors
    /// When the queue does not take it.
    pub async fn send_stored(&self, events: Vec<EventId>, delay: Duration) -> StoreResult<()> {
        self.send_events(&Stored { events }, delay).await
    }

    async fn send_events(&self, body: &impl Serialize, delay: Duration) -> StoreResult<()> {
        let Some(queue) = self.queues.events.as_deref() else {
            return Err(StoreError::Unreadable("STEPLADDER_EVENTS_QUEUE_URL is not set; template.yaml sets it".into()));
        };
        let body = serde_json::to_string(body).map_err(|e| StoreError::Unreadable(e.to_string()))?;
        let request = self.sqs.send_message().queue_url(queue).message_body(body).message_group_id(group("rest"));
        let request = request.delay_seconds(i32::try_from(delay.as_secs()).unwrap_or(900));
        request.send().await.map(drop).map_err(|e| unavailable("SendMessage", &e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_is_read_as_it_was_written() {
        let first = EventId::new(Timestamp::from_millis(5), 7);
        let raw = [r#"{"name":"a","data":{"n":1.50}}"#, r#"{"name":"b"}"#]
            .map(|text| RawValue::from_string(text.into()).unwrap());
        let events = raw.iter().map(|raw| &**raw).collect();
        let body = serde_json::to_string(&Rest { first, received_at: Timestamp::from_millis(9), events }).unwrap();
        let EventsMessage::Rest { first: id, received_at, events } = EventsMessage::read(&body).unwrap() else {
            panic!("{body}")
        };
        assert_eq!((id, received_at.as_millis()), (first, 9));
        assert_eq!(events, r#"[{"name":"a","data":{"n":1.50}},{"name":"b"}]"#);
        let body = serde_json::to_string(&Stored { events: vec![first] }).unwrap();
        assert_eq!(EventsMessage::read(&body), Ok(EventsMessage::Stored(vec![first])));
    }

    #[test]
    fn what_a_sender_wrote_is_left_as_it_is() {
        for body in [r#"{"name":"a"}"#, "[]", "nonsense", ""] {
            assert_eq!(EventsMessage::read(body), Ok(EventsMessage::Sent(body)));
        }
        for body in [r#"{"stepladder/rest":"x"}"#, r#"{"stepladder/stored":["x"]}"#, r#"{"stepladder/stored""#] {
            assert!(EventsMessage::read(body).unwrap_err().starts_with("not a message of Stepladder"));
        }
    }
}
