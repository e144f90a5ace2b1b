//! Tests of outcomes that are written again, outcomes that are saved, and attempts of a run that
//! has ended.

use stepladder_core::decide::Operation;
use stepladder_core::hop::{Effect, Finished, Input, LateWrite, LogEvent, PollResult, Polled, StoreFault};
use stepladder_core::journal::Fact;
use stepladder_core::report::{HandlerLogLine, LogLevel, LogLine};
use stepladder_core::slot::Holder;
use stepladder_core::{AttemptReport, StepId, WakeCause, json};

use crate::world::{HOP, HopFixture, HopSetup, START, body, polled, run, seconds, want};

fn cancelled() -> Vec<Fact> {
    vec![Fact::RunCancelled { reason: "a user".into() }]
}

fn dropped(steps: &[&str]) -> Vec<(StepId, AttemptReport)> {
    steps.iter().map(|step| ((*step).into(), AttemptReport::default())).collect()
}

fn finished(dropped: Vec<(StepId, AttemptReport)>) -> Input {
    Input::Finished(Finished { results: vec![], dropped })
}

/// Returns a hop that executes the bodies of `a` and `b`. The setup decides whether a limit
/// applies.
fn executing(setup: HopSetup) -> HopFixture {
    let mut world = setup.polled();
    world.want_steps(vec![body("a"), body("b")]);
    world.answer_until(|effect| matches!(effect, Effect::AwaitAttempts(_)));
    world
}

fn limited() -> HopSetup {
    HopSetup::new().one_at_a_time().spec(|spec| spec.concurrency[0].limit = 2)
}

/// Returns a hop in the phase `Saving`: the outcome of `a` could not be written because the storage
/// failed, and the body of `b` still executes.
fn saving(setup: HopSetup) -> HopFixture {
    let mut world = executing(setup);
    world.succeed(&["a"]).fail_executor();
    assert_eq!(world.phase(), "Saving");
    world
}

/// Returns the attempts with slots that the next hop must release.
fn deferred(world: &HopFixture) -> Vec<Holder> {
    let of = |effect: &Effect| match effect {
        Effect::Defer { releases, .. } => releases.iter().map(|(_, holder)| holder.clone()).collect(),
        _ => Vec::new(),
    };
    world.effects.iter().flat_map(of).collect()
}

fn holder(step: &str) -> Holder {
    Holder::Attempt { run: run(), step: step.into(), attempt: 1, hop: HOP }
}

fn reports_first_failure(world: &HopFixture) -> bool {
    let first = StoreFault::Unavailable("throttled".into());
    world.logged.iter().any(|event| matches!(event, LogEvent::StoreFailed(fault) if *fault == first))
}

fn has_lost_outcomes(world: &HopFixture) -> bool {
    world.logged.iter().any(|event| matches!(event, LogEvent::OutcomesLost(_)))
}

#[test]
fn rule_4_an_outcome_is_written_again_while_another_body_executes() {
    let mut world = executing(HopSetup::new());
    world.succeed(&["a"]);
    world.overtaken_by(vec![Fact::SleepStarted { step: "x".into(), until: START }]);
    assert_eq!(world.facts(), ["StepSucceeded"]);
    let mut refused = world.clone();
    world.written();
    assert!(matches!(world.open_question(), Effect::Poll(shown) if shown.len() == 1), "the execution goes on");
    refused.overtaken_by(vec![Fact::AttemptInterrupted { step: "a".into(), attempt: 1 }]);
    assert!(matches!(refused.open_question(), Effect::Poll(shown) if shown.is_empty()), "nothing is left to write");
    assert!(!refused.effects.iter().any(|effect| matches!(effect, Effect::Close)), "b executes");
}

#[test]
fn a_result_of_an_attempt_that_does_not_execute_here_is_ignored() {
    let mut world = executing(HopSetup::new());
    world.succeed(&["z"]);
    assert!(matches!(world.open_question(), Effect::Poll(shown) if shown.is_empty()));
}

#[test]
fn a_dropped_attempt_that_does_not_execute_here_is_not_abandoned() {
    let mut world = executing(HopSetup::new());
    world.on(finished(dropped(&["z", "a"]))).want_steps(vec![]);
    assert_eq!(world.facts(), ["StepAbandoned"]);
    assert_eq!(world.write().entries[0].fact.step(), Some(&"a".into()));
}

#[test]
fn attempts_of_a_function_that_has_ended_are_abandoned() {
    let mut world = executing(HopSetup::new());
    world.succeed(&["a"]);
    world.written().return_from_handler(Ok(json::null()));
    assert_eq!(world.facts(), ["StepAbandoned", "RunCompleted"]);
}

