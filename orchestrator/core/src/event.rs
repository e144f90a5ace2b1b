//! Events: as a sender submits them ([`NewEvent`]) and as the engine stores them ([`Event`]).

use std::fmt::Display;
use std::sync::Arc;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::json::{self, Json};
use crate::limits::{AHEAD_MS, EVENT_BYTES, EVENTS_PER_REQUEST, REQUEST_BYTES, name_problem};
use crate::sentence::shortened;
use crate::system::reserved_prefix;
use crate::trace::{InvalidTrace, TraceContext};
use crate::{EventId, Timestamp};

/// An event as its sender wrote it, before the engine accepts it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewEvent {
    /// The event's name, for example `client/enhance.requested`.
    pub name: Arc<str>,
    /// The payload: a JSON object.
    pub data: Json,
    /// The id given by the sender. A second event with the same id within 24 hours is treated as a
    /// duplicate.
    pub id: Option<Arc<str>>,
    /// When the event happened; `None` if the sender gave no time.
    pub ts: Option<Timestamp>,
    /// The user that the event is about: a JSON object.
    pub user: Option<Json>,
    /// The span of the sender, which the runs of the event continue.
    pub trace: Option<Arc<TraceContext>>,
}

/// An accepted event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// The id that the engine gave the event.
    pub id: EventId,
    /// The event's name.
    pub name: Arc<str>,
    /// The payload: a JSON object.
    pub data: Json,
    /// When the event happened: the sender's time, or the time of reception if the sender gave
    /// none.
    pub ts: Timestamp,
    /// The user that the event is about: a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Json>,
    /// The id given by the sender, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<Arc<str>>,
    /// When the engine accepted the event.
    pub received_at: Timestamp,
    /// The span of the sender, which the runs of the event continue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Arc<TraceContext>>,
}

/// Why a request body, or an event in it, was refused. The message says what to correct.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// The body is not the expected JSON. The message contains the position.
    #[error("{0}")]
    Malformed(String),
    /// The body or an event exceeds a limit.
    #[error("{0}")]
    TooLarge(String),
}

impl Event {
    /// Returns the earliest start of the event's runs if its `ts` is a planned start time.
    ///
    /// A `ts` at most [`AHEAD_MS`] after the reception is treated as a clock difference; then this
    /// returns `None`.
    pub fn starts_not_before(&self) -> Option<Timestamp> {
        (self.ts.as_millis() > self.received_at.as_millis().saturating_add(AHEAD_MS)).then_some(self.ts)
    }

    /// Returns whether this event came before the other one (rule 31).
    ///
    /// Events of one request are ordered by their ids. Other events are ordered by the times at
    /// which they were received. Ids alone do not order events, because a sender or a run may
    /// choose them. However, if this event's id has a later time than the other event's reception,
    /// this machine's clock was set back; then this event did not come first. A repeated event
    /// keeps the id and the time of its first reception.
    pub fn came_before(&self, other: &Self) -> bool {
        match self.id.is_in_same_sequence(other.id) {
            true => self.id < other.id,
            false => self.received_at < other.received_at && self.id.time() <= other.received_at,
        }
    }

    /// Returns the size of `data` and `user`, in bytes.
    pub fn bytes(&self) -> usize {
        self.data.get().len() + self.user.as_ref().map_or(0, |user| user.get().len())
    }
}

impl NewEvent {
    /// Creates an event with this name and data, and without an id.
    pub fn new(name: impl Into<Arc<str>>, data: Json) -> Self {
        Self { name: name.into(), data, id: None, ts: None, user: None, trace: None }
    }

    /// Sets the sender's id of the event. A second event with the same id within 24 hours is
    /// treated as a duplicate.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets when the event happened. If this time is more than a minute ahead, the event's runs
    /// start at it.
    #[must_use]
    pub fn with_ts(mut self, ts: impl Into<Timestamp>) -> Self {
        self.ts = Some(ts.into());
        self
    }

    /// Sets the user that the event is about: a JSON object.
    #[must_use]
    pub fn with_user(mut self, user: Json) -> Self {
        self.user = Some(user);
        self
    }

    /// Sets the span of the sender, which the runs of the event continue.
    #[must_use]
    pub fn with_trace(mut self, trace: TraceContext) -> Self {
        self.trace = Some(Arc::new(trace));
        self
    }

    /// Decodes the body of a request: one event, or an array of events. One invalid event makes the
    /// whole body invalid.
    ///
    /// # Errors
    /// [`EventError`], which names the invalid field and the problem.
    pub fn decode_all(body: &[u8]) -> Result<Vec<NewEvent>, EventError> {
        let text = std::str::from_utf8(body)
            .map_err(|e| malformed_error(format_args!("the body is not UTF-8 at byte {}", e.valid_up_to())))?;
        json::check(text).map_err(|unfit| malformed_error(format_args!("the body {unfit}")))?;
        if !text.trim_start().starts_with('[') {
            return Ok(vec![Self::decode("the event", text)?]);
        }
        let elements: Vec<&RawValue> =
            serde_json::from_str(text).map_err(|e| malformed_error(format_args!("the body is not valid JSON: {e}")))?;
        if elements.len() > EVENTS_PER_REQUEST {
            return Err(EventError::TooLarge(format!(
                "the request has {} events; at most {EVENTS_PER_REQUEST} are allowed, send the rest in further requests",
                elements.len()
            )));
        }
        elements.iter().enumerate().map(|(i, e)| Self::decode(&format!("event {i}"), e.get())).collect()
    }

