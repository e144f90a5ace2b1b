//! Events: what a user sends, as it comes in and as it is kept.

use std::fmt::Display;
use std::sync::Arc;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::json::{self, Json};
use crate::limits::{AHEAD_MS, EVENT_BYTES, EVENTS_PER_REQUEST, REQUEST_BYTES, name_problem};
use crate::sentence::shortened;
use crate::system::reserved_prefix;
use crate::{EventId, Timestamp};

/// An event as its sender wrote it, checked.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// What happened: `client/enhance.requested`.
    pub name: Arc<str>,
    /// A JSON object.
    pub data: Json,
    /// The sender's id: a second event with it, within 24 hours, is the same event.
    pub id: Option<Arc<str>>,
    /// When it happened, if the sender says.
    pub ts: Option<Timestamp>,
    /// Whom it is about; a JSON object.
    pub user: Option<Json>,
}

/// An accepted event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Given by the engine.
    pub id: EventId,
    /// What happened.
    pub name: Arc<str>,
    /// A JSON object.
    pub data: Json,
    /// When it happened: the sender's word, else when it was received.
    pub ts: Timestamp,
    /// Whom it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Json>,
    /// The sender's own id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<Arc<str>>,
    /// When it was accepted.
    pub received_at: Timestamp,
}

/// Why a body or an event in it is refused. Says what to mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// Not the JSON that is expected; has the place.
    #[error("{0}")]
    Malformed(String),
    /// Past a limit.
    #[error("{0}")]
    TooLarge(String),
}

impl Event {
    /// When its runs begin, where its `ts` is so far after its reception that it means a later moment and not a sender's
    /// clock ([`AHEAD_MS`]).
    pub fn starts_not_before(&self) -> Option<Timestamp> {
        (self.ts.as_millis() > self.received_at.as_millis().saturating_add(AHEAD_MS)).then_some(self.ts)
    }

    /// Whether it came before another event (rule 31): in the same request, or at an earlier time. A repetition keeps the
    /// id and the time of the first. Across requests ids say little, because a sender or a run chooses them; but an id
    /// of a later time than the other's reception shows that this machine's clock was set back.
    pub fn came_before(&self, other: &Self) -> bool {
        match self.id.is_of_one_sequence(other.id) {
            true => self.id < other.id,
            false => self.received_at < other.received_at && self.id.time() <= other.received_at,
        }
    }

    /// Bytes of what its sender wrote into it: `data` and `user`.
    pub fn bytes(&self) -> usize {
        self.data.get().len() + self.user.as_ref().map_or(0, |user| user.get().len())
    }
}

impl NewEvent {
    /// An event of this name and data, without an id.
    pub fn new(name: impl Into<Arc<str>>, data: Json) -> Self {
        Self { name: name.into(), data, id: None, ts: None, user: None }
    }

    /// Sets the sender's id: a second event with it, within 24 hours, is the same event.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets when the event happened. Runs of an event that is more than a minute ahead start at this time.
    #[must_use]
    pub fn with_ts(mut self, ts: impl Into<Timestamp>) -> Self {
        self.ts = Some(ts.into());
        self
    }

    /// Sets the user whom the event is about: a JSON object.
    #[must_use]
    pub fn with_user(mut self, user: Json) -> Self {
        self.user = Some(user);
        self
    }

