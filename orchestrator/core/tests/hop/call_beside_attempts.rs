//! Attempts that execute while the executor of their function should be called again. They go on,
//! whatever happens to the call.

use stepladder_core::WakeCause;
use stepladder_core::hop::{AdvisedFailure, Effect, Input, PollResult, SlotAnswer};
use stepladder_core::journal::{Fact, Failure};

use crate::world::{HopFixture, HopSetup, body, later_wakes, seconds, unreachable};

fn setup() -> HopSetup {
    HopSetup { executes_in_poll: true, ..HopSetup::new() }
}

/// Returns the causes of the wakes of the write that the hop wants.
fn causes(world: &HopFixture) -> Vec<WakeCause> {
    world.write().wakes.iter().map(|wake| wake.cause.clone()).collect()
}

/// Returns a hop that executes `b` and `c`, which its executor wanted in the first call.
fn executing(setup: &HopSetup) -> HopFixture {
    let mut world = setup.loaded();
    world.answer_until(|effect| matches!(effect, Effect::Poll(_)));
    world.want_steps(vec![body("b"), body("c")]);
    world.answer_until(|effect| matches!(effect, Effect::AwaitAttempts(_)));
    world
}

/// Checks that the hop still executes `c`, and that its outcome is written.
fn assert_c_goes_on(world: &mut HopFixture) {
    world.answer_until(|effect| matches!(effect, Effect::AwaitAttempts(_)));
    assert!(world.written.iter().all(|write| !write.acknowledges));
    world.succeed(&["c"]);
    world.answer_until(|effect| matches!(effect, Effect::Write(write) if !write.entries.is_empty()));
    assert_eq!(world.facts()[0], "StepSucceeded");
}

#[test]
fn rule_8_attempts_go_on_beside_a_call_of_another_hop() {
    let mut world = executing(&setup());
    let lease_until = world.now + seconds(100);
    let other = Fact::CallStarted { call: 2, lease_until, worker: "w2".into() };
    world.succeed(&["b"]).overtaken_by(vec![other]);
    assert_eq!(world.facts(), ["StepSucceeded"]);
    world.written();
    assert!(matches!(world.open_question(), Effect::AwaitAttempts(_)), "{:?}", world.effects);
    world.succeed(&["c"]);
    assert_eq!(world.facts(), ["StepSucceeded"]);
    assert!(world.write().acknowledges && later_wakes(world.write()).len() == 1, "rule 10");
}

#[test]
fn rule_14_attempts_go_on_if_a_call_of_a_dead_worker_is_left_to_a_new_wake() {
    let mut world = executing(&setup().redelivered());
    let other = Fact::CallStarted { call: 2, lease_until: world.now + seconds(1), worker: "w2".into() };
    world.succeed(&["b"]).overtaken_by(vec![other]);
    world.now = world.now + seconds(2);
    world.written();
    assert_eq!(causes(&world), [WakeCause::Lease]);
    assert_c_goes_on(&mut world);
}

#[test]
fn rule_4_the_failure_of_a_call_is_written_although_another_hop_was_faster() {
    let mut world = executing(&setup());
    world.succeed(&["b"]).written();
    world.answer_until(|effect| matches!(effect, Effect::Poll(_)));
    let failure = AdvisedFailure { failure: Failure::new("no"), retry: Default::default() };
    world.on(Input::Polled(Box::new(PollResult::Ended(Err(failure)).into())));
    world.answer_until(|effect| matches!(effect, Effect::Write(_)));
    let failed = ["CallEnded", "StepAbandoned", "HandlerFailed"];
    assert_eq!(world.facts(), failed);
    world.overtaken_by(vec![Fact::LogWritten { attempt: 1, lines: Vec::new() }]);
    assert_eq!(world.facts(), failed, "`c` would never start again without the failure");
    assert_eq!(later_wakes(world.write()).len(), 1, "rule 11");
}

#[test]
fn rule_8_attempts_go_on_if_another_hop_makes_the_next_call() {
    let mut one_by_one = setup();
    one_by_one.worker.goes_on = false;
    let mut world = executing(&one_by_one);
    world.succeed(&["b"]).written();
    assert_eq!(causes(&world), [WakeCause::Next]);
    assert!(world.write().entries.is_empty());
    assert_c_goes_on(&mut world);

    let mut late = executing(&setup());
    late.succeed(&["b"]).written();
    assert_eq!(late.facts(), ["CallStarted"]);
    late.now = late.now + seconds(1_000);
    late.written();
    assert_eq!((late.facts(), causes(&late)), (vec!["CallEnded".to_owned()], vec![WakeCause::Fresh(None)]));
    late.overtaken_by(vec![Fact::LogWritten { attempt: 1, lines: Vec::new() }]);
    assert_eq!(late.facts(), ["CallEnded"]);
}

#[test]
fn rule_8_attempts_go_on_while_the_next_call_waits_for_a_slot() {
    for joined in [false, true] {
        let mut world = executing(&setup().one_at_a_time().spec(|spec| spec.concurrency[0].limit = 3));
        world.succeed(&["b"]);
        world.answer_until(|effect| matches!(effect, Effect::Acquire(_)));
        world.on(Input::Slots(SlotAnswer::Queued { key: "k".into(), joined, is_new: joined }));
        assert_c_goes_on(&mut world);
    }
}

#[test]
fn rule_8_attempts_go_on_although_a_call_cannot_reach_the_executor() {
    let unreached = || {
        let mut world = executing(&setup());
        world.succeed(&["b"]);
        world.answer_until(|effect| matches!(effect, Effect::Poll(_)));
        world.on(Input::Unreachable(unreachable()));
        assert_eq!(world.facts(), ["CallEnded"]);
        world
    };
    assert_c_goes_on(&mut unreached());
    let mut world = unreached();
    world.overtaken_by(vec![Fact::LogWritten { attempt: 1, lines: Vec::new() }]);
    assert_eq!(world.facts(), ["CallEnded"]);
}
