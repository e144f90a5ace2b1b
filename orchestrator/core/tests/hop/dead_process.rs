//! What an executor in another process may still execute after its worker has died. The next worker
//! waits for the lease, even if it is certainly the only one.

use stepladder_core::WakeCause;
use stepladder_core::hop::Effect;
use stepladder_core::journal::Fact;

use crate::world::{HopSetup, START, body, later_wakes, seconds, started};

/// Returns the hop of a lone worker, whose predecessor has written this fact.
fn alone_with(fact: Fact) -> HopSetup {
    let setup = HopSetup { executes_in_poll: true, ..HopSetup::new() };
    let mut setup = setup.with_history(vec![fact]).woken(WakeCause::Lease);
    setup.worker.is_alone = true;
    setup
}

#[test]
fn rule_36_the_call_of_a_dead_process_keeps_its_lease_although_the_worker_is_alone() {
    let lease = START + seconds(900);
    let alone = alone_with(Fact::CallStarted { call: 1, lease_until: lease, worker: "dead".into() });
    let mut early = alone.clone().loaded();
    early.answer_until(|effect| matches!(effect, Effect::Write(_)));
    assert!(early.write().entries.is_empty(), "the app may still execute a step: {:?}", early.facts());
    assert!(later_wakes(early.write())[0].1 > lease);
    let mut late = HopSetup { now: lease, ..alone }.loaded();
    late.answer_until(|effect| matches!(effect, Effect::Write(_)));
    assert_eq!(late.facts(), ["CallEnded", "CallStarted"]);
}

#[test]
fn rule_36_the_attempt_of_a_dead_process_keeps_its_lease_although_the_worker_is_alone() {
    let lease = START + seconds(900);
    let alone = alone_with(started("a", 1, lease));
    let polled = |setup: HopSetup| {
        let mut world = setup.loaded();
        world.answer_until(|effect| matches!(effect, Effect::Poll(_)));
        world.want_steps(vec![body("a")]);
        world
    };
    let early = polled(alone.clone());
    assert_eq!(early.facts(), ["CallEnded"], "the app may still execute the attempt");
    assert!(later_wakes(early.write())[0].1 > lease);
    let late = polled(HopSetup { now: lease, ..alone });
    assert_eq!(late.facts(), ["CallEnded", "StepStarted"]);
}