    /// Reads a request's body: one event or an array. One bad event refuses them all.
    ///
    /// # Errors
    /// [`EventError`] with the place and what is wrong there.
    pub fn decode_all(body: &[u8]) -> Result<Vec<NewEvent>, EventError> {
        let text = std::str::from_utf8(body)
            .map_err(|e| malformed(format_args!("the body is not UTF-8 at byte {}", e.valid_up_to())))?;
        json::check(text).map_err(|unfit| malformed(format_args!("the body {unfit}")))?;
        if !text.trim_start().starts_with('[') {
            return Ok(vec![Self::decode("the event", text)?]);
        }
        let elements: Vec<&RawValue> =
            serde_json::from_str(text).map_err(|e| malformed(format_args!("the body is not valid JSON: {e}")))?;
        if elements.len() > EVENTS_PER_REQUEST {
            return Err(EventError::TooLarge(format!(
                "the request has {} events; at most {EVENTS_PER_REQUEST} are allowed, send the rest in further requests",
                elements.len()
            )));
        }
        elements.iter().enumerate().map(|(i, e)| Self::decode(&format!("event {i}"), e.get())).collect()
    }

    fn decode(place: &str, text: &str) -> Result<Self, EventError> {
        // what is misspelt would be lost in silence: an event whose `dta` is ignored starts a run without its data
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Incoming {
            name: String,
            #[serde(default)]
            data: Option<Box<RawValue>>,
            #[serde(default)]
            id: Option<String>,
            #[serde(default)]
            ts: Option<i64>,
            #[serde(default)]
            user: Option<Box<RawValue>>,
            /// The version of the event's schema, which Inngest's clients may send. It is not kept.
            #[serde(default, rename = "v")]
            _version: Option<IgnoredAny>,
            /// What Inngest's clients send of sessions. It is not kept.
            #[serde(default, rename = "meta")]
            _meta: Option<IgnoredAny>,
        }
        if text.len() > EVENT_BYTES {
            return Err(EventError::TooLarge(format!(
                "{place} has {} bytes; at most {EVENT_BYTES} are allowed: store large values elsewhere and send a reference",
                text.len()
            )));
        }
        if !text.trim_start().starts_with('{') {
            return Err(malformed(format_args!("{place} is not a JSON object with at least a `name`")));
        }
        let incoming: Incoming =
            serde_json::from_str(text).map_err(|e| malformed(format_args!("{place} is not a valid event: {e}")))?;
        let event = Self {
            name: incoming.name.into(),
            data: incoming.data.map_or_else(json::empty_object, Into::into),
            // an empty id is how some clients say "none"
            id: incoming.id.filter(|id| !id.is_empty()).map(Into::into),
            // a zero is how some clients say "now"
            ts: incoming.ts.filter(|ts| *ts != 0).map(Timestamp::from_millis),
            user: incoming.user.map(Into::into),
        };
        // the whole body was checked: depth, NUL characters, halves of pairs
        match event.problem_besides_texts() {
            Some(fault) => Err(malformed(format_args!("{place}: {fault}"))),
            None => Ok(event),
        }
    }

    /// What is wrong with this event as a sentence; `None` when it can be accepted. Every event has the same limits,
    /// whether it comes by HTTP, by queue or from a function: size, depth, NUL characters, halves of surrogate pairs.
    pub fn problem(&self) -> Option<String> {
        self.problem_besides_texts().or_else(|| {
            if self.bytes() > EVENT_BYTES {
                return Some(too_large(self.bytes()));
            }
            let user = self.user.as_deref().and_then(|user| json::check_within(user.get(), 1).err());
            let data = json::check_within(self.data.get(), 1).err();
            data.map(|unfit| format!("`data` {unfit}")).or_else(|| user.map(|unfit| format!("`user` {unfit}")))
        })
    }

    /// Bytes of what its sender wrote into it.
    fn bytes(&self) -> usize {
        let texts = self.name.len() + self.id.as_ref().map_or(0, |id| id.len());
        texts + self.data.get().len() + self.user.as_ref().map_or(0, |user| user.get().len())
    }

