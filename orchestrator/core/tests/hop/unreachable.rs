//! An executor that cannot be reached: no retry is used, no failure is written, and nothing is
//! held.

use stepladder_core::decide::Operation;
use stepladder_core::hop::{
    AttemptError, Effect, Finished, Input, LateWrite, LogEvent, StepResult, TicketSearch, Unreachable, holds_slot,
};
use stepladder_core::journal::{Fact, Outcome};
use stepladder_core::slot::Holder;
use stepladder_core::state::StepState;
use stepladder_core::{AttemptReport, ErrorCode, RunOrStep, Timestamp, WakeCause, json};

use crate::world::{HopFixture, HopSetup, START, body, later_wakes, run, seconds, started, unreachable, want};

/// Returns a finished attempt that the executor could not execute.
fn not_executed(step: &str) -> Input {
    let result = Err(AttemptError::Unreachable(unreachable()));
    let results = vec![StepResult { step: step.into(), result, report: AttemptReport::default() }];
    Input::Finished(Finished { results, dropped: Vec::new() })
}

fn opening(setup: &HopSetup) -> HopFixture {
    let mut world = setup.loaded();
    world.answer_until(|effect| matches!(effect, Effect::Open(_)));
    world
}

/// Returns the only later wake of the write that the hop wants.
fn later_wake(world: &HopFixture) -> (WakeCause, Timestamp) {
    let mut wakes = later_wakes(world.write());
    assert_eq!(wakes.len(), 1, "one wake leaves one copy");
    wakes.remove(0)
}

#[test]
fn a_run_that_cannot_be_opened_leaves_one_later_wake_and_uses_no_retry() {
    let mut world = opening(&HopSetup::new());
    world.on(Input::Unreachable(unreachable()));
    assert_eq!(world.facts(), ["ExecutorUnreachable"]);
    let (cause, due) = later_wake(&world);
    assert_eq!(cause, WakeCause::Again);
    assert!(due >= world.now + seconds(1) && due < world.now + seconds(2), "{due}");
    assert!(world.write().acknowledges);
    assert!(world.logged.iter().any(|event| matches!(event, LogEvent::Unreachable { .. })));
    world.written();
    assert!(world.is_done());
    let state = world.state();
    assert_eq!(state.unreachable.as_ref().map(|outage| outage.since), Some(world.now));
    assert_eq!((state.handler_failures, state.handler_retry_at), (0, None));
    assert_eq!(world.fault(), None, "the queue does not count the delivery as failed");
}

#[test]
fn the_delay_grows_with_the_outage_to_five_minutes_and_the_journal_does_not() {
    for (outage, least, most) in [(1, 1, 2), (40, 40, 45), (100_000, 300, 331)] {
        let mut setup = HopSetup::new().with_history(vec![Fact::ExecutorUnreachable { why: "no route".into() }]);
        setup.now = START + seconds(outage);
        let mut world = opening(&setup.woken(WakeCause::Again));
        world.on(Input::Unreachable(unreachable()));
        assert!(world.write().entries.is_empty(), "it is written once");
        let (_, due) = later_wake(&world);
        assert!(due >= world.now + seconds(least) && due < world.now + seconds(most), "{outage}: {due}");
    }
}

#[test]
fn a_wake_that_the_hop_depends_on_stays_as_it_is() {
    let mut world = opening(&HopSetup::new().woken(WakeCause::Watchdog));
    world.on(Input::Unreachable(unreachable()));
    assert_eq!(later_wake(&world).0, WakeCause::Watchdog);
}

#[test]
fn an_executor_that_is_reachable_again_is_written_with_the_next_start() {
    let outage = vec![Fact::ExecutorUnreachable { why: "no route".into() }];
    let mut world = HopSetup::new().with_history(outage).polled();
    world.want_steps(vec![body("a")]);
    assert_eq!(world.facts(), ["ExecutorReached", "StepStarted"]);
    world.written();
    assert_eq!(world.state().unreachable, None);
}

#[test]
fn outcomes_that_the_function_saw_ahead_of_the_journal_are_written_before_the_run_is_left() {
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![body("a")]).written().succeed(&["a"]);
    world.on(Input::Unreachable(unreachable()));
    assert_eq!(world.facts(), ["StepSucceeded"]);
    world.written();
    assert_eq!(world.facts(), ["ExecutorUnreachable"]);
    world.written();
    assert!(world.is_done());
}

#[test]
fn attempts_that_execute_go_on_although_the_function_cannot_be_polled() {
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![body("a"), body("b")]).written().succeed(&["a"]).written();
    world.on(Input::Unreachable(unreachable()));
    assert_eq!(world.phase(), "Running");
    world.succeed(&["b"]).on(Input::Unreachable(unreachable()));
    assert_eq!(world.facts(), ["StepSucceeded"], "the outcome of b is kept");
}

