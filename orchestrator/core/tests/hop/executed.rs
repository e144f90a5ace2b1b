//! Steps that an executor executed while it was polled: when it is called again, and reports that
//! fail the run.

use std::sync::Arc;

use stepladder_core::decide::{Operation, StepOptions, Want};
use stepladder_core::hop::{Effect, ExecutedStep, Input, LateWrite, PollResult, Polled};
use stepladder_core::journal::Fact;
use stepladder_core::retry::Backoff;
use stepladder_core::state::{RunOutcome, StepState};
use stepladder_core::waiting::{EventMatch, EventWait};
use stepladder_core::{AttemptReport, ErrorCode, Failure, OwnStep, Spec, WakeCause, json};

use crate::world::{HopFixture, HopSetup, START, body, failure, later_wakes, run, seconds, started, succeeded, want};

fn setup() -> HopSetup {
    HopSetup { executes_in_poll: true, ..HopSetup::new() }
}

/// Returns a hop that polls in its first call.
fn calling(setup: &HopSetup) -> HopFixture {
    let mut world = setup.loaded();
    world.answer_until(|effect| matches!(effect, Effect::Poll(_)));
    world
}

fn succeeded_in_call(want: Want) -> ExecutedStep {
    ExecutedStep { want, result: Ok(json::null()), report: AttemptReport::default() }
}

fn failed_in_call(want: Want) -> ExecutedStep {
    ExecutedStep { want, result: Err(failure("boom")), report: AttemptReport::default() }
}

/// Returns the answer of a call that executed these steps, and waits for these others.
fn answer(executed: Vec<ExecutedStep>, wants: Vec<Want>) -> Input {
    Input::Polled(Box::new(Polled { executed, ..PollResult::Wanted(wants).into() }))
}

