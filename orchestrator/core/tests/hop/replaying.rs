//! Tests of what a function wants, and of the outcomes that are revealed to the function.

use std::sync::Arc;

use stepladder_core::decide::{Operation, StepOptions};
use stepladder_core::hop::{
    AdvisedFailure, EarlyWrite, Effect, Finished, Input, LateWrite, LogEvent, PollResult, Polled, StepResult,
};
use stepladder_core::journal::{Fact, Failure, Outcome};
use stepladder_core::limits::{NAME_CHARS, OUTCOME_BYTES};
use stepladder_core::spec::Concurrency;
use stepladder_core::waiting::{EventMatch, EventWait};
use stepladder_core::{AttemptReport, ErrorCode, NewEvent, WakeCause, json};

use crate::world::{HopSetup, START, body, failure, later_wakes, polled, seconds, started, succeeded, want};

fn wait(name: &str) -> Arc<EventWait> {
    Arc::new(EventWait { events: vec![name.into()], matching: EventMatch::Any })
}

fn waiting() -> Operation {
    Operation::WaitForEvent { wait: wait("paid"), timeout: seconds(600) }
}

#[test]
fn recorded_outcomes_are_given_to_a_new_execution_in_journal_order() {
    let history = vec![started("a", 1, START), started("b", 1, START), succeeded("b", 1), succeeded("a", 1)];
    let mut world = HopSetup::new().with_history(history).loaded();
    world.answer_until(|effect| matches!(effect, Effect::Poll(_)));
    let Effect::Poll(memo) = world.open_question() else { unreachable!() };
    let order: Vec<&str> = memo.iter().map(|outcome| &*outcome.step).collect();
    assert_eq!(order, ["b", "a"]);
}

#[test]
fn rule_6_outcomes_that_the_code_does_not_ask_for_are_reported() {
    let mut world = HopSetup::new().with_history(vec![started("a", 1, START), succeeded("a", 1)]).polled();
    let result = PollResult::Ended(Ok(json::null()));
    world.on(Input::Polled(Box::new(Polled { orphans: vec!["a".into()], ..result.into() })));
    assert!(world.logged.iter().any(|event| matches!(event, LogEvent::Orphans(steps) if **steps == ["a".into()])));
}

#[test]
fn rule_8_the_function_is_polled_after_every_outcome() {
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![body("a"), body("b")]).written();
    assert_eq!(world.executed().len(), 2);
    world.succeed(&["a"]);
    assert_eq!(world.facts(), ["StepSucceeded"], "b executes: the outcome is written before it is shown");
    world.written();
    assert!(matches!(world.open_question(), Effect::Poll(shown) if shown.len() == 1));
    world.want_steps(vec![body("c")]);
    assert_eq!(world.facts(), ["StepStarted"], "c starts while b executes");
    world.written().succeed(&["c"]);
    world.written();
    assert!(matches!(world.open_question(), Effect::Poll(shown) if shown.len() == 1), "a is not shown again");
}

#[test]
fn the_only_outcome_is_shown_before_it_is_written_with_what_follows() {
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![body("a")]).written().succeed(&["a"]);
    assert!(matches!(world.open_question(), Effect::Poll(shown) if shown.len() == 1));
    world.want_steps(vec![body("b")]);
    assert_eq!(world.facts(), ["StepSucceeded", "StepStarted"]);
    world.written().succeed(&["b"]);
    assert!(matches!(world.open_question(), Effect::Poll(shown) if shown.len() == 1), "a is not shown again");
    world.return_from_handler(Ok(json::null()));
    assert_eq!(world.facts(), ["StepSucceeded", "RunCompleted"]);
    assert!(world.write().acknowledges && world.written().is_done());
}