#[test]
fn an_attempt_that_was_not_executed_is_taken_back_with_its_slots_and_its_number() {
    let mut world = HopSetup::new().one_at_a_time().polled();
    world.want_steps(vec![body("a")]);
    world.answer_until(|effect| matches!(effect, Effect::AwaitAttempts(_)));
    world.on(not_executed("a"));
    assert_eq!(world.facts(), ["AttemptUnreachable"]);
    let releases = |after: &&LateWrite| matches!(after, LateWrite::Release { .. });
    assert_eq!(world.write().after.iter().filter(releases).count(), 1);
    let (_, due) = later_wake(&world);
    assert!(due >= world.now + seconds(1) && due < world.now + seconds(2), "{due}");
    world.finish();
    let step = &world.state().steps["a"];
    assert!(matches!(step.state, StepState::Retrying { error: None, .. }));
    assert_eq!((step.attempt, step.failures, step.interruptions, step.unreachable), (0, 0, 0, 1));
}

#[test]
fn an_attempt_that_was_not_executed_is_tried_again_under_the_wake_of_its_step_if_that_has_one() {
    let woken = vec![Fact::StepsWoken { steps: vec!["a".into()], together: false }];
    let cause = || WakeCause::Step("a".into());
    for (history, expected) in [(woken, cause()), (vec![], WakeCause::Due)] {
        let mut world = HopSetup::new().with_history(history).woken(cause()).polled();
        world.want_steps(vec![body("a")]).written();
        world.on(not_executed("a"));
        assert_eq!(later_wake(&world).0, expected);
    }
}

#[test]
fn rule_22_the_slot_of_an_attempt_that_was_taken_back_is_released_by_the_next_hop() {
    let taken_back = |hop| Fact::AttemptUnreachable {
        step: "a".into(),
        attempt: 1,
        why: "no".into(),
        retry_at: START + seconds(60),
        hop: Some(hop),
        broken: false,
    };
    let history = vec![started("a", 1, START + seconds(100)), taken_back(7)];
    let mut world = HopSetup::new().one_at_a_time().with_history(history).redelivered().loaded();
    world.answer_until(|effect| matches!(effect, Effect::FindHolders(_)));
    let Effect::FindHolders(limits) = world.open_question().clone() else { unreachable!() };
    let holder = |hop| Holder::Attempt { run: run(), step: "a".into(), attempt: 1, hop };
    world.on(Input::Holders(vec![(limits[0].clone(), holder(7)), (limits[0].clone(), holder(8))]));
    let released: Vec<_> = world.write().after.iter().collect();
    assert!(matches!(&released[..], [LateWrite::Release { holder: of, .. }] if *of == holder(7)), "{released:?}");

    // the latest eight hops are remembered, which is longer than their leases last
    let mut history = Vec::new();
    for hop in 1..=9 {
        history.extend([started("a", 1, START + seconds(100)), taken_back(hop)]);
    }
    let state = HopSetup::new().with_history(history).loaded().state();
    assert!(holds_slot(&state, &holder(1)) && (2..=9).all(|hop| !holds_slot(&state, &holder(hop))));
}

#[test]
fn rule_20_a_hop_that_took_an_attempt_back_leaves_the_next_one_to_another_hop() {
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![body("a"), body("b")]).written();
    world.on(not_executed("a"));
    let (_, due) = later_wake(&world);
    world.written().want_steps(vec![body("a")]);
    world.now = due + seconds(1);
    world.on(Input::Finished(Finished::default()));
    world.want_steps(vec![body("a")]);
    assert!(matches!(world.open_question(), Effect::AwaitAttempts(_)), "its slots would have the same holder");
    world.succeed(&["b"]).want_steps(vec![body("a")]);
    assert_eq!(world.facts(), ["StepSucceeded"]);
    assert!(world.write().acknowledges && world.written().is_done());
}

#[test]
fn the_next_try_has_the_same_number_and_all_retries_are_left() {
    let taken_back = |retry_at| Fact::AttemptUnreachable {
        step: "a".into(),
        attempt: 1,
        why: "no".into(),
        retry_at,
        hop: None,
        broken: false,
    };
    let mut history = Vec::new();
    for _ in 0..20 {
        history.extend([started("a", 1, START + seconds(900)), taken_back(START)]);
    }
    let mut world = HopSetup::new().with_history(history).woken(WakeCause::Due).polled();
    world.want_steps(vec![body("a")]).written();
    assert_eq!(world.executed(), ["a".into()]);
    let attempts = |effect: &Effect| match effect {
        Effect::Run(attempts) => attempts.iter().map(|attempt| attempt.ready.clone()).collect(),
        _ => Vec::new(),
    };
    let ready = world.effects.iter().flat_map(attempts).next().expect("an attempt");
    assert_eq!((ready.attempt, ready.failures), (1, 0));
    world.on(not_executed("a"));
    let (_, due) = later_wake(&world);
    assert!(
        due >= world.now + seconds(300) && due < world.now + seconds(331),
        "the delay stays at five minutes: {due}"
    );
}