/// Finishes the hop, and returns the failure of its run.
fn failure_of(world: &mut HopFixture) -> Failure {
    world.finish();
    match world.state().end.expect("ended").how {
        RunOutcome::Failed(error) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_settled_step_that_is_reported_as_executed_again_fails_the_run() {
    let abandoned = Fact::StepAbandoned { step: "a".into(), attempt: 1, report: AttemptReport::default() };
    for end in [succeeded("a", 1), abandoned] {
        let mut world = calling(&setup().with_history(vec![started("a", 1, START), end]));
        world.on(answer(vec![succeeded_in_call(body("a"))], Vec::new()));
        assert_eq!(world.facts(), ["CallEnded", "RunFailed"]);
        let error = failure_of(&mut world);
        assert_eq!(error.code, Some(ErrorCode::Nondeterminism));
        assert!(error.message.contains("step `a` as executed again"), "{}", error.message);
    }
}

#[test]
fn a_second_result_of_one_step_in_one_call_fails_the_run() {
    let mut world = calling(&setup());
    world.on(answer(vec![failed_in_call(body("a")), succeeded_in_call(body("a"))], Vec::new()));
    assert_eq!(world.facts(), ["CallEnded", "StepStarted", "StepFailed", "RunFailed"]);
    let error = failure_of(&mut world);
    assert_eq!(error.code, Some(ErrorCode::Nondeterminism));
    assert!(error.message.contains("step `a` twice in one call"), "{}", error.message);
}

#[test]
fn only_steps_with_a_body_are_executed() {
    let mut world = calling(&setup());
    world.on(answer(vec![succeeded_in_call(want("nap", Operation::SleepFor(seconds(60))))], Vec::new()));
    let error = failure_of(&mut world);
    assert_eq!(error.code, Some(ErrorCode::Nondeterminism));
    assert!(error.message.contains("step `nap` as executed, and it is a sleep"), "{}", error.message);

    let nap = Fact::SleepStarted { step: "a".into(), until: START };
    let mut world = calling(&setup().with_history(vec![nap]));
    world.on(answer(vec![succeeded_in_call(body("a"))], Vec::new()));
    let error = failure_of(&mut world);
    assert_eq!(error.code, Some(ErrorCode::Nondeterminism));
    assert!(error.message.contains("the journal holds a sleep under `a`"), "{}", error.message);
}

#[test]
fn a_contradicting_report_fails_the_run_although_the_function_has_returned() {
    let long = "x".repeat(300);
    for (executed, code) in [
        (vec![succeeded_in_call(body(&long))], ErrorCode::BadStepName),
        (vec![succeeded_in_call(body("a")), succeeded_in_call(body("a"))], ErrorCode::Nondeterminism),
    ] {
        let mut world = calling(&setup());
        world.on(Input::Polled(Box::new(Polled { executed, ..PollResult::Ended(Ok(json::null())).into() })));
        assert_eq!(world.facts().last().map(String::as_str), Some("RunFailed"));
        assert_eq!(failure_of(&mut world).code, Some(code));
    }
}

#[test]
fn the_first_of_several_contradictions_is_recorded() {
    let mut world = calling(&setup());
    let executed = [body("a"), body("a"), want("nap", Operation::SleepFor(seconds(60)))];
    world.on(answer(executed.into_iter().map(succeeded_in_call).collect(), Vec::new()));
    assert!(failure_of(&mut world).message.contains("twice in one call"));
}

#[test]
fn a_failed_step_is_not_called_again_before_its_retry() {
    for wants in [vec![], vec![body("a")]] {
        let mut world = calling(&setup());
        world.on(answer(vec![failed_in_call(body("a"))], wants));
        assert_eq!(world.facts(), ["CallEnded", "StepStarted", "StepFailed"]);
        assert_eq!(later_wakes(world.write()).len(), 1, "the retry has its wake");
        assert!(world.write().acknowledges);
        assert!(world.written().is_done());
    }
}

#[test]
fn a_retry_that_is_due_at_once_is_executed_in_the_next_call() {
    let options = StepOptions { backoff: Some(Backoff::Fixed(seconds(0))), ..StepOptions::default() };
    let nap = want("nap", Operation::SleepFor(seconds(600)));
    let mut world = calling(&setup());
    world.on(answer(vec![failed_in_call(want("a", Operation::Run(options)))], vec![nap]));
    assert_eq!(world.facts(), ["CallEnded", "StepStarted", "StepFailed", "SleepStarted"]);
    world.written();
    assert_eq!(world.facts(), ["CallStarted"], "no attempt of the step starts outside a call");
}

#[test]
fn a_wait_beside_a_failed_step_is_registered_without_another_call() {
    let mut world = calling(&setup());
    let nap = want("nap", Operation::SleepFor(seconds(600)));
    world.on(answer(vec![failed_in_call(body("a"))], vec![nap]));
    assert_eq!(world.facts(), ["CallEnded", "StepStarted", "StepFailed", "SleepStarted"]);
    world.written();
    assert!(world.write().entries.is_empty() && world.write().acknowledges, "the retry is not due");
    assert!(world.written().is_done());
}

#[test]
fn a_retry_that_comes_early_counts() {
    let retry_at = Some(START + seconds(600));
    let error = failure("boom").failure;
    let failed = Fact::StepFailed { step: "a".into(), attempt: 1, error, retry_at, report: AttemptReport::default() };
    let mut world = calling(&setup().with_history(vec![started("a", 1, START), failed]));
    world.on(answer(vec![succeeded_in_call(body("a"))], Vec::new()));
    assert_eq!(world.facts(), ["CallEnded", "StepStarted", "StepSucceeded", "CallStarted"]);
    world.written();
    assert_eq!(world.state().steps["a"].attempt, 2);
}

/// Answers until the hop executes a body, and returns how often the function was polled.
fn polls_until_a_body_executes(world: &mut HopFixture, wants: &[Want]) -> usize {
    let mut polls = 0;
    while !matches!(world.open_question(), Effect::AwaitAttempts(_)) {
        match world.open_question() {
            Effect::Poll(_) => {
                polls += 1;
                assert!(polls < 10, "the executor is called without end");
                world.want_steps(wants.to_vec());
            }
            _ => drop(world.answer()),
        }
    }
    polls
}

#[test]
fn a_due_retry_that_the_executor_lists_starts_after_one_call_although_the_call_held_a_slot() {
    let error = failure("boom").failure;
    let retry_at = Some(START);
    let failed = Fact::StepFailed { step: "a".into(), attempt: 1, error, retry_at, report: AttemptReport::default() };
    let setup = setup().one_at_a_time().with_history(vec![started("a", 1, START), failed]);
    let mut world = setup.woken(WakeCause::Due).loaded();
    world.answer_until(|effect| matches!(effect, Effect::Poll(_)));
    assert_eq!(polls_until_a_body_executes(&mut world, &[body("a")]), 1);
    assert_eq!(world.executed(), ["a".into()]);
}

#[test]
fn a_step_with_a_wake_of_its_own_starts_after_a_call_that_waited_for_its_slot() {
    let woken = vec![Fact::StepsWoken { steps: vec!["a".into()], together: false }];
    let setup = setup().one_at_a_time().with_history(woken);
    let mut world = setup.woken(WakeCause::Step(OwnStep::Call.id())).loaded();
    world.answer_until(|effect| matches!(effect, Effect::Poll(_)));
    assert_eq!(polls_until_a_body_executes(&mut world, &[body("a")]), 1);
    assert_eq!(world.executed(), ["a".into()]);
}

#[test]
fn other_steps_start_beside_a_failed_one_without_another_call() {
    let mut world = calling(&setup());
    world.on(answer(vec![failed_in_call(body("a"))], vec![body("b"), body("a")]));
    assert_eq!(world.facts(), ["CallEnded", "StepStarted", "StepFailed", "StepStarted"]);
    world.written();
    assert_eq!(world.executed(), ["b".into()]);
}

#[test]
fn a_wanted_step_starts_after_the_slot_of_the_call_is_released_without_another_call() {
    let mut world = calling(&setup().one_at_a_time());
    world.on(answer(Vec::new(), vec![body("b")]));
    assert_eq!(world.facts(), ["CallEnded"]);
    assert!(world.write().after.iter().any(|after| matches!(after, LateWrite::Release { .. })));
    world.answer_until(|effect| matches!(effect, Effect::Acquire(_)));
    let Effect::Acquire(request) = world.open_question().clone() else { unreachable!() };
    assert_eq!(request.holder.step(), Some(&"b".into()), "and not the next call");
    world.answer_until(|effect| matches!(effect, Effect::AwaitAttempts(_)));
    assert_eq!(world.executed(), ["b".into()]);
}

#[test]
fn a_wanted_step_starts_after_a_call_that_executed_nothing() {
    let mut one_by_one = setup();
    one_by_one.worker.goes_on = false;
    let mut world = calling(&one_by_one);
    world.on(answer(Vec::new(), vec![body("b")]));
    assert_eq!(world.facts(), ["CallEnded", "StepStarted"], "if it were handed over, the next hop would call too");
    world.written().succeed(&["b"]);
    let wakes: Vec<WakeCause> = world.write().wakes.iter().map(|wake| wake.cause.clone()).collect();
    assert_eq!((world.facts(), wakes), (vec!["StepSucceeded".to_owned()], vec![WakeCause::Next]));

    let mut world = calling(&one_by_one);
    world.on(answer(vec![succeeded_in_call(body("a"))], vec![body("b")]));
    world.written();
    let wakes: Vec<WakeCause> = world.write().wakes.iter().map(|wake| wake.cause.clone()).collect();
    assert_eq!(wakes, [WakeCause::Next], "one step for each invocation");
}

#[test]
fn waits_are_registered_without_another_call() {
    let mut world = calling(&setup());
    world.on(answer(Vec::new(), vec![want("nap", Operation::SleepFor(seconds(600)))]));
    assert_eq!(world.facts(), ["CallEnded", "SleepStarted"]);
    world.written();
    assert!(world.write().acknowledges && world.write().entries.is_empty());
    assert!(world.written().is_done());
    assert_eq!(world.state().calls, 1);
}

#[test]
fn a_called_run_is_created_without_another_call() {
    let mut world = calling(&HopSetup { others: vec![Spec::new("g")], ..setup() });
    let call = Operation::Invoke {
        function: "g".into(),
        input: json::empty_object(),
        bound: false,
        timeout: None,
        user: None,
    };
    world.on(answer(Vec::new(), vec![want("call", call)]));
    assert_eq!(world.facts(), ["CallEnded", "InvokeStarted"]);
    world.written();
    assert!(matches!(world.open_question(), Effect::StartRun(start) if start.0 == run().invoked_by("call", START)));
    world.answer();
    world.answer_until(|effect| matches!(effect, Effect::Write(_)));
    assert!(world.write().acknowledges);
    assert_eq!(world.state().calls, 1);
}

#[test]
fn an_ended_wait_is_shown_in_another_call() {
    let nap = Fact::SleepStarted { step: "nap".into(), until: START + seconds(5) };
    let mut world = calling(&setup().with_history(vec![nap]));
    world.now = START + seconds(5);
    world.on(answer(Vec::new(), vec![want("nap", Operation::SleepFor(seconds(600)))]));
    assert_eq!(world.facts(), ["CallEnded", "SleepEnded"]);
    world.written();
    assert_eq!(world.facts(), ["CallStarted"]);
}

#[test]
fn an_event_that_came_during_the_registration_is_delivered_before_another_decision() {
    let mut world = calling(&setup().woken(WakeCause::Offered));
    let wait: Arc<EventWait> = EventWait { events: vec!["go".into()], matching: EventMatch::Any }.into();
    world.on(answer(Vec::new(), vec![want("w", Operation::WaitForEvent { wait, timeout: seconds(60) })]));
    assert_eq!(world.facts(), ["CallEnded", "EventAwaited"]);
    world.written();
    assert!(matches!(world.open_question(), Effect::ReadInbox));
}

#[test]
fn a_step_that_another_worker_executes_leaves_a_wake_after_its_lease() {
    let lease = START + seconds(100);
    let mut world = calling(&setup().with_history(vec![started("a", 1, lease)]));
    world.on(answer(vec![succeeded_in_call(body("a"))], Vec::new()));
    assert_eq!(world.facts(), ["CallEnded"]);
    let wakes = later_wakes(world.write());
    assert!(matches!(&wakes[..], [(WakeCause::Lease, due)] if *due > lease), "{wakes:?}");
    assert!(world.write().acknowledges && world.written().is_done());
}

#[test]
fn a_step_that_may_not_be_executed_is_refused() {
    let mut world = calling(&setup());
    let options = StepOptions { timeout: Some(seconds(10_000)), ..StepOptions::default() };
    world.on(answer(vec![succeeded_in_call(want("a", Operation::Run(options)))], Vec::new()));
    assert_eq!(world.facts(), ["CallEnded", "StepRefused", "CallStarted"]);
    world.written();
    assert!(matches!(world.state().steps["a"].state, StepState::Done));
}

#[test]
fn rule_11_after_a_conflict_a_retry_keeps_its_wake() {
    let others = || vec![Fact::LogWritten { attempt: 1, lines: Vec::new() }];
    let mut world = calling(&setup());
    world.on(answer(vec![failed_in_call(body("a"))], Vec::new()));
    let wakes = later_wakes(world.write());
    world.overtaken_by(others());
    assert_eq!((world.facts().len(), later_wakes(world.write())), (3, wakes));

    let woken = vec![Fact::StepsWoken { steps: vec!["a".into()], together: false }];
    let mut world = calling(&setup().with_history(woken));
    world.on(answer(vec![failed_in_call(body("a"))], vec![body("b")]));
    world.overtaken_by(others());
    assert_eq!(world.facts(), ["CallEnded", "StepStarted", "StepFailed"]);
    assert!(matches!(&later_wakes(world.write())[..], [(WakeCause::Step(step), _)] if **step == *"a"));
}
