//! Tests of deadlines: when a run must have started, and when it must have ended.

use stepladder_core::hop::{EarlyWrite, Effect};
use stepladder_core::journal::Fact;
use stepladder_core::wake::{Timer, TimerPurpose};
use stepladder_core::{WakeCause, json};

use crate::world::{HopSetup, START, body, failure, later_wakes, seconds, started};

#[test]
fn a_run_ends_when_its_start_is_late() {
    let mut setup = HopSetup::new().spec(|spec| spec.flow.start_within = Some(seconds(10)));
    setup.now = START + seconds(10);
    let mut world = setup.loaded();
    assert_eq!(world.facts(), ["RunCancelled"]);
    world.finish();
    assert!(world.written.last().unwrap().acknowledges);
}

#[test]
fn an_early_wake_of_a_deadline_is_sent_again_for_it() {
    let setup = HopSetup::new().spec(|spec| spec.flow.start_within = Some(seconds(10))).woken(WakeCause::Deadline);
    let mut world = setup.polled();
    world.want_steps(vec![body("a")]);
    assert_eq!(later_wakes(world.write()), [(WakeCause::Deadline, START + seconds(10))]);
    world.written().succeed(&["a"]).want_steps(vec![body("b")]);
    assert!(world.write().before.is_empty(), "once");
}

#[test]
fn the_deadline_of_the_end_is_written_with_the_first_entry() {
    let mut world = HopSetup::new().spec(|spec| spec.flow.finish_within = Some(seconds(100))).polled();
    world.want_steps(vec![body("a")]);
    assert_eq!(later_wakes(world.write()), [(WakeCause::Deadline, world.now + seconds(100))]);
}

#[test]
fn the_deadline_of_the_end_is_written_with_a_failure_before_the_first_step() {
    let mut setup = HopSetup::new().spec(|spec| spec.flow.finish_within = Some(seconds(100)));
    setup.worker.retry_delay = Some(seconds(3));
    let mut world = setup.polled();
    world.return_from_handler(Err(failure("boom")));
    assert_eq!(world.facts(), ["HandlerFailed"]);
    let (retry, deadline) = ((WakeCause::Due, world.now + seconds(3)), (WakeCause::Deadline, world.now + seconds(100)));
    assert_eq!(later_wakes(world.write()), [retry, deadline]);
    let failed = world.write().entries[0].fact.clone();
    world.finish();

    setup.now = world.now + seconds(3);
    let mut again = setup.with_history(vec![failed]).woken(WakeCause::Due).polled();
    again.want_steps(vec![body("a")]);
    assert_eq!((again.facts(), later_wakes(again.write())), (vec!["StepStarted".to_owned()], vec![]), "once");
}

#[test]
fn a_deadline_that_is_not_close_leaves_no_copy_of_the_wake() {
    for (cause, within) in [(WakeCause::Due, 10), (WakeCause::Deadline, 100)] {
        let setup = HopSetup::new().spec(|spec| spec.flow.start_within = Some(seconds(within))).woken(cause);
        let mut world = setup.polled();
        world.want_steps(vec![body("a")]);
        assert!(world.write().before.is_empty(), "{:?}", world.write());
    }
}

#[test]
fn a_run_that_has_not_ended_in_time_is_cancelled() {
    let setup = HopSetup::new().spec(|spec| spec.flow.finish_within = Some(seconds(100)));
    let setup = setup.with_history(vec![started("a", 1, START)]).woken(WakeCause::Deadline);
    let mut world = HopSetup { now: START + seconds(100), ..setup.clone() }.loaded();
    assert_eq!(world.facts(), ["RunCancelled"]);
    assert!(world.write().before.is_empty(), "the wake of its deadline is not written again");
    let mut overtaken = world.clone();
    overtaken.overtaken_by(vec![Fact::RunCompleted { output: json::null() }]);
    for mut world in [world.finish().clone(), overtaken.finish().clone()] {
        assert!(world.written.pop().unwrap().acknowledges);
    }
    let before = HopSetup { now: START + seconds(99), ..setup }.loaded();
    assert!(matches!(before.open_question(), Effect::Open(_)));
}

#[test]
fn a_wake_for_a_deadline_beyond_the_queues_longest_delay_is_a_timer() {
    let mut setup = HopSetup::new().spec(|spec| spec.flow.finish_within = Some(seconds(10_000)));
    setup.worker.max_delay = seconds(800);
    let mut world = setup.polled();
    world.want_steps(vec![body("a")]);
    let is_timer =
        |early: &EarlyWrite| matches!(early, EarlyWrite::Timer(Timer { purpose: TimerPurpose::Deadline, .. }));
    assert!(world.write().before.iter().any(is_timer), "{:?}", world.write());
}

#[test]
fn a_run_that_ends_at_once_needs_no_wake_for_its_deadline() {
    let mut world = HopSetup::new().spec(|spec| spec.flow.finish_within = Some(seconds(100))).polled();
    world.return_from_handler(Ok(json::null()));
    assert_eq!((world.facts(), world.write().before.len()), (vec!["RunCompleted".to_owned()], 0));
}