    fn problem_besides_texts(&self) -> Option<String> {
        if let Some(fault) = name_problem(&self.name) {
            return Some(format!("`name` {fault}"));
        }
        if let Some(prefix) = reserved_prefix(&self.name) {
            return Some(format!("names that start with `{prefix}` are reserved; choose another `name`"));
        }
        if let Some(fault) = self.id.as_deref().and_then(name_problem) {
            return Some(format!("`id` {fault}"));
        }
        if !json::is_object(&self.data) {
            return Some("`data` must be a JSON object".into());
        }
        if self.user.as_deref().is_some_and(|user| !json::is_object(user)) {
            return Some("`user` must be a JSON object".into());
        }
        let range = 0..=Timestamp::MAX.as_millis();
        if self.ts.is_some_and(|ts| !range.contains(&ts.as_millis())) {
            return Some("`ts` must be milliseconds since 1970, before the year 10000".into());
        }
        None
    }

    /// The accepted event.
    pub fn accept(self, id: EventId, now: Timestamp) -> Event {
        Event {
            id,
            name: self.name,
            data: self.data,
            ts: self.ts.unwrap_or(now),
            user: self.user,
            external_id: self.id,
            received_at: now,
        }
    }
}

/// What is wrong with the data of an event, as the end of a sentence that begins with its name; `None` when nothing is.
pub fn data_problem(data: &RawValue) -> Option<String> {
    if !json::is_object(data) {
        return Some("must be a JSON object".into());
    }
    if data.get().len() > EVENT_BYTES {
        return Some(too_large(data.get().len()));
    }
    json::check_within(data.get(), 1).err().map(|unfit| unfit.to_string())
}

/// What is wrong with events that a function sends together, as a sentence; `None` when they can be accepted.
pub fn problem_of_all(events: &[NewEvent]) -> Option<String> {
    if events.len() > EVENTS_PER_REQUEST {
        let n = events.len();
        return Some(format!("{n} events; at most {EVENTS_PER_REQUEST} are allowed, send the rest in a further step"));
    }
    let bytes: usize = events.iter().map(NewEvent::bytes).sum();
    if bytes > REQUEST_BYTES {
        return Some(format!(
            "events of {bytes} bytes; at most {REQUEST_BYTES} are allowed, send the rest in a further step"
        ));
    }
    events
        .iter()
        .find_map(|event| event.problem().map(|fault| format!("the event `{}`: {fault}", shortened(&event.name))))
}

fn too_large(bytes: usize) -> String {
    format!("has {bytes} bytes; at most {EVENT_BYTES} are allowed: store large values elsewhere and send a reference")
}

