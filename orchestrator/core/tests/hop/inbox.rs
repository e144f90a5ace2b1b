//! Events in the inbox of a run: they came while a wait was registered.

use std::sync::Arc;

use stepladder_core::decide::Operation;
use stepladder_core::hop::{Effect, Input, LateWrite};
use stepladder_core::journal::Fact;
use stepladder_core::waiting::{EventMatch, EventWait};
use stepladder_core::{Event, EventId, NewEvent, WakeCause, json};

use crate::world::{HopSetup, START, seconds, want};

fn wait(name: &str) -> Arc<EventWait> {
    Arc::new(EventWait { events: vec![name.into()], matching: EventMatch::Any })
}

fn waiting() -> Operation {
    Operation::WaitForEvent { wait: wait("paid"), timeout: seconds(600) }
}

/// Returns the event `n` with this name, which came after the run was created.
fn arrived(name: &str, n: u128) -> (EventId, Option<Event>) {
    let event = NewEvent::new(name, json::empty_object()).accept(EventId::new(START, n), START + seconds(1));
    (event.id, Some(event))
}

#[test]
fn rules_17_and_18_an_event_that_came_early_is_delivered_once_from_the_inbox() {
    let until = START + seconds(600);
    let history = vec![Fact::EventAwaited { step: "w".into(), wait: wait("paid"), until }];
    let mut world = HopSetup::new().with_history(history).woken(WakeCause::Offered).loaded();
    world.answer_until(|effect| matches!(effect, Effect::ReadInbox));
    let of = |n| NewEvent::new("paid", json::empty_object()).accept(EventId::new(START, n), START + seconds(1));
    let offered = vec![(of(9).id, Some(of(9))), (of(9).id, Some(of(9))), (of(8).id, None)];
    world.on(Input::Inbox(offered));
    assert_eq!(world.facts(), ["EventDelivered"], "the second one is the same event");
    let taken = world.write().after.iter().filter(|after| matches!(after, LateWrite::TakeFromInbox { .. }));
    assert_eq!(taken.count(), 3);
    world.written();
    assert!(matches!(world.open_question(), Effect::Open(_)));
}

#[test]
fn rule_18_the_inbox_is_read_once_the_wait_is_in_the_journal() {
    let mut world = HopSetup::new().woken(WakeCause::Offered).polled();
    world.want_steps(vec![want("w", waiting())]).written();
    assert!(matches!(world.open_question(), Effect::ReadInbox));
    let mut empty = world.clone();
    empty.on(Input::Inbox(vec![]));
    assert!(matches!(empty.open_question(), Effect::Poll(_)), "the execution goes on");
    world.on(Input::Inbox(vec![arrived("other", 8), arrived("paid", 9)]));
    assert_eq!(world.facts(), ["EventDelivered"], "the other one fulfils no wait");
    let mut overtaken = world.clone();
    world.written();
    assert!(matches!(world.open_question(), Effect::Poll(shown) if shown.len() == 1));
    overtaken.overtaken_by(vec![Fact::WaitExpired { step: "x".into() }]);
    assert!(matches!(overtaken.open_question(), Effect::Open(_)), "all is decided again");
}

#[test]
fn rule_17_a_delivery_from_the_inbox_that_is_overtaken_is_decided_again() {
    let history = vec![Fact::EventAwaited { step: "w".into(), wait: wait("paid"), until: START + seconds(600) }];
    let mut world = HopSetup::new().with_history(history).woken(WakeCause::Offered).loaded();
    world.answer_until(|effect| matches!(effect, Effect::ReadInbox));
    let mut empty = world.clone();
    empty.on(Input::Inbox(vec![]));
    assert!(matches!(empty.open_question(), Effect::Open(_)));
    let (_, event) = arrived("paid", 9);
    world.on(Input::Inbox(vec![arrived("paid", 9)]));
    world.overtaken_by(vec![Fact::EventDelivered { event: Box::new(event.unwrap()), steps: vec!["w".into()] }]);
    world.answer_until(|effect| matches!(effect, Effect::Poll(_)));
    let Effect::Poll(memo) = world.open_question() else { unreachable!() };
    assert_eq!(memo.len(), 1, "delivered once");
}
