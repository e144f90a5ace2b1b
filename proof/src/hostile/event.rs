//! The event decoder: a body of `POST /e/{key}`, or of a message on the events queue.

use serde_json::Value;
use stepladder_core::event::EventError;
use stepladder_core::expr::ExprScope;
use stepladder_core::limits::{EVENT_BYTES, EVENTS_PER_REQUEST, JSON_DEPTH, name_problem};
use stepladder_core::sentence::SENTENCE_BYTES;
use stepladder_core::{Event, EventId, NewEvent, Timestamp, json};

/// Decodes a body. An accepted event must be within every limit, survive being stored, and work in
/// expressions. A refusal must be a sentence of bounded length.
pub fn event(body: &[u8]) {
    match NewEvent::decode_all(body) {
        Err(EventError::Malformed(sentence) | EventError::TooLarge(sentence)) => {
            assert!((10..=SENTENCE_BYTES + 3).contains(&sentence.len()), "{sentence:?}");
        }
        Ok(events) => {
            assert!(events.len() <= EVENTS_PER_REQUEST);
            let now = Timestamp::from_millis(1_700_000_000_000);
            let mut id = EventId::new(now, u128::MAX);
            for event in events {
                id = id.next();
                check_accepted(event, id, now);
            }
        }
    }
}

fn check_accepted(event: NewEvent, id: EventId, now: Timestamp) {
    assert_eq!(event.problem(), None);
    assert_eq!(name_problem(&event.name), None);
    assert!(event.data.get().len() <= EVENT_BYTES && json::is_object(&event.data), "{}", event.data);
    for part in [Some(&event.data), event.user.as_ref()].into_iter().flatten() {
        assert_eq!(json::check(part.get()), Ok(()), "{part}");
        match serde_json::from_str(part.get()) {
            Ok(value) => assert!(json_depth(&value) <= JSON_DEPTH, "{part}"),
            Err(unread) => assert!(unread.to_string().starts_with("number out of range"), "{unread}: {part}"),
        }
    }
    let event = event.accept(id, now);
    let stored = serde_json::to_string(&event).expect("an accepted event can be stored");
    let read: Event = serde_json::from_str(&stored).expect("a stored event can be read");
    assert_eq!(serde_json::to_string(&read).expect("it was stored before"), stored);
    assert_eq!((read.id, read.ts, read.received_at), (id, event.ts, now));
    drop(ExprScope::of(&event));
}

/// Counts the levels of arrays and objects, independently of the decoder's check.
fn json_depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(json_depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(json_depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}
