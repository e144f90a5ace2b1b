//! Tests of the part of a hop after the run's last entry.

use stepladder_core::flow::{CancelMatch, CancelOn};
use stepladder_core::hop::{Effect, Input, LateWrite, TicketSearch, holds_slot};
use stepladder_core::journal::{Fact, Failure, NewRun, RunOrigin};
use stepladder_core::slot::Holder;
use stepladder_core::spec::Trigger;
use stepladder_core::system::INNGEST_FINISHED;
use stepladder_core::{AttemptReport, RunId, Spec, WakeCause, json};

use crate::world::{HOP, HopFixture, HopSetup, START, body, event, failure, run, seconds, started, succeeded};

fn end_run(fact: Fact, setup: HopSetup) -> HopFixture {
    setup.with_history(vec![fact]).woken(WakeCause::Cancelled).loaded()
}

fn run_completed() -> Fact {
    Fact::RunCompleted { output: json::null() }
}

#[test]
fn a_simple_end_is_one_write() {
    let mut world = HopSetup::new().polled();
    world.return_from_handler(Ok(json::null()));
    assert!(world.logged.is_empty(), "{:?}", world.logged);
    assert_eq!(world.facts(), ["RunCompleted"]);
    assert!(matches!(&world.write().after[..], [LateWrite::MarkEnded { .. }]));
    assert!(world.write().acknowledges && world.written().is_done());
}

#[test]
fn rule_19_every_end_wakes_the_caller() {
    let parent = RunId::new(START, 1);
    let error = stepladder_core::Failure::new("boom");
    for end in [
        run_completed(),
        Fact::RunFailed { error },
        Fact::RunCancelled { reason: "a user".into() },
        Fact::RunSkipped { reason: "a limit".into() },
    ] {
        let mut setup = HopSetup::new();
        setup.created = NewRun::new("f".into(), event(1), RunOrigin::Invoke { parent, step: "call".into() });
        let world = end_run(end, setup);
        assert_eq!((world.write().wakes[0].run, &world.write().wakes[0].cause), (parent, &WakeCause::ChildEnded));
    }
}

#[test]
fn rule_28_a_later_wake_repeats_the_finishing_work() {
    let mut world = end_run(run_completed(), HopSetup::new());
    assert!(matches!(&world.write().after[..], [LateWrite::MarkEnded { .. }]));
    assert!(world.write().acknowledges && world.written().is_done());
}

#[test]
fn rule_28_an_end_is_announced_before_its_wake_is_acknowledged() {
    let mut listener = Spec::new("l");
    listener.triggers.push(Trigger { event: INNGEST_FINISHED.into(), condition: None });
    let setup = HopSetup { others: vec![listener], ..HopSetup::new() };
    let mut world = setup.polled();
    world.return_from_handler(Ok(json::null()));
    assert!(!world.write().acknowledges);
    world.written();
    assert!(matches!(world.open_question(), Effect::AnnounceEnd(_)));
    world.on(Input::Done);
    assert!(world.write().acknowledges && world.written().is_done());
}

#[test]
fn a_failed_run_starts_its_failure_handler() {
    let setup = HopSetup { others: vec![Spec::new("h")], ..HopSetup::new() }.spec(|spec| {
        spec.on_failure = Some("h".into());
        spec.retry.retries = 0;
    });
    let mut world = setup.polled();
    world.return_from_handler(Err(failure("boom"))).written();
    let Effect::StartRun(start) = world.open_question() else { panic!("{:?}", world.open_question()) };
    assert_eq!((&*start.1.function, &start.1.origin), ("h", &RunOrigin::Failure { of: run() }));
    world.on(Input::Done);
    assert!(world.write().acknowledges && world.written().is_done());
}

#[test]
fn called_runs_that_are_bound_end_with_their_caller() {
    let child = run().invoked_by("c", START);
    let call = Fact::InvokeStarted {
        step: "c".into(),
        function: "g".into(),
        child,
        input: json::null(),
        bound: true,
        until: None,
        user: None,
    };
    let mut world = HopSetup::new().with_history(vec![call, run_completed()]).loaded();
    assert!(matches!(world.open_question(), Effect::CancelRuns { runs, .. } if *runs == [child]));
    world.on(Input::Done);
    assert!(world.write().acknowledges);
}

