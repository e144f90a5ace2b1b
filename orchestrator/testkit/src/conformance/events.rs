//! Events: accepting them, and recognising repeated ones.

use std::time::Duration;

use stepladder_core::Event;
use stepladder_core::limits::DEDUPLICATION_MS;

use super::TestedAdapter;
use super::fixtures::{START, event, event_id, event_text, event_with_sender_id, seconds};

const DAY: Duration = Duration::from_millis(DEDUPLICATION_MS as u64);

async fn accept(on: &TestedAdapter, events: Vec<Event>, after: Duration) -> Vec<Event> {
    on.backend.accept(events, START + after).await.expect("events are accepted")
}

fn ids(events: &[Event]) -> Vec<stepladder_core::EventId> {
    events.iter().map(|event| event.id).collect()
}

/// Accepted events are returned unchanged, in the order of the batch.
pub async fn events_come_back_in_order(on: TestedAdapter) {
    let events: Vec<Event> = [3, 1, 2].map(event).into();
    let stored = accept(&on, events.clone(), Duration::ZERO).await;
    let texts = |events: &[Event]| events.iter().map(event_text).collect::<Vec<_>>();
    assert_eq!(texts(&stored), texts(&events));
    assert!(accept(&on, Vec::new(), Duration::ZERO).await.is_empty());
}

/// Reading an event by its id returns all of its fields.
pub async fn an_event_is_found_by_its_id(on: TestedAdapter) {
    let event = Event {
        user: Some(stepladder_core::json::empty_object()),
        ..event_with_sender_id(1, "order-1", Duration::ZERO)
    };
    accept(&on, vec![event.clone()], Duration::ZERO).await;
    let found = on.backend.event(event.id).await.expect("a read").expect("the event");
    assert_eq!(event_text(&found), event_text(&event));
    assert!(on.backend.event(event_id(2)).await.expect("a read").is_none());
}

/// An event with the sender id of an earlier event is a repetition: the earlier event is returned,
/// with its own id.
pub async fn rule_15_a_repeated_sender_id_gives_the_first_event(on: TestedAdapter) {
    accept(&on, vec![event_with_sender_id(1, "order-1", Duration::ZERO)], Duration::ZERO).await;
    let later = DAY - Duration::from_millis(1);
    let again =
        accept(&on, vec![event_with_sender_id(2, "order-1", later), event_with_sender_id(3, "order-2", later)], later)
            .await;
    assert_eq!(ids(&again), [event_id(1), event_id(3)]);
    assert_eq!(event_text(&again[0]), event_text(&event_with_sender_id(1, "order-1", Duration::ZERO)));
    assert!(on.backend.event(event_id(2)).await.expect("a read").is_none());
}

/// If several events of a batch have the same sender id, all of them count as the first one.
pub async fn duplicates_in_one_batch_are_one_event(on: TestedAdapter) {
    let batch = vec![
        event(4),
        event_with_sender_id(1, "a", Duration::ZERO),
        event_with_sender_id(2, "b", Duration::ZERO),
        event_with_sender_id(3, "a", Duration::ZERO),
    ];
    let stored = accept(&on, batch, Duration::ZERO).await;
    assert_eq!(ids(&stored), [event_id(4), event_id(1), event_id(2), event_id(1)]);
    assert!(on.backend.event(event_id(3)).await.expect("a read").is_none());
}

/// After 24 hours, an event with a known sender id is a new event. From then on, repetitions return
/// the new event.
pub async fn after_24_hours_a_sender_id_is_new(on: TestedAdapter) {
    accept(&on, vec![event_with_sender_id(1, "order-1", Duration::ZERO)], Duration::ZERO).await;
    let stored = accept(&on, vec![event_with_sender_id(2, "order-1", DAY)], DAY).await;
    assert_eq!(ids(&stored), [event_id(2)]);
    let stored = accept(&on, vec![event_with_sender_id(3, "order-1", DAY + seconds(9))], DAY + seconds(9)).await;
    assert_eq!(ids(&stored), [event_id(2)]);
    assert!(on.backend.event(event_id(1)).await.expect("a read").is_some());
}

/// An event with a known id of its own is always a repetition.
pub async fn an_event_under_a_known_id_is_that_event(on: TestedAdapter) {
    accept(&on, vec![event(1)], Duration::ZERO).await;
    let other = Event { name: "shop/other".into(), received_at: START + DAY * 2, ..event(1) };
    let stored = accept(&on, vec![other], DAY * 2).await;
    assert_eq!(event_text(&stored[0]), event_text(&event(1)));
}

/// Two events without a sender id are different even if their data is equal.
pub async fn events_without_a_sender_id_are_never_repeats(on: TestedAdapter) {
    let twin = Event { data: event(1).data, ..event(2) };
    let stored = accept(&on, vec![event(1), twin], Duration::ZERO).await;
    assert_eq!(ids(&stored), [event_id(1), event_id(2)]);
}

/// A sender id resolves to the latest event that has it, however much time has passed.
pub async fn a_sender_id_resolves_to_its_latest_event(on: TestedAdapter) {
    assert_eq!(on.backend.resolve("order-1").await.expect("a read"), None);
    accept(&on, vec![event_with_sender_id(9, "order-1", Duration::ZERO)], Duration::ZERO).await;
    assert_eq!(on.backend.resolve("order-1").await.expect("a read"), Some(event_id(9)));
    on.advance(DAY * 3).await;
    assert_eq!(on.backend.resolve("order-1").await.expect("a read"), Some(event_id(9)));
    // The second event has the lower id, but was received later.
    accept(&on, vec![event_with_sender_id(2, "order-1", DAY * 3)], DAY * 3).await;
    assert_eq!(on.backend.resolve("order-1").await.expect("a read"), Some(event_id(2)));
}
