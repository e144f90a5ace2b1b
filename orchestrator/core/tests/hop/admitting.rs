//! The part of a hop before its run starts.

use stepladder_core::flow::Rate;
use stepladder_core::hop::{Effect, FoundRun, Input, LateWrite};
use stepladder_core::journal::{NewRun, Origin, Outcome};
use stepladder_core::{RunId, WakeCause, json};

use crate::world::{START, Setup, body, event, later_wakes, run, secs};

fn throttled() -> Setup {
    Setup::new().spec(|spec| spec.flow.throttle = Some(Rate { limit: 1, period: secs(60), burst: 1, key: None }))
}

#[test]
fn rule_32_a_run_that_flow_control_delays_leaves_a_wake_for_its_start() {
    let mut world = throttled().loaded();
    world.answer_until(|effect| matches!(effect, Effect::AskFlowControl));
    world.on(Input::Admission(Some(START + secs(60))));
    assert_eq!(world.facts(), ["RunDelayed"]);
    assert_eq!(later_wakes(world.write()), [(WakeCause::Due, START + secs(60))]);
    assert!(world.write().acknowledges);
    assert!(world.written().is_done());
}

#[test]
fn rule_32_an_admission_is_recorded_with_the_first_entry() {
    let mut world = throttled().polled();
    world.wants(vec![body("a")]);
    assert_eq!(world.facts(), ["RunAdmitted", "StepStarted"]);
}

#[test]
fn a_delay_that_is_overtaken_is_decided_again() {
    let mut world = throttled().loaded();
    world.answer_until(|effect| matches!(effect, Effect::AskFlowControl));
    world.on(Input::Admission(Some(START + secs(60))));
    world.overtaken_by(vec![stepladder_core::Fact::RunDelayed { begins_at: START + secs(2) }]);
    assert_eq!(later_wakes(world.write()), [(WakeCause::Due, START + secs(2))], "the run's own time");
}

#[test]
fn a_run_of_a_paused_function_is_acknowledged_without_a_wake() {
    let mut world = Setup::new().loaded();
    world.on(Input::Paused(true));
    assert!(world.write().acknowledges && world.write().before.is_empty());
    assert!(world.written().is_done());
}

#[test]
fn a_paused_run_gives_up_its_tickets_and_promotes_the_next_ones() {
    let mut world = Setup::new().one_at_a_time().loaded();
    world.on(Input::Paused(true));
    let Effect::FindTickets { limits, .. } = world.question() else { panic!("{:?}", world.question()) };
    let limits = limits.clone();
    world.on(Input::Tickets(limits.clone()));
    assert!(matches!(&world.write().after[..], [LateWrite::Dequeue { run: of, .. }] if *of == run()));
    assert!(!world.write().acknowledges, "the next tickets are promoted first");
    assert_eq!(world.write().wakes[0].cause, WakeCause::Next, "a hop after the resumption may rely on the ticket");
    world.written();
    assert!(matches!(world.question(), Effect::Promote(of) if *of == limits));
    world.on(Input::Done);
    assert!(world.write().acknowledges);
    assert!(world.written().is_done());
}

#[test]
fn a_run_that_is_due_later_leaves_a_wake() {
    let mut setup = Setup::new();
    setup.created.begins_at = Some(START + secs(30));
    let mut world = setup.loaded();
    assert_eq!(later_wakes(world.write()), [(WakeCause::Due, START + secs(30))]);
    assert!(world.write().acknowledges && world.written().is_done());
}

#[test]
fn a_run_ends_when_its_start_is_late() {
    let mut setup = Setup::new().spec(|spec| spec.flow.start_within = Some(secs(10)));
    setup.now = START + secs(10);
    let mut world = setup.loaded();
    assert_eq!(world.facts(), ["RunCancelled"]);
    world.finish();
    assert!(world.written.last().unwrap().acknowledges);
}

#[test]
fn an_early_wake_of_a_deadline_is_sent_again_for_it() {
    let setup = Setup::new().spec(|spec| spec.flow.start_within = Some(secs(10))).woken(WakeCause::Deadline);
    let mut world = setup.polled();
    world.wants(vec![body("a")]);
    assert_eq!(later_wakes(world.write()), [(WakeCause::Deadline, START + secs(10))]);
}

#[test]
fn the_deadline_of_the_end_is_written_with_the_first_entry() {
    let mut world = Setup::new().spec(|spec| spec.flow.finish_within = Some(secs(100))).polled();
    world.wants(vec![body("a")]);
    assert_eq!(later_wakes(world.write()), [(WakeCause::Deadline, world.now + secs(100))]);
}

#[test]
fn a_run_whose_caller_has_ended_does_not_start() {
    let mut setup = Setup::new();
    let origin = Origin::Invoke { parent: RunId::new(START, 1), step: "call".into() };
    setup.created = NewRun { bound: true, ..NewRun::new("f".into(), event(1), origin) };
    let mut world = setup.loaded();
    world.answer_until(|effect| matches!(effect, Effect::FindRun(_)));
    world.on(Input::Found(Some(FoundRun { next: 9, end: Some(Outcome::Value(json::null())) })));
    assert_eq!(world.facts(), ["RunCancelled"]);
}

#[test]
fn a_run_replaces_another_before_it_starts() {
    let mut setup = Setup::new();
    setup.created.replaces = Some(RunId::new(START, 1));
    let mut world = setup.loaded();
    world.on(Input::Paused(false)).on(Input::Admission(None));
    assert!(matches!(world.question(), Effect::CancelReplaced));
    world.on(Input::Done);
    assert!(matches!(world.question(), Effect::Open(_)));
}

#[test]
fn a_collecting_run_takes_no_event_once_it_starts() {
    let mut setup = Setup::new();
    setup.created.collects = true;
    let mut world = setup.loaded();
    world.answer_until(|effect| matches!(effect, Effect::Write(_)));
    assert_eq!(world.facts(), ["CollectingEnded"]);
}

#[test]
fn a_run_whose_limit_has_no_key_fails() {
    let setup = Setup::new().one_at_a_time();
    let setup = setup.spec(|spec| {
        spec.concurrency[0].key = Some(stepladder_core::expr::Expr::compile("event.data.none").unwrap());
    });
    let mut world = setup.loaded();
    world.answer_until(|effect| matches!(effect, Effect::Write(_)));
    assert_eq!(world.facts(), ["RunFailed"]);
}