/// A decoder quotes what it cannot use, which may be as long as the body.
fn malformed(message: impl Display) -> EventError {
    EventError::Malformed(shortened(message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sentence::SENTENCE_BYTES;

    fn refused(body: &str) -> String {
        NewEvent::decode_all(body.as_bytes()).expect_err("refused").to_string()
    }

    #[test]
    fn what_came_first_is_told_by_the_id_in_a_request_and_by_both_between_requests() {
        let event = |id: (i64, u128), received: i64| {
            let id = EventId::new(Timestamp::from_millis(id.0), id.1);
            NewEvent::new("a", json::empty_object()).accept(id, Timestamp::from_millis(received))
        };
        let before = |one: &Event, other: &Event| (one.came_before(other), other.came_before(one));
        // one request
        assert_eq!(before(&event((5, 1), 5), &event((5, 2), 5)), (true, false));
        // one after the other
        assert_eq!(before(&event((5, 1 << 70), 5), &event((6, 1), 6)), (true, false));
        // two processes in one millisecond: nothing says which was first
        assert_eq!(before(&event((5, 1), 5), &event((5, 1 << 70), 5)), (false, false));
        // a sender whose clock is ahead, and a clock that was set back
        assert_eq!(before(&event((500, 1), 5), &event((6, 1), 6)), (false, false));
        assert_eq!(before(&event((900, 1), 900), &event((1_000, 9), 5)), (false, false));
        // sent by a run: the time in the id is that of the run's creation
        assert_eq!(before(&event((10, 1), 10), &event((1, 1 << 70), 20)), (true, false));
        let one = event((5, 1), 5);
        assert!(!one.came_before(&one));
    }

    #[test]
    fn one_event_or_an_array_is_read() {
        let one = br#" {"name":"a/b","data":{"x":1},"id":"k","ts":5,"v":"1","meta":{"sessions":{"s":"1"}}}"#;
        let one = NewEvent::decode_all(one).unwrap();
        assert_eq!((one.len(), &*one[0].name, one[0].data.get()), (1, "a/b", r#"{"x":1}"#));
        assert_eq!((one[0].id.as_deref(), one[0].ts), (Some("k"), Some(Timestamp::from_millis(5))));
        let two = NewEvent::decode_all(br#"[{"name":"a"},{"name":"b","data":null}]"#).unwrap();
        assert_eq!(two.iter().map(|e| e.data.get()).collect::<Vec<_>>(), ["{}", "{}"]);
        assert_eq!(NewEvent::decode_all(b"[]").unwrap().len(), 0);
    }

    #[test]
    fn a_refusal_names_the_place_and_the_fault() {
        assert!(refused("{").contains("not a valid event"));
        assert!(refused("").contains("not a JSON object"));
        assert!(refused("7").contains("not a JSON object"));
        assert!(refused(r#"[{"name":"a"},{"name":5}]"#).starts_with("event 1 is not a valid event: invalid type"));
        assert!(refused(r#"[{"name":"a"}, 3]"#).starts_with("event 1 is not a JSON object"));
        assert!(refused(r#"{"data":{}}"#).contains("missing field `name`"));
        assert!(refused(r#"{"name":"a","dta":{}}"#).contains("unknown field `dta`"));
        assert!(
            refused(r#"[{"name":"a"},{"name":"b","Id":"k"}]"#)
                .starts_with("event 1 is not a valid event: unknown field `Id`")
        );
        assert!(refused(r#"{"name":"a","v":1,"v":2}"#).contains("duplicate field `v`"));
        assert!(refused(r#"{"name":"a","data":[1]}"#).contains("`data` must be a JSON object"));
        assert!(refused(r#"{"name":"a","data":"{}"}"#).contains("`data` must be a JSON object"));
        assert!(refused(r#"{"name":"inngest/x"}"#).contains("reserved"));
        assert!(refused(r#"{"name":""}"#).contains("`name` is empty"));
        assert!(refused(r#"{"name":"a","ts":-1}"#).contains("`ts`"));
        assert!(refused(r#"{"name":"a","ts":1.5}"#).contains("invalid type"));
        assert!(refused(&format!(r#"{{"name":"{}"}}"#, "x".repeat(256))).contains("256 characters"));
        assert!(refused(r#"{"name":"a","data":{"b":"\u0000"}}"#).contains("NUL"));
        assert!(refused(&"[".repeat(200)).contains("levels deep"));
    }

    #[test]
    fn a_refusal_does_not_grow_with_what_it_quotes() {
        let long = "\u{feff}".repeat(100_000);
        for body in [
            format!(r#"{{"name":"a","ts":"{long}"}}"#),
            format!(r#"{{"name":"a","id":{{"{long}":1}}}}"#),
            format!(r#"{{"name":["{long}"]}}"#),
        ] {
            assert!(refused(&body).len() <= SENTENCE_BYTES + '…'.len_utf8());
        }
    }

    #[test]
    fn sizes_are_bounded() {
        let data = "x".repeat(EVENT_BYTES);
        let body = format!(r#"{{"name":"a","data":{{"x":"{data}"}}}}"#);
        assert!(matches!(NewEvent::decode_all(body.as_bytes()), Err(EventError::TooLarge(_))));
        let many = format!("[{}]", vec![r#"{"name":"a"}"#; EVENTS_PER_REQUEST + 1].join(","));
        assert!(matches!(NewEvent::decode_all(many.as_bytes()), Err(EventError::TooLarge(_))));
    }
}
