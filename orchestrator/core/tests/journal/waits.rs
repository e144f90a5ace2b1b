//! Tests of waits for events, for callbacks and for times.

use stepladder_core::expr::ExprCache;
use stepladder_core::journal::{Fact, Failure, Outcome, StepKind};
use stepladder_core::state::RunState;
use stepladder_core::waiting::ArrivingEvent;
use stepladder_core::{Event, Refusal, StepId, json};

use super::{START, arriving_event, at, run, started, state, wait_for_any};

fn awaited(step: &str, until: i64) -> Fact {
    Fact::EventAwaited { step: step.into(), wait: wait_for_any("c/d"), until: at(until) }
}

fn delivered(event: Event, steps: &[&str]) -> Fact {
    Fact::EventDelivered { event: Box::new(event), steps: steps.iter().map(|step| (*step).into()).collect() }
}

#[test]
fn rule_17_a_delivered_event_fulfils_no_later_wait_and_the_trigger_none() {
    let event = || arriving_event(2, START + 5);
    let state = state(vec![(0, awaited("a", 10)), (5, delivered(event(), &["a"])), (6, awaited("b", 20))]);
    let again = state.admits(&delivered(event(), &["b"]).into_entry(at(7)));
    assert_eq!(again, Err(Refusal::AlreadyDelivered(event().id)));
    let trigger = arriving_event(1, START);
    assert_eq!(
        state.admits(&delivered(trigger.clone(), &["b"]).into_entry(at(7))),
        Err(Refusal::AlreadyDelivered(trigger.id))
    );
    assert_eq!(state.admits(&delivered(arriving_event(3, START + 7), &["b"]).into_entry(at(7))), Ok(()));
}

#[test]
fn rule_31_an_event_from_before_the_runs_trigger_is_not_delivered() {
    let state = state(vec![(0, awaited("a", 10))]);
    let earlier = arriving_event(0, START - 1);
    assert_eq!(
        state.admits(&delivered(earlier.clone(), &["a"]).into_entry(at(1))),
        Err(Refusal::OlderThanRun(earlier.id))
    );
    assert_eq!(state.fulfilled_by(&ArrivingEvent::new(&earlier), &ExprCache::default()), Vec::<StepId>::new());
    // Another event of the same name fulfils the wait of the step.
    assert_eq!(
        state.fulfilled_by(&ArrivingEvent::new(&arriving_event(2, START)), &ExprCache::default()),
        ["a".into()] as [StepId; 1]
    );
}

#[test]
fn one_event_fulfils_all_waits_that_are_open_and_they_are_revealed_one_by_one() {
    let state = state(vec![
        (0, awaited("a", 10)),
        (0, awaited("b", 10)),
        (5, delivered(arriving_event(2, START + 5), &["a", "b"])),
    ]);
    let revealed: Vec<_> = state.outcomes.iter().map(|r| (&*r.step, r.kind)).collect();
    assert_eq!(revealed, [("a", StepKind::Event), ("b", StepKind::Event)]);
    assert_eq!(state.bytes, arriving_event(2, START + 5).bytes(), "the journal holds it once");
}

#[test]
fn an_event_received_in_time_fulfils_a_wait_even_if_it_is_delivered_late() {
    let state = state(vec![(0, awaited("a", 10))]);
    assert_eq!(state.admits(&delivered(arriving_event(2, START + 10), &["a"]).into_entry(at(500))), Ok(()));
    let late = state.admits(&delivered(arriving_event(2, START + 11), &["a"]).into_entry(at(500)));
    assert_eq!(late, Err(Refusal::NotWaiting("a".into())));
    let expired = Fact::WaitExpired { step: "a".into() };
    assert_eq!(state.admits(&expired.clone().into_entry(at(9))), Err(Refusal::NotDue("a".into())));
    let both = [expired.into_entry(at(10)), delivered(arriving_event(2, START + 10), &["a"]).into_entry(at(10))];
    assert_eq!(state.admits_all(&both), Err(Refusal::AlreadySettled("a".into())));
}

#[test]
fn the_retry_of_a_handler_can_be_skipped_once() {
    let skipped = |n: i64| Fact::WaitSkipped { step: None }.into_entry(at(n));
    let failed = || (5, Fact::HandlerFailed { attempt: 1, error: Failure::new("no"), retry_at: at(100) });
    assert_eq!(state(vec![]).admits(&skipped(6)), Err(Refusal::HandlerNotRetrying));
    let waits = state(vec![failed()]);
    assert_eq!((waits.admits(&skipped(99)), waits.admits(&skipped(100))), (Ok(()), Err(Refusal::HandlerNotRetrying)));
    let cut = state(vec![failed(), (6, Fact::WaitSkipped { step: None })]);
    assert_eq!((cut.handler_retry_at, cut.admits(&skipped(7))), (Some(at(6)), Err(Refusal::HandlerNotRetrying)));
}