#[test]
fn an_error_with_a_name_that_is_not_retried_is_final() {
    let setup = HopSetup::new().spec(|spec| spec.retry.non_retryable = vec!["TypeError".into()].into());
    let named = |name: &str| AdvisedFailure {
        failure: Failure { name: Some(name.into()), ..Failure::new("boom") },
        ..failure("")
    };
    for (name, is_retried) in [("TypeError", false), ("RangeError", true)] {
        let mut world = setup.polled();
        world.want_steps(vec![body("a")]).written();
        let result = Err(named(name).into());
        let results = vec![StepResult { step: "a".into(), result, report: AttemptReport::default() }];
        world.on(Input::Finished(Finished { results, dropped: Vec::new() }));
        match is_retried {
            true => assert_eq!(later_wakes(world.write()).len(), 1),
            false => assert!(matches!(world.open_question(), Effect::Poll(shown) if shown.len() == 1)),
        }
        let mut world = setup.polled();
        world.return_from_handler(Err(named(name)));
        assert_eq!(world.facts(), [if is_retried { "HandlerFailed" } else { "RunFailed" }]);
    }
}

#[test]
fn a_final_failure_that_was_shown_before_it_is_written_is_not_shown_again() {
    let mut world = HopSetup::new().spec(|spec| spec.retry.retries = 0).polled();
    world.want_steps(vec![body("a")]).written().fail("a");
    assert!(matches!(world.open_question(), Effect::Poll(shown) if shown.len() == 1));
    world.want_steps(vec![body("b")]);
    assert_eq!(world.facts(), ["StepFailed", "StepStarted"]);
    world.written().succeed(&["b"]);
    assert!(matches!(world.open_question(), Effect::Poll(shown) if shown.len() == 1));
}

#[test]
fn rule_11_the_wake_of_a_sleep_is_written_before_its_entry() {
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![want("nap", Operation::SleepFor(seconds(30)))]);
    assert_eq!(world.facts(), ["SleepStarted"]);
    assert_eq!(later_wakes(world.write()), [(WakeCause::Due, world.now + seconds(30))]);
    world.written().answer_until(|effect| matches!(effect, Effect::Poll(_)));
    world.want_steps(vec![want("nap", Operation::SleepFor(seconds(30)))]);
    assert!(world.write().acknowledges && world.write().entries.is_empty());
}

#[test]
fn rule_11_the_wake_of_a_retry_is_written_before_its_entry() {
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![body("a")]).written().fail("a");
    assert_eq!(world.facts(), ["StepFailed"]);
    assert_eq!(later_wakes(world.write()).len(), 1);
    assert!(world.write().acknowledges && world.written().is_done());
}

#[test]
fn a_sleep_until_no_moment_is_refused() {
    let until = stepladder_core::Timestamp::from_millis(i64::MAX);
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![want("nap", Operation::SleepUntil(until))]);
    assert_eq!(world.facts(), ["StepRefused"]);
}

#[test]
fn rule_18_a_wait_is_registered_before_any_body_starts() {
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![body("a"), want("w", waiting())]);
    assert_eq!(world.facts(), ["EventAwaited"]);
    assert!(matches!(&world.write().before[..], [EarlyWrite::Subscribe(_), EarlyWrite::Wake { .. }]));
    world.written().answer_until(|effect| matches!(effect, Effect::Poll(_)));
    world.want_steps(vec![body("a"), want("w", waiting())]);
    assert_eq!(world.facts(), ["StepStarted"]);
}

#[test]
fn an_expired_wait_leaves_the_index() {
    let until = START + seconds(1);
    let history = vec![Fact::EventAwaited { step: "w".into(), wait: wait("paid"), until }];
    let mut world = HopSetup::new().with_history(history).woken(WakeCause::Due).polled();
    world.want_steps(vec![want("w", waiting())]);
    assert_eq!(world.facts(), ["WaitExpired"]);
    assert!(matches!(&world.write().after[..], [LateWrite::Unsubscribe(_)]));
}