#[test]
fn while_outcomes_are_saved_attempts_are_stopped_at_their_time_out() {
    let mut world = saving(HopSetup::new());
    world.now = START + seconds(70);
    world.on(Input::TimeIs);
    assert!(matches!(&world.effects[..], [Effect::Stop { step, .. }, Effect::AwaitAttempts(_)] if **step == *"b"));
    assert_eq!(world.phase(), "Saving");
}

#[test]
fn a_function_that_moves_on_while_outcomes_are_saved_abandons_what_it_drops() {
    let mut world = saving(limited());
    world.on(finished(dropped(&["b"])));
    assert!(matches!(world.open_question(), Effect::Poll(shown) if shown.is_empty()));
    let mut ended = world.clone();
    world.on(polled(PollResult::Wanted(vec![body("c")])));
    assert_eq!(world.facts(), ["StepAbandoned"], "and c does not start");
    world.written().on(Input::Done);
    assert!(matches!(world.open_question(), Effect::PutBack(_)));
    ended.return_from_handler(Ok(json::null()));
    assert!(matches!(ended.open_question(), Effect::PutBack(_)), "its end is decided again");
    assert!(reports_first_failure(&ended));
    assert_eq!(deferred(&ended), [holder("a"), holder("b")]);
}

#[test]
fn attempts_that_the_function_drops_in_its_poll_are_abandoned_while_outcomes_are_saved() {
    let mut world = saving(HopSetup::new());
    world.on(finished(vec![]));
    let polled = |lines| {
        let result = PollResult::Wanted(vec![]);
        Input::Polled(Box::new(Polled { dropped: dropped(&["b"]), lines, ..result.into() }))
    };
    let line = HandlerLogLine { after: 1, nth: 0, line: LogLine::new(LogLevel::Info, "b is too slow", None) };
    world.on(polled(vec![line]));
    assert_eq!(world.facts(), ["StepAbandoned", "LogWritten"]);
    let mut going_on = executing(HopSetup::new());
    going_on.on(finished(vec![])).on(polled(vec![]));
    assert_eq!(going_on.facts(), ["StepAbandoned"], "and while nothing has failed");
}

#[test]
fn a_refused_failure_leaves_no_wake_for_its_retry() {
    let mut world = executing(limited());
    world.succeed(&["a"]);
    world.overtaken_by(vec![Fact::AttemptInterrupted { step: "b".into(), attempt: 1 }]);
    world.fail_executor();
    world.fail("b");
    assert!(world.write().entries.is_empty() && world.write().before.is_empty(), "{:?}", world.write());
    assert_eq!(world.write().after.len(), 2, "both slots are released");
}

#[test]
fn outcomes_are_saved_again_after_a_conflict() {
    let mut world = saving(HopSetup::new());
    world.succeed(&["b"]);
    world.overtaken_by(vec![Fact::SleepStarted { step: "x".into(), until: START }]);
    assert_eq!(world.facts(), ["StepSucceeded"]);
    world.written();
    assert!(matches!(world.open_question(), Effect::PutBack(_)));
}

#[test]
fn outcomes_that_cannot_be_saved_are_lost_and_their_slots_are_left_to_the_next_hop() {
    let mut waiting = saving(limited());
    let mut polling = waiting.clone();
    polling.on(finished(vec![]));
    let mut writing = waiting.clone();
    writing.succeed(&["b"]);
    for world in [&mut waiting, &mut polling, &mut writing] {
        world.on(Input::StoreFailed(StoreFault::Refused("no permission".into())));
        assert!(has_lost_outcomes(world));
        assert_eq!(deferred(world), [holder("a"), holder("b")]);
        assert!(reports_first_failure(world) && matches!(world.open_question(), Effect::PutBack(_)));
    }
}

#[test]
fn an_outcome_that_cannot_be_kept_is_lost_but_those_of_executing_bodies_are_saved() {
    let mut world = executing(HopSetup::new());
    world.succeed(&["a"]);
    world.written().fail_executor();
    assert_eq!(world.phase(), "Saving", "nothing is to be kept");
    let mut alone = HopSetup::new().polled();
    alone.want_steps(vec![body("a")]).written().succeed(&["a"]).fail_executor();
    assert_eq!(alone.facts(), ["StepSucceeded"]);
    alone.on(Input::StoreFailed(StoreFault::Refused("no permission".into())));
    assert!(has_lost_outcomes(&alone) && reports_first_failure(&alone));
    assert!(matches!(alone.open_question(), Effect::PutBack(_)));
}

