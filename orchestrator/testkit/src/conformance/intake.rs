//! Taking events in with one call: events, their runs, and the look-up of subscriptions.

use stepladder_core::Event;
use stepladder_core::waiting::Subscription;

use super::Subject;
use super::given::{START, begin, event, event_id, event_text, named, run, seconds};
use stepladder_engine::ports::{AppliedWrites, EarlyWrite, EventWrites, StartResult, TakenEvents};

/// A subscription of the `n`th run to all events of the checks.
fn waiter(n: u64) -> Subscription {
    let until = START + seconds(3_600);
    Subscription { event: event(1).name, key: None, run: run(n), step: "a".into(), until }
}

/// Takes events in. Each starts the run of its number, which waits for further events.
async fn take(on: &Subject, events: Vec<Event>, runs: &[u64]) -> TakenEvents {
    let decide = |events: &[Event]| EventWrites {
        before: runs.iter().map(|n| EarlyWrite::Subscribe(waiter(*n))).collect(),
        starts: runs.iter().zip(events).map(|(n, event)| begin(*n, "orders", event.id)).collect(),
    };
    on.backend.take(events, on.now(), &decide).await.expect("events are taken")
}

fn texts(events: &[Event]) -> Vec<String> {
    events.iter().map(event_text).collect()
}

async fn runs(on: &Subject, n: u64) -> usize {
    on.backend.runs_of(event_id(n)).await.expect("rows").len()
}

/// All that was decided is there, or nothing but the events.
pub async fn taken_events_are_stored_with_all_their_runs_or_none(on: Subject) {
    let events: Vec<Event> = [3, 1, 2].map(event).into();
    let TakenEvents { events: stored, applied } = take(&on, events.clone(), &[3, 1, 2]).await;
    assert_eq!(texts(&stored), texts(&events));
    for (n, event) in [3, 1, 2].into_iter().zip(&events) {
        let found = on.backend.event(event.id).await.expect("a read").expect("the event");
        assert_eq!(event_text(&found), event_text(event));
        assert_eq!(runs(&on, n).await, usize::from(applied.is_some()));
    }
    let woken = on.woken().await;
    let subscribed = on.backend.subscribed_fields(&events[0].name).await.expect("a look");
    match applied {
        None => assert!(woken.is_empty() && subscribed.is_empty()),
        Some(AppliedWrites { starts, subscribed: found }) => {
            assert_eq!((starts, woken), (vec![StartResult::New; 3], vec![run(3), run(1), run(2)]));
            assert!(subscribed.each);
            assert_eq!(found, [(events[0].name.clone(), subscribed)], "as after the subscriptions were stored");
        }
    }
}

/// The caller decides again, by the first event.
pub async fn rule_15_a_repeated_event_is_taken_without_its_runs(on: Subject) {
    let first = named(1, "order-1", seconds(0));
    on.backend.accept(vec![first.clone()], on.now()).await.expect("an event");
    let again = take(&on, vec![named(2, "order-1", seconds(0)), event(3)], &[2, 3]).await;
    assert_eq!(texts(&again.events), texts(&[first, event(3)]));
    assert!(again.applied.is_none());
    // the same id, perhaps with other content
    let other = Event { name: "shop/other".into(), ..event(3) };
    let again = take(&on, vec![other], &[3]).await;
    assert_eq!((texts(&again.events), again.applied.is_none()), (texts(&[event(3)]), true));
    // two of one call
    let again = take(&on, vec![named(4, "order-4", seconds(0)), named(5, "order-4", seconds(0))], &[4, 5]).await;
    assert_eq!((again.events[1].id, again.applied.is_none()), (event_id(4), true));
    for n in 1..=5 {
        assert_eq!(runs(&on, n).await, 0, "event {n}");
    }
    assert!(on.woken().await.is_empty());
    assert!(on.backend.subscribed_fields(&event(1).name).await.expect("a look").is_empty());
}

/// In one transaction.
pub async fn new_events_are_taken_with_their_runs(on: Subject) {
    let taken = take(&on, vec![event(1)], &[1]).await;
    assert_eq!(taken.applied.expect("all of it").starts, [StartResult::New]);
    assert_eq!(runs(&on, 1).await, 1);
    // none to take
    let none = take(&on, Vec::new(), &[]).await.applied.expect("nothing");
    assert!(none.starts.is_empty() && none.subscribed.is_empty());
}
