//! Tests of the part of a hop before its run starts.

use stepladder_core::cron::CronExpression;
use stepladder_core::expr::Expr;
use stepladder_core::flow::Rate;
use stepladder_core::hop::{Effect, FoundRun, Input, LateWrite, TicketSearch};
use stepladder_core::journal::{Fact, NewRun, Outcome, RunOrigin};
use stepladder_core::missed::MissedTicks;
use stepladder_core::slot::pause_key;
use stepladder_core::spec::Concurrency;
use stepladder_core::{RunId, WakeCause, json};

use crate::world::{HopSetup, START, body, event, later_wakes, run, seconds, started};

fn throttled_setup() -> HopSetup {
    HopSetup::new().spec(|spec| spec.flow.throttle = Some(Rate { limit: 1, period: seconds(60), burst: 1, key: None }))
}

#[test]
fn rule_32_a_run_that_flow_control_delays_leaves_a_wake_for_its_start() {
    let mut world = throttled_setup().loaded();
    world.answer_until(|effect| matches!(effect, Effect::AskFlowControl));
    world.on(Input::Admission(Some(START + seconds(60))));
    assert_eq!(world.facts(), ["RunDelayed"]);
    assert_eq!(later_wakes(world.write()), [(WakeCause::Due, START + seconds(60))]);
    assert!(world.write().acknowledges && world.write().wakes.is_empty());
    assert!(world.written().is_done());
}

#[test]
fn rule_32_an_admission_is_recorded_with_the_first_entry() {
    let mut world = throttled_setup().polled();
    world.want_steps(vec![body("a")]);
    assert_eq!(world.facts(), ["RunAdmitted", "StepStarted"]);
}

#[test]
fn a_delay_that_is_overtaken_is_decided_again() {
    let mut world = throttled_setup().loaded();
    world.answer_until(|effect| matches!(effect, Effect::AskFlowControl));
    world.on(Input::Admission(Some(START + seconds(60))));
    world.overtaken_by(vec![Fact::RunDelayed { begins_at: START + seconds(2) }]);
    assert_eq!(later_wakes(world.write()), [(WakeCause::Due, START + seconds(2))], "the run's own time");
}

#[test]
fn a_run_of_a_paused_function_is_acknowledged_without_a_wake() {
    let mut world = HopSetup::new().loaded();
    world.on(Input::Paused(true));
    assert!(world.write().acknowledges && world.write().before.is_empty());
    assert!(world.written().is_done());
}

#[test]
fn a_paused_run_gives_up_its_tickets_and_promotes_the_next_ones() {
    let mut world = HopSetup::new().one_at_a_time().loaded();
    world.on(Input::Paused(true));
    let Effect::FindTickets { limits, .. } = world.open_question() else { panic!("{:?}", world.open_question()) };
    let limits = limits.clone();
    world.on(Input::Tickets(limits.clone()));
    assert!(matches!(&world.write().after[..], [LateWrite::Dequeue { run: of, .. }] if *of == run()));
    assert!(!world.write().acknowledges, "the next tickets are promoted first");
    assert_eq!(world.write().wakes[0].cause, WakeCause::Next, "a hop after the resumption may rely on the ticket");
    world.written();
    assert!(matches!(world.open_question(), Effect::Promote(of) if *of == limits));
    world.on(Input::Done);
    assert!(world.write().acknowledges);
    assert!(world.written().is_done());
}

#[test]
fn a_run_that_is_due_later_leaves_a_wake() {
    let mut setup = HopSetup::new();
    setup.created.begins_at = Some(START + seconds(30));
    let mut world = setup.loaded();
    assert_eq!(later_wakes(world.write()), [(WakeCause::Due, START + seconds(30))]);
    assert!(world.write().acknowledges && world.written().is_done());
}