#[test]
fn rule_24_a_promoted_ticket_is_given_up_unless_the_next_try_is_soon() {
    let outage = || vec![Fact::ExecutorUnreachable { why: "no route".into() }];
    let setup = || HopSetup::new().one_at_a_time().with_history(outage()).woken(WakeCause::Slot);
    let mut soon = opening(&setup());
    soon.on(Input::Unreachable(unreachable()));
    assert!(soon.write().after.is_empty(), "the ticket may wait for a moment");
    let mut late = opening(&HopSetup { now: START + seconds(600), ..setup() });
    late.on(Input::Unreachable(unreachable()));
    let Effect::FindTickets { limits, place: TicketSearch::Own(RunOrStep::Run) } = late.open_question().clone() else {
        panic!("{:?}", late.open_question())
    };
    late.on(Input::Tickets(limits));
    assert!(late.write().after.iter().any(|after| matches!(after, LateWrite::Dequeue { .. })));
    assert!(late.write().wakes.is_empty(), "the later wake enqueues again");
    assert_eq!(later_wakes(late.write()).len(), 1);
}

#[test]
fn a_wait_is_registered_after_an_outage_like_before() {
    let outage = vec![Fact::ExecutorUnreachable { why: "no route".into() }];
    let mut world = HopSetup::new().with_history(outage).polled();
    world.want_steps(vec![want("nap", Operation::SleepFor(seconds(60)))]);
    assert_eq!(world.facts(), ["ExecutorReached", "SleepStarted"]);
    world.written().return_from_handler(Ok(json::null()));
    assert_eq!(world.facts(), ["RunCompleted"]);
}

#[test]
fn while_outcomes_are_saved_after_a_failure_of_the_storage_the_poll_may_fail_too() {
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![body("a"), body("b")]).written().succeed(&["a"]);
    world.fail_executor().on(Input::Finished(Finished::default()));
    world.on(Input::Unreachable(unreachable()));
    assert_eq!(world.phase(), "Saving");
    world.succeed(&["b"]);
    assert_eq!(world.facts(), ["StepSucceeded"]);
}

/// Returns the answer that the connection broke while the executor had an attempt.
fn broken(step: &str) -> Input {
    let lost = AttemptError::Lost(Unreachable { why: "the connection broke".into(), is_broken: true });
    let result = StepResult { step: step.into(), result: Err(lost), report: AttemptReport::default() };
    Input::Finished(Finished { results: vec![result], dropped: Vec::new() })
}

#[test]
fn an_attempt_that_breaks_its_connection_ten_times_in_a_row_fails_its_step() {
    let taken_back = |broken| Fact::AttemptUnreachable {
        step: "a".into(),
        attempt: 1,
        why: "no".into(),
        retry_at: START,
        hop: None,
        broken,
    };
    for (times, expected) in [(8, "AttemptUnreachable"), (9, "StepFailed")] {
        let mut history = Vec::new();
        for _ in 0..times {
            // an executor that is not there in between does not end the row
            history.extend([started("a", 1, START), taken_back(true), started("a", 1, START), taken_back(false)]);
        }
        let mut world = HopSetup::new().with_history(history).woken(WakeCause::Due).polled();
        world.want_steps(vec![body("a")]).written();
        world.on(broken("a"));
        if expected == "StepFailed" {
            let Effect::Poll(memo) = world.open_question() else { panic!("{:?}", world.open_question()) };
            let Outcome::Failed(error) = &memo.last().expect("an outcome").outcome else { panic!("{memo:?}") };
            assert_eq!(error.code, Some(ErrorCode::Interrupted));
        } else {
            assert_eq!(world.facts(), [expected]);
        }
    }
}

#[test]
fn a_call_that_breaks_its_connection_ten_times_in_a_row_fails_the_run() {
    for (times, expected) in [(8, ["CallEnded"].as_slice()), (9, &["CallEnded", "RunFailed"])] {
        let mut history = Vec::new();
        for call in 1..=times {
            history.push(Fact::CallStarted { call, lease_until: START + seconds(60), worker: "w".into() });
            history.push(Fact::CallEnded { call, interrupted: true });
        }
        history.insert(2, Fact::ExecutorUnreachable { why: "no".into() });
        let setup = HopSetup { executes_in_poll: true, ..HopSetup::new() };
        let mut world = setup.with_history(history).woken(WakeCause::Again).polled();
        world.on(Input::Unreachable(Unreachable { why: "the connection broke".into(), is_broken: true }));
        assert_eq!(world.facts(), expected, "after {times} times");
        let counts = matches!(world.write().entries[0].fact, Fact::CallEnded { interrupted: true, .. });
        assert!(counts, "a call that broke off is counted: {:?}", world.write().entries);
    }
}
