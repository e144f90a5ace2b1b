//! The part of a hop after the run's last entry.

use stepladder_core::hop::{Effect, Input, LateWrite};
use stepladder_core::journal::{Fact, NewRun, Origin};
use stepladder_core::spec::Trigger;
use stepladder_core::system::INNGEST_FINISHED;
use stepladder_core::{RunId, Spec, WakeCause, json};

use crate::world::{START, Setup, World, event, failure, run};

fn ended(fact: Fact, setup: Setup) -> World {
    setup.after(vec![fact]).woken(WakeCause::Cancelled).loaded()
}

fn completed() -> Fact {
    Fact::RunCompleted { output: json::null() }
}

#[test]
fn a_simple_end_is_one_write() {
    let mut world = Setup::new().polled();
    world.returns(Ok(json::null()));
    assert_eq!(world.facts(), ["RunCompleted"]);
    assert!(matches!(&world.write().after[..], [LateWrite::MarkEnded { .. }]));
    assert!(world.write().acknowledges && world.written().is_done());
}

#[test]
fn rule_19_every_end_wakes_the_caller() {
    let parent = RunId::new(START, 1);
    let error = stepladder_core::Failure::new("boom");
    for end in [
        completed(),
        Fact::RunFailed { error },
        Fact::RunCancelled { reason: "a user".into() },
        Fact::RunSkipped { reason: "a limit".into() },
    ] {
        let mut setup = Setup::new();
        setup.created = NewRun::new("f".into(), event(1), Origin::Invoke { parent, step: "call".into() });
        let world = ended(end, setup);
        assert_eq!((world.write().wakes[0].run, &world.write().wakes[0].cause), (parent, &WakeCause::ChildEnded));
    }
}

#[test]
fn rule_28_a_later_wake_repeats_the_finishing_work() {
    let mut world = ended(completed(), Setup::new());
    assert!(matches!(&world.write().after[..], [LateWrite::MarkEnded { .. }]));
    assert!(world.write().acknowledges && world.written().is_done());
}

#[test]
fn rule_28_an_end_is_announced_before_its_wake_is_acknowledged() {
    let mut listener = Spec::new("l");
    listener.triggers.push(Trigger { event: INNGEST_FINISHED.into(), condition: None });
    let setup = Setup { others: vec![listener], ..Setup::new() };
    let mut world = setup.polled();
    world.returns(Ok(json::null()));
    assert!(!world.write().acknowledges);
    world.written();
    assert!(matches!(world.question(), Effect::AnnounceEnd(_)));
    world.on(Input::Done);
    assert!(world.write().acknowledges && world.written().is_done());
}

#[test]
fn a_failed_run_starts_its_failure_handler() {
    let setup = Setup { others: vec![Spec::new("h")], ..Setup::new() }.spec(|spec| {
        spec.on_failure = Some("h".into());
        spec.retry.retries = 0;
    });
    let mut world = setup.polled();
    world.returns(Err(failure("boom"))).written();
    let Effect::StartRun(start) = world.question() else { panic!("{:?}", world.question()) };
    assert_eq!((&*start.1.function, &start.1.origin), ("h", &Origin::Failure { of: run() }));
}

#[test]
fn called_runs_that_are_bound_end_with_their_caller() {
    let child = run().invoked_by("c", START);
    let call = Fact::InvokeStarted { step: "c".into(), function: "g".into(), child, input: json::null(), bound: true };
    let mut world = Setup::new().after(vec![call, completed()]).loaded();
    assert!(matches!(world.question(), Effect::CancelRuns { runs, .. } if *runs == [child]));
    world.on(Input::Done);
    assert!(world.write().acknowledges);
}

#[test]
fn rule_22_an_ended_run_frees_its_slots_and_tickets_before_others_are_promoted() {
    let mut world = ended(completed(), Setup::new().one_at_a_time());
    let Effect::FindHolders(limits) = world.question() else { panic!("{:?}", world.question()) };
    let limits = limits.clone();
    world.on(Input::Holders(Vec::new()));
    world.on(Input::Tickets(limits));
    assert!(matches!(&world.write().after[..], [LateWrite::Dequeue { .. }]) && !world.write().acknowledges);
    world.written();
    assert!(matches!(world.question(), Effect::Promote(_)));
    world.on(Input::Done);
    assert!(world.write().acknowledges && world.written().is_done());
}

#[test]
fn a_repetition_that_frees_nothing_promotes_nothing() {
    let mut world = ended(completed(), Setup::new().one_at_a_time());
    world.on(Input::Holders(Vec::new())).on(Input::Tickets(Vec::new()));
    assert!(world.write().acknowledges && world.written().is_done());
}

#[test]
fn rule_22_a_redelivered_wake_of_an_ended_run_promotes_in_any_case() {
    let mut world = ended(completed(), Setup::new().one_at_a_time().redelivered());
    world.on(Input::Holders(Vec::new())).on(Input::Tickets(Vec::new())).written();
    assert!(matches!(world.question(), Effect::Promote(_)));
}
