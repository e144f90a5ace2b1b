//! Tests of attempts that are handed over to another invocation.

use stepladder_core::hop::{Effect, Finished, Input, LateWrite};
use stepladder_core::journal::Fact;
use stepladder_core::slot::Holder;
use stepladder_core::spec::Concurrency;
use stepladder_core::{WakeCause, json};

use crate::world::{HOP, HopFixture, HopSetup, START, body, run, seconds};

/// Returns a hop that has executed the body of `a`. Its function may now want other steps.
fn going_on(setup: &HopSetup) -> HopFixture {
    let mut world = setup.polled();
    world.want_steps(vec![body("a")]).written();
    assert_eq!(world.executed(), ["a".into()]);
    world.on(Input::Finished(Finished::default()));
    world
}

fn causes(world: &HopFixture) -> Vec<WakeCause> {
    world.write().wakes.iter().map(|wake| wake.cause.clone()).collect()
}

#[test]
fn a_hop_hands_over_when_it_must_not_go_on() {
    let mut setup = HopSetup::new();
    setup.worker.goes_on = false;
    let mut world = setup.polled();
    world.want_steps(vec![body("a")]).written().succeed(&["a"]).want_steps(vec![body("b")]);
    assert_eq!(world.facts(), ["StepSucceeded"]);
    assert_eq!(world.write().wakes[0].cause, WakeCause::Next);
    assert!(world.write().acknowledges && world.written().is_done());
}

#[test]
fn a_body_without_time_gets_a_fresh_invocation_once() {
    let mut setup = HopSetup::new();
    setup.deadline = Some(setup.now + seconds(30));
    let mut world = setup.clone().polled();
    world.want_steps(vec![body("a")]);
    assert_eq!(world.write().wakes[0].cause, WakeCause::Fresh(None));
    assert!(world.written().is_done());
    let mut fresh = setup.woken(WakeCause::Fresh(None)).polled();
    fresh.want_steps(vec![body("a")]);
    assert_eq!(fresh.facts(), ["StepStarted"]);
}

#[test]
fn a_process_that_is_about_to_stop_hands_over_further_steps_once() {
    let mut world = going_on(&HopSetup::new());
    world.is_stopping = true;
    world.want_steps(vec![body("b")]);
    assert_eq!((causes(&world), world.write().entries.len()), (vec![WakeCause::Next], 0));
    world.written();
    assert!(matches!(world.open_question(), Effect::AwaitAttempts(_)), "a executes");
    world.on(Input::Finished(Finished::default())).want_steps(vec![body("b")]);
    assert!(matches!(world.open_question(), Effect::AwaitAttempts(_)), "b has its wake");
    world.succeed(&["a"]);
    world.return_from_handler(Ok(json::null()));
    assert_eq!(world.facts(), ["StepSucceeded", "RunCompleted"]);
}

#[test]
fn a_step_whose_time_out_does_not_fit_the_remaining_time_is_handed_over() {
    for (left, here) in [(62, false), (63, true)] {
        let mut setup = HopSetup::new();
        setup.deadline = Some(setup.now + seconds(200));
        let mut world = going_on(&setup);
        world.now = setup.now + seconds(200 - left);
        world.want_steps(vec![body("b")]);
        assert_eq!((world.write().entries.len() == 1, world.write().wakes.is_empty()), (here, here), "{left}");
    }
}

#[test]
fn a_step_with_a_wake_of_its_own_is_handed_over_under_such_a_wake() {
    let woken = || {
        HopSetup::new()
            .with_history(vec![Fact::StepsWoken { steps: vec!["b".into()], together: false }])
            .woken(WakeCause::Step("b".into()))
    };
    let mut late = woken();
    late.deadline = Some(late.now + seconds(30));
    let mut late = late.polled();
    late.want_steps(vec![body("b")]);
    assert_eq!(causes(&late), [WakeCause::Fresh(Some("b".into()))], "that invocation starts it in any case");
    let mut world = going_on(&woken());
    world.is_stopping = true;
    world.want_steps(vec![body("b"), body("c")]);
    assert_eq!(causes(&world), [WakeCause::Step("b".into()), WakeCause::Next]);
}

#[test]
fn a_hop_whose_lease_has_ended_waits_for_its_attempts_if_it_starts_nothing() {
    let mut world = going_on(&HopSetup::new());
    world.now = START + seconds(1_000);
    world.want_steps(vec![]);
    assert!(matches!(&world.effects[..], [Effect::Stop { .. }, Effect::AwaitAttempts(_)]));
}

#[test]
fn a_slot_is_asked_for_with_the_ticket_of_the_step_if_it_has_one() {
    let history = vec![Fact::StepsWoken { steps: vec!["b".into()], together: false }];
    let woken = HopSetup::new().one_at_a_time().with_history(history);
    for (setup, step, by_itself) in [
        (HopSetup::new().one_at_a_time(), "a", false),
        (HopSetup::new().one_at_a_time().woken(WakeCause::Step("a".into())), "a", true),
        (woken.woken(WakeCause::Watchdog), "b", true),
    ] {
        let mut world = setup.polled();
        world.want_steps(vec![body(step)]);
        assert!(matches!(world.open_question(), Effect::Acquire(request) if request.by_itself == by_itself), "{step}");
    }
}

/// Returns a hop that wrote the start of `b` after the end of its lease, while `a` executes.
fn giving_up_a_late_start() -> HopFixture {
    let mut world = HopSetup::new().spec(|spec| spec.concurrency.push(Concurrency::steps(2))).polled();
    world.want_steps(vec![body("a")]);
    world.answer_until(|effect| matches!(effect, Effect::AwaitAttempts(_)));
    world.on(Input::Finished(Finished::default()));
    world.want_steps(vec![body("a"), body("b")]);
    world.answer_until(|effect| matches!(effect, Effect::Write(_)));
    assert_eq!(world.facts(), ["StepStarted"]);
    world.now = START + seconds(1_000);
    world.written();
    assert_eq!((world.facts(), causes(&world)), (vec!["AttemptInterrupted".to_owned()], vec![WakeCause::Fresh(None)]));
    world
}

#[test]
fn executing_bodies_keep_their_outcomes_and_slots_when_a_late_start_is_given_up() {
    let mut overtaken = giving_up_a_late_start();
    overtaken.overtaken_by(vec![Fact::SleepStarted { step: "x".into(), until: START }]);
    for (case, mut world) in [("written", giving_up_a_late_start()), ("overtaken", overtaken)] {
        while !matches!(world.open_question(), Effect::AwaitAttempts(_)) {
            match world.open_question() {
                Effect::Poll(_) => world.want_steps(vec![body("a"), body("b")]),
                _ => world.answer(),
            };
            assert!(!world.is_done(), "{case}: the hop has left `a`");
        }
        assert!(world.executed().is_empty(), "{case}: nothing starts");
        world.succeed(&["a"]).return_from_handler(Ok(json::null()));
        assert_eq!(world.facts(), ["StepSucceeded", "RunCompleted"], "{case}");
        let holder = Holder::Attempt { run: run(), step: "a".into(), attempt: 1, hop: HOP };
        let frees =
            |with_history: &LateWrite| matches!(with_history, LateWrite::Release { holder: of, .. } if *of == holder);
        assert!(world.write().after.iter().any(frees), "{case}: {:?}", world.write());
        assert!(world.finish().written.last().unwrap().acknowledges);
    }
}