#[test]
fn only_a_wait_for_a_time_can_be_skipped() {
    let skipped = |n: i64| Fact::WaitSkipped { step: Some("a".into()) }.into_entry(at(n));
    let sleeps = || (0, Fact::SleepStarted { step: "a".into(), until: at(100) });
    let over = Fact::SleepEnded { step: "a".into() };
    assert_eq!(state(vec![sleeps()]).admits(&over.clone().into_entry(at(5))), Err(Refusal::NotDue("a".into())));
    assert_eq!(state(vec![sleeps()]).admits_all(&[skipped(5), over.clone().into_entry(at(5))]), Ok(()));
    let cut = state(vec![sleeps(), (5, Fact::WaitSkipped { step: Some("a".into()) })]);
    assert_eq!(cut.admits(&over.clone().into_entry(at(5))), Ok(()));
    assert_eq!(cut.admits(&skipped(6)), Err(Refusal::NotWaiting("a".into())), "the wait is over");
    assert_eq!(state(vec![sleeps(), (100, over)]).admits(&skipped(101)), Err(Refusal::AlreadySettled("a".into())));
    assert_eq!(state(vec![(0, started(1, 10))]).admits(&skipped(1)), Err(Refusal::NotWaiting("a".into())));
    assert_eq!(state(vec![]).admits(&skipped(1)), Err(Refusal::NotWaiting("a".into())));
    let waits = Fact::SignalAwaited { step: "a".into(), until: at(9), heartbeat_ms: None };
    assert_eq!(
        state(vec![(0, waits)]).admits(&skipped(1)),
        Err(Refusal::NotWaiting("a".into())),
        "it waits for a callback"
    );
}

#[test]
fn a_call_expires_at_its_deadline_and_not_before() {
    let call = |until: Option<i64>| Fact::InvokeStarted {
        step: "a".into(),
        function: "g".into(),
        child: run(),
        input: json::null(),
        bound: false,
        until: until.map(at),
        user: None,
    };
    let expired = || Fact::WaitExpired { step: "a".into() };
    let ended = Fact::InvokeEnded { step: "a".into(), outcome: Outcome::Value(json::null()) };
    let limited = state(vec![(0, call(Some(100)))]);
    assert_eq!(limited.admits(&expired().into_entry(at(99))), Err(Refusal::NotDue("a".into())));
    assert_eq!(limited.admits(&expired().into_entry(at(100))), Ok(()));
    assert_eq!(limited.admits(&ended.clone().into_entry(at(99))), Ok(()));
    let missed = Fact::HeartbeatMissed { step: "a".into(), error: Failure::new("missed") };
    assert_eq!(limited.admits(&missed.into_entry(at(100))), Err(Refusal::NotWaiting("a".into())));
    let over = state(vec![(0, call(Some(100))), (100, expired())]);
    let Outcome::Failed(failure) = &over.outcomes[0].outcome else { panic!("{:?}", over.outcomes) };
    assert_eq!((over.outcomes[0].kind, failure.code()), (StepKind::Invoke, Some("invoke-timeout")));
    assert_eq!(over.admits(&ended.into_entry(at(101))), Err(Refusal::AlreadySettled("a".into())));
    let unlimited = state(vec![(0, call(None))]);
    assert_eq!(unlimited.admits(&expired().into_entry(at(1_000_000))), Err(Refusal::NotWaiting("a".into())));
}