#[test]
fn events_are_sent_under_the_same_ids_each_time() {
    let ids = |world: &crate::world::HopFixture| match world.open_question() {
        Effect::Send(events) => events.iter().map(|event| event.id).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let events = vec![NewEvent::new("x", json::empty_object()), NewEvent::new("y", json::empty_object())];
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![want("s", Operation::Send(events.clone()))]);
    let first = ids(&world);
    let mut again = HopSetup::new().redelivered().polled();
    again.want_steps(vec![want("s", Operation::Send(events))]);
    assert_eq!(first, ids(&again));
    world.on(Input::Sent(first));
    assert_eq!(world.facts(), ["EventsSent"]);
}

#[test]
fn rule_33_a_result_that_is_too_large_fails_its_step() {
    let large = json::to_json(&"x".repeat(OUTCOME_BYTES)).unwrap();
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![body("a")]).written();
    let result =
        stepladder_core::hop::StepResult { step: "a".into(), result: Ok(large), report: AttemptReport::default() };
    world.on(Input::Finished(Finished { results: vec![result], dropped: vec![] }));
    let Effect::Poll(shown) = world.open_question() else { panic!("{:?}", world.open_question()) };
    assert!(
        matches!(&shown[0].outcome, Outcome::Failed(Failure { code: Some(code), .. }) if code.to_string() == "too-large")
    );
}

#[test]
fn a_handler_that_fails_leaves_a_wake_for_its_next_attempt() {
    let mut world = HopSetup::new().polled();
    world.return_from_handler(Err(failure("boom")));
    assert_eq!(world.facts(), ["HandlerFailed"]);
    assert_eq!(later_wakes(world.write()).len(), 1);
    assert!(world.write().acknowledges && world.written().is_done());
}

#[test]
fn a_handler_without_retries_fails_its_run() {
    let mut world = HopSetup::new().spec(|spec| spec.retry.retries = 0).polled();
    world.return_from_handler(Err(failure("boom")));
    assert_eq!(world.facts(), ["RunFailed"]);
}

#[test]
fn an_event_that_the_function_does_not_take_fails_the_run() {
    let mut world = HopSetup::new().loaded();
    world.answer_until(|effect| matches!(effect, Effect::Open(_)));
    world.on(Input::Opened(Err(Box::new(Failure::new("no such field")))));
    assert_eq!(world.facts(), ["RunFailed"]);
}

#[test]
fn a_step_of_another_kind_fails_the_run() {
    let history = vec![Fact::SleepStarted { step: "a".into(), until: START + seconds(60) }];
    let mut world = HopSetup::new().with_history(history).polled();
    world.want_steps(vec![body("a")]);
    assert_eq!(world.facts(), ["RunFailed"]);
}

#[test]
fn a_step_with_too_long_a_name_fails_the_run() {
    // the name of a step and the number of its repetition
    for (chars, fact) in [(NAME_CHARS + 16, "StepStarted"), (NAME_CHARS + 17, "RunFailed")] {
        let mut world = HopSetup::new().polled();
        world.want_steps(vec![body(&"é".repeat(chars))]);
        assert_eq!(world.facts(), [fact]);
    }
}

#[test]
fn an_attempt_that_select_drops_is_abandoned_and_gives_back_its_slot() {
    let mut world = HopSetup::new().one_at_a_time().polled();
    world.want_steps(vec![body("a")]);
    world.answer_until(|effect| matches!(effect, Effect::AwaitAttempts(_)));
    let dropped = vec![("a".into(), AttemptReport::default())];
    world.on(Input::Finished(Finished { results: vec![], dropped }));
    world.on(polled(PollResult::Wanted(vec![want("nap", Operation::SleepFor(seconds(30)))])));
    assert_eq!(world.facts(), ["StepAbandoned", "SleepStarted"]);
    assert!(matches!(&world.write().after[..], [LateWrite::Release { .. }]));
}

