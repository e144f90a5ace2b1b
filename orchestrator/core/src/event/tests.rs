use super::*;
use crate::sentence::SENTENCE_BYTES;

fn refusal_sentence(body: &str) -> String {
    NewEvent::decode_all(body.as_bytes()).expect_err("refused").to_string()
}

#[test]
fn events_of_a_request_are_ordered_by_id_and_events_of_different_requests_by_time_and_id() {
    let event = |id: (i64, u128), received: i64| {
        let id = EventId::new(Timestamp::from_millis(id.0), id.1);
        NewEvent::new("a", json::empty_object()).accept(id, Timestamp::from_millis(received))
    };
    let before = |one: &Event, other: &Event| (one.came_before(other), other.came_before(one));
    // two events of one request
    assert_eq!(before(&event((5, 1), 5), &event((5, 2), 5)), (true, false));
    // two events, one received after the other
    assert_eq!(before(&event((5, 1 << 70), 5), &event((6, 1), 6)), (true, false));
    // two processes received an event in the same millisecond: the order is unknown
    assert_eq!(before(&event((5, 1), 5), &event((5, 1 << 70), 5)), (false, false));
    // the sender's clock is ahead, and this machine's clock was set back
    assert_eq!(before(&event((500, 1), 5), &event((6, 1), 6)), (false, false));
    assert_eq!(before(&event((900, 1), 900), &event((1_000, 9), 5)), (false, false));
    // a run sent the event: the event's id contains the time of the run's creation
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
    assert!(refusal_sentence("{").contains("not a valid event"));
    assert!(refusal_sentence("").contains("not a JSON object"));
    assert!(refusal_sentence("7").contains("not a JSON object"));
    assert!(refusal_sentence(r#"[{"name":"a"},{"name":5}]"#).starts_with("event 1 is not a valid event: invalid type"));
    assert!(refusal_sentence(r#"[{"name":"a"}, 3]"#).starts_with("event 1 is not a JSON object"));
    assert!(refusal_sentence(r#"{"data":{}}"#).contains("missing field `name`"));
    assert!(refusal_sentence(r#"{"name":"a","dta":{}}"#).contains("unknown field `dta`"));
    assert!(
        refusal_sentence(r#"[{"name":"a"},{"name":"b","Id":"k"}]"#)
            .starts_with("event 1 is not a valid event: unknown field `Id`")
    );
    assert!(refusal_sentence(r#"{"name":"a","v":1,"v":2}"#).contains("duplicate field `v`"));
    assert!(refusal_sentence(r#"{"name":"a","data":[1]}"#).contains("`data` must be a JSON object"));
    assert!(refusal_sentence(r#"{"name":"a","data":"{}"}"#).contains("`data` must be a JSON object"));
    assert!(refusal_sentence(r#"{"name":"inngest/x"}"#).contains("reserved"));
    assert!(refusal_sentence(r#"{"name":""}"#).contains("`name` is empty"));
    assert!(refusal_sentence(r#"{"name":"a","ts":-1}"#).contains("`ts`"));
    assert!(refusal_sentence(r#"{"name":"a","traceparent":"00-1-2-01"}"#).contains("`traceparent` must be"));
    assert!(refusal_sentence(r#"{"name":"a","tracestate":"a=1"}"#).contains("`tracestate` needs a `traceparent`"));
    assert!(refusal_sentence(r#"{"name":"a","ts":1.5}"#).contains("invalid type"));
    assert!(refusal_sentence(&format!(r#"{{"name":"{}"}}"#, "x".repeat(256))).contains("256 characters"));
    assert!(refusal_sentence(r#"{"name":"a","data":{"b":"\u0000"}}"#).contains("NUL"));
    assert!(refusal_sentence(&"[".repeat(200)).contains("levels deep"));
}

#[test]
fn a_refusal_does_not_grow_with_what_it_quotes() {
    let long = "\u{feff}".repeat(100_000);
    for body in [
        format!(r#"{{"name":"a","ts":"{long}"}}"#),
        format!(r#"{{"name":"a","id":{{"{long}":1}}}}"#),
        format!(r#"{{"name":["{long}"]}}"#),
    ] {
        assert!(refusal_sentence(&body).len() <= SENTENCE_BYTES + '…'.len_utf8());
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
