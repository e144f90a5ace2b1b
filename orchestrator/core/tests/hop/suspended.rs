//! Tests of what a hop leaves to the next hop in the same process: an execution that has seen some
//! outcomes.

use stepladder_core::decide::Operation;
use stepladder_core::hop::{Effect, Input, PollResult, Polled};
use stepladder_core::journal::Fact;
use stepladder_core::limits::LOG_BYTES;
use stepladder_core::report::{HandlerLogLine, LogLevel, LogLine};
use stepladder_core::{WakeCause, json};

use crate::world::{HopFixture, HopSetup, START, body, failure, later_wakes, seconds, started, succeeded, want};

/// Returns the number of outcomes that the execution of an ended hop has seen, if it can be
/// continued.
fn seen(world: HopFixture) -> Option<usize> {
    assert!(world.is_done());
    world.into_hop().into_end().seen
}

/// Returns a hop that executes one step.
fn one_step(history: Vec<Fact>) -> HopSetup {
    let mut setup = HopSetup::new().with_history(history);
    setup.worker.goes_on = false;
    setup
}

/// Returns a hop that has executed the step `a` after another step, and hands over the step `b`.
fn after_a_step() -> HopFixture {
    let history = vec![started("first", 1, START), succeeded("first", 1)];
    let mut world = one_step(history).polled();
    world.want_steps(vec![body("a")]).written().succeed(&["a"]);
    world.want_steps(vec![body("b")]);
    world
}

#[test]
fn a_hop_that_hands_over_leaves_an_execution_that_has_seen_every_outcome() {
    let mut world = after_a_step();
    assert_eq!(world.facts(), ["StepSucceeded"]);
    world.written();
    assert_eq!(seen(world), Some(2));
}

#[test]
fn rule_2_an_execution_is_closed_after_a_conflict() {
    let mut world = after_a_step();
    world.overtaken_by(vec![Fact::StepsWoken { steps: Vec::new(), together: false }]);
    assert_eq!(world.facts(), ["StepSucceeded"], "only the outcome is written again");
    world.written();
    assert!(world.effects.iter().any(|effect| matches!(effect, Effect::Close)));
}

#[test]
fn a_continued_execution_is_shown_only_what_it_has_not_seen() {
    let history = vec![started("a", 1, START), succeeded("a", 1), started("b", 1, START), succeeded("b", 1)];
    let mut world = one_step(history).loaded();
    world.answer_until(|effect| matches!(effect, Effect::Open(opening) if opening.outcomes == 2));
    world.on(Input::Opened(Ok(1)));
    assert!(matches!(world.open_question(), Effect::Poll(shown) if shown.len() == 1 && *shown[0].step == *"b"));
    world.want_steps(vec![body("c")]).written().succeed(&["c"]);
    world.want_steps(vec![body("d")]).written();
    assert_eq!(seen(world), Some(3));
}

#[test]
fn an_execution_of_an_ended_handler_is_not_left() {
    let mut completed = HopSetup::new().polled();
    completed.return_from_handler(Ok(json::null())).written();
    assert_eq!(seen(completed), None);
    let mut failed = HopSetup::new().polled();
    failed.return_from_handler(Err(failure("boom"))).written();
    assert_eq!(seen(failed), None);
}

#[test]
fn a_hop_that_does_not_open_an_execution_leaves_none() {
    let retry_at = START + seconds(600);
    let error = failure("boom").failure;
    let history = vec![Fact::HandlerFailed { attempt: 1, error, retry_at }];
    let mut world = HopSetup::new().with_history(history).woken(WakeCause::Next).loaded();
    world.finish();
    assert_eq!(seen(world), None);
}

#[test]
fn an_execution_with_a_log_line_that_is_not_recorded_is_not_left() {
    // a replay repeats the line, and a continued execution would not
    let line = |text: &str| LogLine::new(LogLevel::Info, text, None);
    let nap = || want("nap", Operation::SleepFor(seconds(600)));
    for (lines, expected) in [(1, Some(0)), (LOG_BYTES / 1_000 + 10, None)] {
        let mut world = HopSetup::new().polled();
        let lines = (0..u32::try_from(lines).unwrap())
            .map(|nth| HandlerLogLine { after: 0, nth, line: line(&"x".repeat(1_000)) })
            .collect();
        world.on(Input::Polled(Box::new(Polled { lines, ..PollResult::Wanted(vec![nap()]).into() })));
        world.written().answer_until(|effect| matches!(effect, Effect::Poll(_)));
        world.want_steps(vec![nap()]).finish();
        assert_eq!(seen(world), expected);
    }
}

#[test]
fn many_sleeps_with_the_same_end_need_one_wake() {
    let mut world = HopSetup::new().polled();
    let naps = ["a", "b", "c", "d"].into_iter().zip([30, 30, 600, 30]);
    world.want_steps(naps.map(|(step, of)| want(step, Operation::SleepFor(seconds(of)))).collect());
    assert_eq!(world.facts(), ["SleepStarted"; 4]);
    let due = |after| (WakeCause::Due, world.now + seconds(after));
    assert_eq!(later_wakes(world.write()), [due(30), due(600)]);
}