#[test]
fn rule_22_an_ended_run_frees_its_slots_and_tickets_before_others_are_promoted() {
    let mut world = end_run(run_completed(), HopSetup::new().one_at_a_time());
    let Effect::FindHolders(limits) = world.open_question() else { panic!("{:?}", world.open_question()) };
    let limits = limits.clone();
    world.on(Input::Holders(Vec::new()));
    world.on(Input::Tickets(limits));
    assert!(matches!(&world.write().after[..], [LateWrite::Dequeue { .. }]) && !world.write().acknowledges);
    world.written();
    assert!(matches!(world.open_question(), Effect::Promote(_)));
    world.on(Input::Done);
    assert!(world.write().acknowledges && world.written().is_done());
}

#[test]
fn a_repetition_that_frees_nothing_promotes_nothing() {
    let mut world = end_run(run_completed(), HopSetup::new().one_at_a_time());
    world.on(Input::Holders(Vec::new())).on(Input::Tickets(Vec::new()));
    assert!(world.write().acknowledges && world.written().is_done());
}

#[test]
fn rule_22_a_redelivered_wake_of_an_ended_run_promotes_in_any_case() {
    let mut world = end_run(run_completed(), HopSetup::new().one_at_a_time().redelivered());
    world.on(Input::Holders(Vec::new())).on(Input::Tickets(Vec::new())).written();
    assert!(matches!(world.open_question(), Effect::Promote(_)));
}

#[test]
fn a_promotion_that_failed_is_repeated_before_the_finishing_work() {
    let mut world = HopSetup::new().one_at_a_time().polled();
    world.want_steps(vec![body("a")]);
    world.answer_until(|effect| matches!(effect, Effect::AwaitAttempts(_)));
    world.succeed(&["a"]).return_from_handler(Ok(json::null())).written();
    assert!(matches!(world.open_question(), Effect::Promote(_)));
    world.fail_executor();
    assert!(matches!(world.open_question(), Effect::Promote(_)), "{:?}", world.open_question());
    world.on(Input::Done);
    world.answer_until(|effect| matches!(effect, Effect::Write(write) if write.acknowledges));
    assert!(world.written().is_done() && world.effects.is_empty(), "nothing is left to do: {:?}", world.effects);
}

#[test]
fn a_run_that_ends_during_a_bound_call_is_acknowledged_after_the_called_run_is_cancelled() {
    let child = run().invoked_by("c", START);
    let call = Fact::InvokeStarted {
        step: "c".into(),
        function: "g".into(),
        child,
        input: json::null(),
        bound: true,
        until: None,
        user: None,
    };
    let mut world = HopSetup::new().with_history(vec![call]).polled();
    world.return_from_handler(Ok(json::null()));
    assert!(!world.write().acknowledges);
    world.written();
    assert!(matches!(world.open_question(), Effect::CancelRuns { .. }));
}

#[test]
fn rule_24_a_promoted_ticket_of_an_ended_run_is_looked_up_at_the_head_of_its_queue() {
    let limited = || HopSetup::new().one_at_a_time().with_history(vec![run_completed()]);
    for (setup, at_head) in [
        (limited().woken(WakeCause::Slot), true),
        (limited().woken(WakeCause::Step("a".into())), true),
        (limited().woken(WakeCause::Cancelled), false),
        (limited().woken(WakeCause::Slot).redelivered(), false),
    ] {
        let mut world = setup.loaded();
        world.on(Input::Holders(Vec::new()));
        let Effect::FindTickets { place, .. } = world.open_question() else { panic!("{:?}", world.open_question()) };
        assert_eq!(*place == TicketSearch::AtHeadOrOfRun, at_head, "{place:?}");
    }
    // the run ends in this hop, so its journal shows any ticket of the run
    let mut world = HopSetup::new().one_at_a_time().woken(WakeCause::Slot).polled();
    world.return_from_handler(Ok(json::null())).written();
    world.on(Input::Holders(Vec::new()));
    assert!(matches!(world.open_question(), Effect::FindTickets { place: TicketSearch::OfRun, .. }));
}

