//! Tests of steps without a body (sleeps, sent events, waits), and of the slots of dead attempts.

use std::sync::Arc;

use stepladder_core::decide::Operation;
use stepladder_core::hop::{Effect, Input, LateWrite};
use stepladder_core::journal::Fact;
use stepladder_core::slot::Holder;
use stepladder_core::waiting::{EventMatch, EventWait};
use stepladder_core::{NewEvent, RunId, Timestamp, WakeCause, json};

use crate::world::{HOP, HopFixture, HopSetup, START, body, later_wakes, run, seconds, started, want};

fn wait(events: &[&str], timeout: u64) -> Operation {
    let wait = EventWait { events: events.iter().map(|name| (*name).into()).collect(), matching: EventMatch::Any };
    Operation::WaitForEvent { wait: Arc::new(wait), timeout: seconds(timeout) }
}

/// Returns a hop of a function that wants a step with this operation.
fn wanted(operation: Operation) -> HopFixture {
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![want("s", operation)]);
    world
}

#[test]
fn a_sleep_that_is_over_ends_as_it_starts_and_needs_no_wake() {
    let now = START + seconds(1);
    for (operation, until) in [
        (Operation::SleepFor(seconds(0)), now),
        (Operation::SleepUntil(now), now),
        (Operation::SleepUntil(START), START),
        (Operation::SleepUntil(now + seconds(60)), now + seconds(60)),
        (Operation::SleepFor(seconds(60)), now + seconds(60)),
    ] {
        let world = wanted(operation);
        let Fact::SleepStarted { until: starts, .. } = world.write().entries[0].fact else {
            panic!("{:?}", world.write())
        };
        assert_eq!(starts, until);
        match until > now {
            true => assert_eq!((world.facts().len(), later_wakes(world.write())), (1, vec![(WakeCause::Due, until)])),
            false => {
                assert_eq!((world.facts(), world.write().before.len()), (names(&["SleepStarted", "SleepEnded"]), 0))
            }
        }
    }
}

fn names(facts: &[&str]) -> Vec<String> {
    facts.iter().map(ToString::to_string).collect()
}

#[test]
fn a_wait_without_time_expires_as_it_starts() {
    for (operation, started) in [
        (wait(&["paid"], 0), "EventAwaited"),
        (Operation::WaitForSignal { timeout: seconds(0), heartbeat: None, name: None }, "SignalAwaited"),
    ] {
        let world = wanted(operation);
        assert_eq!(world.facts(), [started, "WaitExpired"]);
        assert!(world.write().before.is_empty(), "no subscription and no wake: {:?}", world.write());
    }
}

#[test]
fn a_wait_for_a_callback_leaves_a_wake_for_its_end_and_is_in_no_index() {
    let until = START + seconds(601);
    let mut world = wanted(Operation::WaitForSignal { timeout: seconds(600), heartbeat: None, name: None });
    assert_eq!(world.facts(), ["SignalAwaited"]);
    assert_eq!((world.write().before.len(), later_wakes(world.write())), (1, vec![(WakeCause::Due, until)]));
    world.written();
    world.now = until;
    world.want_steps(vec![want("s", Operation::WaitForSignal { timeout: seconds(600), heartbeat: None, name: None })]);
    assert_eq!(world.facts(), ["WaitExpired"]);
    assert!(world.write().after.is_empty());
}

#[test]
fn a_wait_for_a_signal_without_a_name_fails_the_run() {
    let named =
        |name: &str| Operation::WaitForSignal { timeout: seconds(600), heartbeat: None, name: Some(name.into()) };
    assert_eq!(wanted(named("")).facts(), ["RunFailed"]);
    let world = wanted(named("paid"));
    assert_eq!((world.facts(), world.write().before.len()), (names(&["SignalAwaited"]), 2), "{:?}", world.write());
}

#[test]
fn an_invalid_wait_fails_the_run_and_nothing_is_written_after_it() {
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![want("s", wait(&[], 60)), want("nap", Operation::SleepFor(seconds(60)))]);
    assert_eq!(world.facts(), ["RunFailed"]);
    world.finish();
    assert!(world.written.last().unwrap().acknowledges);
}

#[test]
fn events_that_cannot_be_accepted_are_not_sent() {
    let world = wanted(Operation::Send(vec![NewEvent::new("", json::empty_object())]));
    assert_eq!(world.facts(), ["StepRefused"]);
    let Fact::StepRefused { error, .. } = &world.write().entries[0].fact else { unreachable!() };
    assert!(error.code() == Some("bad-event") && error.message.contains("step `s` cannot send"), "{error:?}");
}

#[test]
fn rule_22_only_the_slots_of_dead_attempts_are_released() {
    let lease: Timestamp = START + seconds(600);
    let mut setup = HopSetup::new().one_at_a_time().with_history(vec![started("a", 1, lease), started("b", 1, lease)]);
    setup.worker.is_alone = true;
    let mut world = setup.polled();
    world.want_steps(vec![body("a")]);
    let Effect::FindHolders(limits) = world.open_question().clone() else { panic!("{:?}", world.open_question()) };
    let attempt = |run, step: &str, attempt| Holder::Attempt { run, step: step.into(), attempt, hop: HOP };
    let dead = attempt(run(), "a", 1);
    let held = [
        dead.clone(),
        attempt(run(), "a", 2),
        attempt(run(), "b", 1),
        attempt(RunId::new(START, 9), "a", 1),
        Holder::Run(run()),
    ];
    world.on(Input::Holders(held.into_iter().map(|holder| (limits[0].clone(), holder)).collect()));
    assert_eq!(world.facts(), ["AttemptInterrupted"]);
    assert_eq!(world.write().after, [LateWrite::Release { limit: limits[0].clone(), holder: dead }]);
}