#[test]
fn a_run_whose_caller_has_ended_does_not_start() {
    let mut setup = HopSetup::new();
    let origin = RunOrigin::Invoke { parent: RunId::new(START, 1), step: "call".into() };
    setup.created = NewRun { bound: true, ..NewRun::new("f".into(), event(1), origin) };
    let mut world = setup.loaded();
    world.answer_until(|effect| matches!(effect, Effect::FindRun(_)));
    world.on(Input::Found(Some(FoundRun { next: 9, end: Some(Outcome::Value(json::null())) })));
    assert_eq!(world.facts(), ["RunCancelled"]);
}

#[test]
fn a_run_replaces_another_before_it_starts() {
    let mut setup = HopSetup::new();
    setup.created.replaces = Some(RunId::new(START, 1));
    let mut world = setup.loaded();
    world.on(Input::Paused(false)).on(Input::Admission(None));
    assert!(matches!(world.open_question(), Effect::CancelReplaced));
    world.on(Input::Done);
    assert!(matches!(world.open_question(), Effect::Open(_)));
}

#[test]
fn a_collecting_run_takes_no_event_once_it_starts() {
    let mut setup = HopSetup::new();
    setup.created.collects = true;
    let mut world = setup.loaded();
    world.answer_until(|effect| matches!(effect, Effect::Write(_)));
    assert_eq!(world.facts(), ["CollectingEnded"]);
}

/// Returns a setup of a function with these limits. No event has the key that the limits use.
fn without_key(limits: Vec<Concurrency>) -> HopSetup {
    let key = Some(Expr::compile("event.data.none").unwrap());
    let limits = limits.into_iter().map(|limit| Concurrency { key: key.clone(), ..limit }).collect();
    HopSetup::new().spec(|spec| spec.concurrency = limits)
}

#[test]
fn a_run_whose_limit_has_no_key_fails() {
    for limit in [Concurrency::steps(1), Concurrency::runs(1)] {
        let mut world = without_key(vec![limit]).loaded();
        world.answer_until(|effect| matches!(effect, Effect::Write(_)));
        assert_eq!(world.facts(), ["RunFailed"]);
        let mut overtaken = world.clone();
        overtaken.overtaken_by(vec![Fact::RunCancelled { reason: "a user".into() }]);
        for mut world in [world.finish().clone(), overtaken.finish().clone()] {
            assert!(world.written.pop().unwrap().acknowledges);
        }
    }
}

#[test]
fn an_ended_run_whose_limit_has_no_key_is_finished_without_its_limits() {
    let ended = vec![Fact::RunCancelled { reason: "a user".into() }];
    let mut world = without_key(vec![Concurrency::steps(1)]).with_history(ended).woken(WakeCause::Cancelled).loaded();
    assert!(world.write().acknowledges && world.written().is_done());
}

#[test]
fn rule_32_a_missed_tick_starts_no_run() {
    let ticked = |origin: RunOrigin, history: Vec<Fact>, seconds| {
        let mut setup = HopSetup { now: START + crate::world::seconds(seconds), ..HopSetup::new() }
            .with_history(history)
            .spec(|spec| {
                spec.schedule.lines.push(CronExpression::parse("* * * * *", "UTC").unwrap());
                spec.schedule.missed_ticks = MissedTicks::Skip;
            });
        setup.created.origin = origin;
        setup.loaded()
    };
    let mut missed = ticked(RunOrigin::Cron, vec![], 100);
    assert_eq!(missed.facts(), ["RunSkipped"]);
    assert_eq!(missed.write().after, [LateWrite::DequeuePaused { queue: pause_key("f"), run: run() }]);
    missed.written();
    assert!(missed.write().acknowledges, "without a limit, no ticket is promoted");
    for world in [
        ticked(RunOrigin::Cron, vec![], 1),
        ticked(RunOrigin::Cron, vec![Fact::RunAdmitted], 100),
        ticked(RunOrigin::Event, vec![], 100),
    ] {
        assert!(matches!(world.open_question(), Effect::AskIfPaused), "{:?}", world.open_question());
    }
}

