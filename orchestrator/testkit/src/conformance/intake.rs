//! The single call that stores events, creates their runs, and looks up subscriptions.

use stepladder_core::Event;
use stepladder_core::waiting::Subscription;

use super::TestedAdapter;
use super::fixtures::{START, event, event_id, event_text, event_with_sender_id, run, run_start, seconds};
use stepladder_engine::ports::{AcceptedEvents, AppliedWrites, EarlyWrite, EventWrites, StartResult};

/// Creates a subscription of run number `n` to every event of these checks.
fn subscription(n: u64) -> Subscription {
    let until = START + seconds(3_600);
    Subscription { event: event(1).name, key: None, run: run(n), step: "a".into(), until }
}

/// Stores events with one call. For each number in `runs`, the event with that number creates a
/// run, which subscribes to further events.
async fn accept_with_runs(on: &TestedAdapter, events: Vec<Event>, runs: &[u64]) -> AcceptedEvents {
    let decide = |events: &[Event]| EventWrites {
        before: runs.iter().map(|n| EarlyWrite::Subscribe(subscription(*n))).collect(),
        starts: runs.iter().zip(events).map(|(n, event)| run_start(*n, "orders", event.id)).collect(),
    };
    on.backend.accept_with_runs(events, on.now(), &decide).await.expect("events are accepted")
}

fn event_texts(events: &[Event]) -> Vec<String> {
    events.iter().map(event_text).collect()
}

async fn count_runs(on: &TestedAdapter, n: u64) -> usize {
    on.backend.runs_of(event_id(n)).await.expect("rows").len()
}

/// The call stores either the events with all of their runs, or only the events.
pub async fn accepted_events_are_stored_with_all_their_runs_or_none(on: TestedAdapter) {
    let events: Vec<Event> = [3, 1, 2].map(event).into();
    let AcceptedEvents { events: stored, applied } = accept_with_runs(&on, events.clone(), &[3, 1, 2]).await;
    assert_eq!(event_texts(&stored), event_texts(&events));
    for (n, event) in [3, 1, 2].into_iter().zip(&events) {
        let found = on.backend.event(event.id).await.expect("a read").expect("the event");
        assert_eq!(event_text(&found), event_text(event));
        assert_eq!(count_runs(&on, n).await, usize::from(applied.is_some()));
    }
    let woken = on.woken().await;
    let subscribed = on.backend.subscribed_fields(&events[0].name).await.expect("subscribed fields");
    match applied {
        None => assert!(woken.is_empty() && subscribed.is_empty()),
        Some(AppliedWrites { starts, subscribed: found }) => {
            assert_eq!((starts, woken), (vec![StartResult::New; 3], vec![run(3), run(1), run(2)]));
            assert!(subscribed.each);
            assert_eq!(found, [(events[0].name.clone(), subscribed)], "the subscriptions of the same call count");
        }
    }
}

/// If an event is a repetition, no run is created: the caller must decide again with the event that
/// was stored first.
pub async fn rule_15_a_repeated_event_is_accepted_without_its_runs(on: TestedAdapter) {
    let first = event_with_sender_id(1, "order-1", seconds(0));
    on.backend.accept(vec![first.clone()], on.now()).await.expect("an event");
    let again = accept_with_runs(&on, vec![event_with_sender_id(2, "order-1", seconds(0)), event(3)], &[2, 3]).await;
    assert_eq!(event_texts(&again.events), event_texts(&[first, event(3)]));
    assert!(again.applied.is_none());
    // The same id, but another event.
    let other = Event { name: "shop/other".into(), ..event(3) };
    let again = accept_with_runs(&on, vec![other], &[3]).await;
    assert_eq!((event_texts(&again.events), again.applied.is_none()), (event_texts(&[event(3)]), true));
    // Two events in one call have the same sender id.
    let again = accept_with_runs(
        &on,
        vec![event_with_sender_id(4, "order-4", seconds(0)), event_with_sender_id(5, "order-4", seconds(0))],
        &[4, 5],
    )
    .await;
    assert_eq!((again.events[1].id, again.applied.is_none()), (event_id(4), true));
    for n in 1..=5 {
        assert_eq!(count_runs(&on, n).await, 0, "event {n}");
    }
    assert!(on.woken().await.is_empty());
    assert!(on.backend.subscribed_fields(&event(1).name).await.expect("subscribed fields").is_empty());
}

/// A local store writes new events and their runs in a single transaction.
pub async fn new_events_are_accepted_with_their_runs(on: TestedAdapter) {
    let accepted = accept_with_runs(&on, vec![event(1)], &[1]).await;
    assert_eq!(accepted.applied.expect("all of it").starts, [StartResult::New]);
    assert_eq!(count_runs(&on, 1).await, 1);
    // A call may have no events.
    let none = accept_with_runs(&on, Vec::new(), &[]).await.applied.expect("nothing");
    assert!(none.starts.is_empty() && none.subscribed.is_empty());
}