#[test]
fn rule_22_the_slot_of_an_ended_run_is_released_and_another_runs_is_not() {
    let mut world = end_run(run_completed(), HopSetup::new().one_at_a_time());
    let Effect::FindHolders(limits) = world.open_question().clone() else { panic!("{:?}", world.open_question()) };
    let other = RunId::new(START, 9);
    let held = [Holder::Run(run()), Holder::Run(other)].map(|holder| (limits[0].clone(), holder));
    world.on(Input::Holders(held.to_vec())).on(Input::Tickets(Vec::new()));
    let release = LateWrite::Release { limit: limits[0].clone(), holder: Holder::Run(run()) };
    assert!(matches!(&world.write().after[..], [first, LateWrite::Dequeue { .. }] if *first == release));
}

#[test]
fn rule_22_a_watchdog_repeats_all_finishing_work_of_a_run_that_had_ended() {
    let watched = HopSetup::new().one_at_a_time().woken(WakeCause::Watchdog);
    let mut world = watched.clone().with_history(vec![run_completed()]).loaded();
    world.on(Input::Holders(Vec::new())).on(Input::Tickets(Vec::new())).written();
    assert!(matches!(world.open_question(), Effect::Promote(_)));
    let mut live = watched.polled();
    live.return_from_handler(Ok(json::null())).written();
    live.on(Input::Holders(Vec::new())).on(Input::Tickets(Vec::new()));
    assert!(live.write().acknowledges, "it ends in this hop");
}

#[test]
fn rule_20_a_slot_is_held_while_its_attempt_runs_or_may_be_about_to_start() {
    let attempt = |attempt| Holder::Attempt { run: run(), step: "a".into(), attempt, hop: HOP };
    let running = || vec![started("a", 2, START + seconds(100))];
    let (error, report) = (Failure::new("boom"), AttemptReport::default());
    let retrying = Fact::StepFailed { step: "a".into(), attempt: 2, error, retry_at: Some(START), report };
    let napping = Fact::SleepStarted { step: "a".into(), until: START };
    let (done, cancelled) = (succeeded("a", 2), Fact::RunCancelled { reason: "a user".into() });
    let and = |fact: &Fact| running().into_iter().chain([fact.clone()]).collect();
    let first = || started("a", 1, START);
    for (history, holder, holds) in [
        (vec![], attempt(1), true),
        (vec![], Holder::Run(run()), true),
        (vec![run_completed()], Holder::Run(run()), false),
        (running(), attempt(1), false),
        (running(), attempt(2), true),
        (running(), attempt(3), true),
        (and(&retrying), attempt(2), false),
        (and(&retrying), attempt(3), true),
        (vec![napping], attempt(1), false),
        (and(&done), attempt(3), false),
        (and(&cancelled), attempt(1), false),
        (and(&cancelled), attempt(2), true),
        (and(&cancelled), attempt(3), false),
        (vec![run_completed()], attempt(1), false),
    ] {
        let history: Vec<Fact> = match history.first() {
            Some(Fact::StepStarted { .. }) => std::iter::once(first()).chain(history).collect(),
            _ => history,
        };
        let state = HopSetup::new().with_history(history.clone()).begin().state();
        assert_eq!(holds_slot(&state, &holder), holds, "{holder:?} after {history:?}");
    }
    let state = HopSetup::new().with_history(and(&done).into_iter().chain([run_completed()]).collect()).begin().state();
    assert!(!holds_slot(&state, &attempt(2)), "its outcome is recorded");
}

#[test]
fn an_ended_run_leaves_the_index_of_events_that_cancel_runs() {
    let cancel = CancelOn { event: "stop".into(), matching: CancelMatch::Any, within: None };
    let mut world = HopSetup::new().spec(|spec| spec.flow.cancel_on.push(cancel)).polled();
    world.return_from_handler(Ok(json::null()));
    assert!(
        matches!(&world.write().after[..], [LateWrite::MarkEnded { .. }, LateWrite::Unsubscribe(of)] if *of.event == *"stop")
    );
}