#[test]
fn a_delayed_run_gives_up_the_ticket_that_its_wake_promoted() {
    let mut setup = HopSetup::new().one_at_a_time();
    setup.created.begins_at = Some(START + seconds(30));
    for setup in [setup.clone().woken(WakeCause::Slot), setup.clone().redelivered()] {
        let mut world = setup.loaded();
        let Effect::FindTickets { limits, place: TicketSearch::OfRun } = world.open_question().clone() else {
            panic!("{:?}", world.open_question())
        };
        world.on(Input::Tickets(limits));
        assert!(matches!(&world.write().after[..], [LateWrite::Dequeue { .. }]));
        assert_eq!(later_wakes(world.write()), [(WakeCause::Due, START + seconds(30))]);
    }
    assert!(later_wakes(setup.loaded().write()).len() == 1, "the wake of its creation promoted no ticket");
}

#[test]
fn rule_32_flow_control_admits_a_run_once() {
    let mut admitted = throttled_setup().with_history(vec![Fact::RunAdmitted]).loaded();
    admitted.on(Input::Paused(false));
    assert!(matches!(admitted.open_question(), Effect::Open(_)), "{:?}", admitted.open_question());
    let mut world = throttled_setup().polled();
    world.want_steps(vec![body("a")]).written().succeed(&["a"]).want_steps(vec![body("b")]);
    assert_eq!(world.facts(), ["StepSucceeded", "StepStarted"], "the admission is in the journal");
}

#[test]
fn rule_32_a_collecting_run_is_admitted_once_and_starts_after_its_last_event() {
    let mut setup = throttled_setup();
    setup.created.collects = true;
    let mut world = setup.loaded();
    world.answer_until(|effect| matches!(effect, Effect::Write(_)));
    assert_eq!(world.facts(), ["CollectingEnded"], "an admission would be refused");
    world.overtaken_by(vec![Fact::EventJoined {
        event: Box::new(event(2)),
        replaces: false,
        begins_at: None,
        closes: true,
    }]);
    world.on(Input::Paused(false));
    assert!(matches!(world.open_question(), Effect::Open(_)), "{:?}", world.open_question());
    world.answer_until(|effect| matches!(effect, Effect::Poll(_)));
    world.want_steps(vec![body("a")]);
    assert_eq!(world.facts(), ["RunAdmitted", "StepStarted"]);
}

#[test]
fn rule_32_an_admission_is_not_recorded_twice_and_not_after_the_start_or_the_end() {
    let asks = || {
        let mut world = throttled_setup().one_at_a_time().polled();
        world.want_steps(vec![body("a")]);
        world.answer_until(|effect| matches!(effect, Effect::Write(_)));
        world
    };
    for fact in
        [Fact::RunAdmitted, started("a", 1, START + seconds(600)), Fact::RunCancelled { reason: "a user".into() }]
    {
        let mut world = asks();
        world.overtaken_by(vec![fact]);
        assert!(world.write().entries.is_empty(), "{:?}", world.write());
        assert_eq!(world.write().after.len(), 1, "the slot is released");
    }
}

#[test]
fn a_collecting_run_goes_on_to_start_once_no_event_may_join() {
    let mut setup = HopSetup::new();
    setup.created.collects = true;
    let mut world = setup.loaded();
    world.answer_until(|effect| matches!(effect, Effect::Write(_)));
    world.written();
    assert!(matches!(world.open_question(), Effect::AskIfPaused), "an event may have joined and delayed the run");
    world.answer_until(|effect| matches!(effect, Effect::Open(_)));
}

#[test]
fn a_bound_run_starts_while_its_caller_lives() {
    let origin = RunOrigin::Invoke { parent: RunId::new(START, 1), step: "call".into() };
    let mut setup = HopSetup::new();
    setup.created = NewRun { bound: true, ..NewRun::new("f".into(), event(1), origin) };
    let mut world = setup.loaded();
    world.answer_until(|effect| matches!(effect, Effect::FindRun(_)));
    world.on(Input::Found(Some(FoundRun { next: 9, end: None })));
    assert!(matches!(world.open_question(), Effect::Open(_)));
    setup.created.bound = false;
    let mut unbound = setup.loaded();
    unbound.on(Input::Paused(false)).on(Input::Admission(None));
    assert!(matches!(unbound.open_question(), Effect::Open(_)), "its caller is not asked for");
}