    fn decode(place: &str, text: &str) -> Result<Self, EventError> {
        // Unknown fields are refused: if a misspelt `dta` were ignored, a run would start without
        // its data.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct IncomingEvent {
            name: String,
            #[serde(default)]
            data: Option<Box<RawValue>>,
            #[serde(default)]
            id: Option<String>,
            #[serde(default)]
            ts: Option<i64>,
            #[serde(default)]
            user: Option<Box<RawValue>>,
            #[serde(default)]
            traceparent: Option<String>,
            #[serde(default)]
            tracestate: Option<String>,
            /// The version of the event's schema, which Inngest's clients may send. The value is
            /// not stored.
            #[serde(default, rename = "v")]
            _version: Option<IgnoredAny>,
            /// The session data that Inngest's clients may send. The value is not stored.
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
            return Err(malformed_error(format_args!("{place} is not a JSON object with at least a `name`")));
        }
        let incoming: IncomingEvent = serde_json::from_str(text)
            .map_err(|e| malformed_error(format_args!("{place} is not a valid event: {e}")))?;
        let trace = match (incoming.traceparent, incoming.tracestate) {
            (Some(parent), state) => TraceContext::parse(&parent, state.as_deref()).map(Some),
            (None, Some(_)) => Err(InvalidTrace::StateAlone),
            (None, None) => Ok(None),
        };
        let trace = trace.map_err(|problem| malformed_error(format_args!("{place}: {problem}")))?;
        let event = Self {
            name: incoming.name.into(),
            data: incoming.data.map_or_else(json::empty_object, Into::into),
            // some clients send an empty id when they mean no id
            id: incoming.id.filter(|id| !id.is_empty()).map(Into::into),
            // some clients send 0 when they mean now
            ts: incoming.ts.filter(|ts| *ts != 0).map(Timestamp::from_millis),
            user: incoming.user.map(Into::into),
            trace: trace.map(Arc::new),
        };
        // `decode_all` has already checked depth, NUL characters and surrogate pairs for the whole
        // body
        match event.field_problem() {
            Some(problem) => Err(malformed_error(format_args!("{place}: {problem}"))),
            None => Ok(event),
        }
    }

    /// Returns what is wrong with this event, as a sentence; `None` if the event can be accepted.
    ///
    /// The limits (size, depth, NUL characters, halves of surrogate pairs) are the same for events
    /// that come by HTTP, through a queue or from a function.
    pub fn problem(&self) -> Option<String> {
        self.field_problem().or_else(|| {
            if self.bytes() > EVENT_BYTES {
                return Some(too_large_sentence(self.bytes()));
            }
            let user = self.user.as_deref().and_then(|user| json::check_within(user.get(), 1).err());
            let data = json::check_within(self.data.get(), 1).err();
            data.map(|unfit| format!("`data` {unfit}")).or_else(|| user.map(|unfit| format!("`user` {unfit}")))
        })
    }

    /// Returns the size in bytes of all strings in the event.
    fn bytes(&self) -> usize {
        let texts = self.name.len() + self.id.as_ref().map_or(0, |id| id.len());
        texts + self.data.get().len() + self.user.as_ref().map_or(0, |user| user.get().len())
    }

    fn field_problem(&self) -> Option<String> {
        if let Some(problem) = name_problem(&self.name) {
            return Some(format!("`name` {problem}"));
        }
        if let Some(prefix) = reserved_prefix(&self.name) {
            return Some(format!("names that start with `{prefix}` are reserved; choose another `name`"));
        }
        if let Some(problem) = self.id.as_deref().and_then(name_problem) {
            return Some(format!("`id` {problem}"));
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

    /// Turns this event into an accepted one with this id, received at `now`.
    pub fn accept(self, id: EventId, now: Timestamp) -> Event {
        Event {
            id,
            name: self.name,
            data: self.data,
            ts: self.ts.unwrap_or(now),
            user: self.user,
            external_id: self.id,
            received_at: now,
            trace: self.trace,
        }
    }
}

/// Returns what is wrong with the data of an event, as the end of a sentence that begins with the
/// field's name; `None` if the data is valid.
pub fn data_problem(data: &RawValue) -> Option<String> {
    if !json::is_object(data) {
        return Some("must be a JSON object".into());
    }
    if data.get().len() > EVENT_BYTES {
        return Some(too_large_sentence(data.get().len()));
    }
    json::check_within(data.get(), 1).err().map(|unfit| unfit.to_string())
}

/// Returns what is wrong with events that a function sends together, as a sentence; `None` if they
/// can be accepted.
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
        .find_map(|event| event.problem().map(|problem| format!("the event `{}`: {problem}", shortened(&event.name))))
}

fn too_large_sentence(bytes: usize) -> String {
    format!("has {bytes} bytes; at most {EVENT_BYTES} are allowed: store large values elsewhere and send a reference")
}

/// Creates an error with a shortened message, because a decoder may quote invalid input that is as
/// long as the body.
fn malformed_error(message: impl Display) -> EventError {
    EventError::Malformed(shortened(message))
}

#[cfg(test)]
mod tests;