#[test]
fn a_call_that_was_recorded_without_a_deadline_reads() {
    let stored = format!(r#"{{"InvokeStarted":{{"step":"a","function":"g","child":"{}","input":{{}}}}}}"#, run());
    let fact: Fact = serde_json::from_str(&stored).unwrap();
    assert!(matches!(&fact, Fact::InvokeStarted { bound: false, until: None, user: None, .. }), "{fact:?}");
    assert_eq!(serde_json::to_string(&fact).unwrap(), stored);
}

#[test]
fn a_signal_is_received_once_early_or_in_time() {
    let received = || Fact::SignalReceived { step: "a".into(), data: json::null() };
    let early = state(vec![(0, received())]);
    assert_eq!(early.outcomes.len(), 1);
    assert_eq!(early.admits(&received().into_entry(at(1))), Err(Refusal::AlreadySettled("a".into())));
    let waits = Fact::SignalAwaited { step: "a".into(), until: at(9), heartbeat_ms: None };
    assert_eq!(early.admits(&waits.clone().into_entry(at(1))), Err(Refusal::AlreadySettled("a".into())));
    let in_time = state(vec![(0, waits), (5, received())]);
    assert_eq!(in_time.outcomes.len(), 1);
    assert_eq!(
        in_time.admits(&Fact::WaitExpired { step: "a".into() }.into_entry(at(9))),
        Err(Refusal::AlreadySettled("a".into()))
    );
    let body = state(vec![(0, started(1, 10))]);
    assert_eq!(body.admits(&received().into_entry(at(1))), Err(Refusal::OtherKind("a".into())));
}

/// A wait of 9,000 s with a heartbeat every 60 s, in a journal with these further facts.
fn waits_with_heartbeats(facts: Vec<(i64, Fact)>) -> RunState {
    let waits = Fact::SignalAwaited { step: "a".into(), until: at(9_000_000), heartbeat_ms: Some(60_000) };
    state(std::iter::once((0, waits)).chain(facts).collect())
}

#[test]
fn a_wait_ends_for_a_missed_heartbeat_at_its_time_and_not_before() {
    let missed = || Fact::HeartbeatMissed { step: "a".into(), error: Failure::new("missed") };
    let received = || Fact::HeartbeatReceived { step: "a".into() };
    let never = waits_with_heartbeats(vec![]);
    assert_eq!(never.admits(&missed().into_entry(at(59_999))), Err(Refusal::NotDue("a".into())));
    assert_eq!(never.admits(&missed().into_entry(at(60_000))), Ok(()));
    let once = waits_with_heartbeats(vec![(59_999, received())]);
    assert_eq!(once.admits(&missed().into_entry(at(149_998))), Err(Refusal::NotDue("a".into())));
    assert_eq!(once.admits(&missed().into_entry(at(149_999))), Ok(()));
    let over = waits_with_heartbeats(vec![(60_000, missed())]);
    assert_eq!(over.outcomes.len(), 1);
    for fact in [missed(), received(), Fact::WaitExpired { step: "a".into() }] {
        assert_eq!(over.admits(&fact.into_entry(at(9_000_000))), Err(Refusal::AlreadySettled("a".into())));
    }
    let plain = Fact::SignalAwaited { step: "a".into(), until: at(9), heartbeat_ms: None };
    for fact in [missed(), received()] {
        let plain = state(vec![(0, plain.clone())]);
        assert_eq!(plain.admits(&fact.clone().into_entry(at(8))), Err(Refusal::NotWaiting("a".into())));
        assert_eq!(state(vec![]).admits(&fact.into_entry(at(8))), Err(Refusal::NotWaiting("a".into())));
    }
}

#[test]
fn a_heartbeat_is_recorded_in_time_and_not_just_after_another() {
    let received = || Fact::HeartbeatReceived { step: "a".into() };
    let never = waits_with_heartbeats(vec![]);
    assert_eq!(never.admits(&received().into_entry(at(1))), Ok(()), "the first one counts at any time");
    assert_eq!(never.admits(&received().into_entry(at(60_000))), Err(Refusal::NotWaiting("a".into())), "it is late");
    let once = waits_with_heartbeats(vec![(1_000, received())]);
    assert_eq!(once.admits(&received().into_entry(at(30_999))), Err(Refusal::RecentHeartbeat("a".into())));
    assert_eq!(once.admits(&received().into_entry(at(31_000))), Ok(()));
}

#[test]
fn a_wait_ends_for_the_reason_that_came_first() {
    let received = || Fact::HeartbeatReceived { step: "a".into() };
    let expired = Fact::WaitExpired { step: "a".into() }.into_entry(at(9_000_000));
    assert_eq!(waits_with_heartbeats(vec![]).admits(&expired), Err(Refusal::NotWaiting("a".into())));
    let kept: Vec<(i64, Fact)> = (1..=100).map(|n| (n * 89_900, received())).collect();
    let open = waits_with_heartbeats(kept);
    assert_eq!(open.admits(&expired), Ok(()));
    let missed = Fact::HeartbeatMissed { step: "a".into(), error: Failure::new("missed") };
    assert_eq!(open.admits(&missed.into_entry(at(9_000_000))), Err(Refusal::NotWaiting("a".into())));
}

#[test]
fn a_heartbeat_hides_no_arrival_that_is_not_handled() {
    let other = || Fact::SignalReceived { step: "b".into(), data: json::null() };
    let received = || Fact::HeartbeatReceived { step: "a".into() };
    assert!(waits_with_heartbeats(vec![(1, other()), (2, received())]).arrived);
    assert!(!waits_with_heartbeats(vec![(1, received())]).arrived);
}