#[test]
fn rule_22_a_start_that_cannot_be_written_leaves_its_slots_to_the_next_hop() {
    let mut world = limited().polled();
    world.want_steps(vec![body("a")]);
    world.answer_until(|effect| matches!(effect, Effect::Write(_)));
    world.fail_executor();
    assert_eq!(deferred(&world), [holder("a")]);
    assert!(matches!(world.open_question(), Effect::PutBack(_)));
}

/// Returns a hop of a run that was cancelled while the body of `b` executes.
fn draining(setup: HopSetup) -> HopFixture {
    let mut world = executing(setup);
    world.succeed(&["a"]).overtaken_by(cancelled());
    world.answer_until(|effect| matches!(effect, Effect::AwaitAttempts(_)));
    assert_eq!(world.phase(), "Draining");
    world
}

#[test]
fn rule_22_an_attempt_of_an_ended_run_gives_back_its_slot_when_it_ends() {
    let mut world = draining(limited());
    world.succeed(&["z"]);
    assert_eq!((world.phase(), world.effects.len()), ("Draining", 1), "no slot is released");
    for (mut world, input) in [(world.clone(), "result"), (world, "dropped")] {
        match input {
            "result" => world.succeed(&["b"]),
            _ => world.on(finished(dropped(&["b"]))),
        };
        assert!(matches!(&world.write().after[..], [LateWrite::Release { holder: of, .. }] if *of == holder("b")));
        assert!(world.write().entries.is_empty(), "its outcome is refused");
        let mut failed = world.clone();
        world.written();
        assert!(matches!(world.open_question(), Effect::Promote(_)));
        world.on(Input::Done).finish();
        assert!(world.written.last().unwrap().acknowledges && deferred(&world).is_empty());
        failed.fail_executor();
        assert_eq!(deferred(&failed), [holder("b")]);
    }
}

#[test]
fn an_attempt_of_an_ended_run_is_stopped_at_its_time_out() {
    let mut world = draining(HopSetup::new());
    world.now = START + seconds(70);
    world.on(Input::TimeIs);
    assert!(matches!(&world.effects[..], [Effect::Stop { step, .. }, Effect::AwaitAttempts(_)] if **step == *"b"));
    world.succeed(&["b"]);
    assert!(world.effects.iter().any(|effect| matches!(effect, Effect::Close)), "without a limit, no slot is released");
    assert!(world.write().acknowledges && world.written().is_done());
}

#[test]
fn the_outcome_before_a_suspension_is_kept_when_the_storage_fails() {
    let nap = || want("nap", Operation::SleepFor(seconds(600)));
    let history = vec![Fact::SleepStarted { step: "nap".into(), until: START + seconds(600) }];
    let mut world = limited().with_history(history).woken(WakeCause::Step("a".into())).polled();
    world.want_steps(vec![body("a"), nap()]);
    world.answer_until(|effect| matches!(effect, Effect::AwaitAttempts(_)));
    world.succeed(&["a"]).want_steps(vec![nap()]);
    assert!(matches!(world.open_question(), Effect::FindTickets { .. }), "{:?}", world.open_question());
    world.fail_executor();
    assert_eq!(world.facts(), ["StepSucceeded"]);
}

#[test]
fn rule_4_an_outcome_that_the_journal_already_refuses_is_not_sent_to_it() {
    let mut world = executing(HopSetup::new());
    world.succeed(&["a"]);
    world.overtaken_by(vec![Fact::AttemptInterrupted { step: "b".into(), attempt: 1 }]);
    world.written().want_steps(vec![]);
    let before = world.written.len();
    world.succeed(&["b"]).want_steps(vec![]);
    assert_eq!(world.written.len(), before);
    assert!(matches!(world.open_question(), Effect::Open(_)), "b is wanted again: {:?}", world.open_question());
}

#[test]
fn a_wake_is_not_acknowledged_with_a_failure_while_another_body_executes() {
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![body("a"), body("b"), body("c")]).written().succeed(&["a"]);
    world.overtaken_by(vec![Fact::AttemptInterrupted { step: "b".into(), attempt: 1 }]);
    world.written().want_steps(vec![]);
    world.fail("c");
    assert_eq!((world.facts(), world.write().acknowledges), (vec!["StepFailed".to_owned()], false), "b executes here");
}

#[test]
fn a_start_that_cannot_be_written_lets_an_executing_body_end() {
    let mut world = executing(HopSetup::new());
    world.on(finished(vec![])).want_steps(vec![body("c")]);
    world.fail_executor();
    assert_eq!(world.phase(), "Saving");
    assert!(matches!(world.open_question(), Effect::AwaitAttempts(_)));
}