#[test]
fn a_poll_checks_again_at_its_schedule_and_at_last_times_out() {
    let every = stepladder_core::retry::Backoff::Fixed(seconds(10));
    let poll = stepladder_core::decide::PollSchedule { every, timeout: seconds(15) };
    let options = StepOptions { poll: Some(poll), ..StepOptions::default() };
    let check = want("p", Operation::Run(options));
    let not_yet = |world: &mut crate::world::HopFixture| {
        let result = Err(stepladder_core::hop::AdvisedFailure { failure: Failure::not_yet(), ..failure("") }.into());
        let results =
            vec![stepladder_core::hop::StepResult { step: "p".into(), result, report: AttemptReport::default() }];
        world.on(Input::Finished(Finished { results, dropped: vec![] }));
    };
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![check.clone()]).written();
    not_yet(&mut world);
    assert_eq!(later_wakes(world.write()), [(WakeCause::Due, world.now + seconds(10))]);
    let history = vec![started("p", 1, START)];
    let mut world =
        HopSetup { now: START + seconds(200), ..HopSetup::new().with_history(history).woken(WakeCause::Due) }.polled();
    world.want_steps(vec![check]).written();
    not_yet(&mut world);
    assert!(matches!(world.open_question(), Effect::Poll(shown) if matches!(shown[0].outcome, Outcome::Failed(_))));
}

#[test]
fn a_check_of_a_poll_that_fails_is_retried_like_any_attempt() {
    let every = stepladder_core::retry::Backoff::Fixed(seconds(10));
    let poll = stepladder_core::decide::PollSchedule { every, timeout: seconds(15) };
    let options = StepOptions { poll: Some(poll), retries: Some(0), ..StepOptions::default() };
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![want("p", Operation::Run(options))]).written().fail("p");
    assert!(
        matches!(world.open_question(), Effect::Poll(shown) if matches!(shown[0].outcome, Outcome::Failed(_))),
        "no retries"
    );
}

#[test]
fn rule_33_a_run_fails_that_returns_too_much() {
    for (bytes, fact) in [(OUTCOME_BYTES, "RunCompleted"), (OUTCOME_BYTES + 1, "RunFailed")] {
        let mut world = HopSetup::new().polled();
        world.return_from_handler(Ok(json::to_json(&"x".repeat(bytes - 2)).unwrap()));
        assert_eq!(world.facts(), [fact]);
    }
}

#[test]
fn a_step_that_is_wanted_twice_in_one_poll_fails_the_run() {
    for operation in [Operation::Run(StepOptions::default()), Operation::SleepFor(seconds(60)), waiting()] {
        let mut world = HopSetup::new().polled();
        world.want_steps(vec![want("a", operation.clone()), body("b"), want("a", operation)]);
        assert_eq!(world.facts(), ["RunFailed"]);
        let Fact::RunFailed { error } = &world.write().entries[0].fact else { unreachable!() };
        assert_eq!(error.code, Some(ErrorCode::Nondeterminism));
        assert!(error.message.contains("step `a`"), "{error:?}");
        assert!(world.write().before.is_empty() && world.finish().written.last().unwrap().acknowledges);
    }
}

#[test]
fn a_step_that_is_wanted_twice_takes_no_outcome_and_no_slot_from_others() {
    let mut ahead = HopSetup::new().polled();
    ahead.want_steps(vec![body("a")]).written().succeed(&["a"]).want_steps(vec![body("b"), body("b")]);
    assert_eq!(ahead.facts(), ["StepSucceeded", "RunFailed"]);

    let mut world = HopSetup::new().spec(|spec| spec.concurrency.push(Concurrency::steps(2))).polled();
    world.want_steps(vec![body("a"), body("b")]);
    world.answer_until(|effect| matches!(effect, Effect::AwaitAttempts(_)));
    world.succeed(&["a"]);
    world.answer_until(|effect| matches!(effect, Effect::Poll(_)));
    world.want_steps(vec![body("b"), body("c"), body("c")]);
    assert_eq!(world.facts(), ["RunFailed"]);
    world.answer_until(|effect| matches!(effect, Effect::AwaitAttempts(_)));
    world.succeed(&["b"]);
    assert!(matches!(&world.write().after[..], [LateWrite::Release { .. }]), "the slot of b: {:?}", world.write());
    assert!(world.finish().written.last().unwrap().acknowledges);
}
