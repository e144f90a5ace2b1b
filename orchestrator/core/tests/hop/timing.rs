//! Tests of wakes that come early or late, and of live leases.

use stepladder_core::decide::{Operation, Want};
use stepladder_core::hop::{EarlyWrite, Effect, Input, TicketSearch};
use stepladder_core::journal::{Fact, Failure};
use stepladder_core::{AttemptReport, RunOrStep, WakeCause};

use crate::world::{HopFixture, HopSetup, START, body, later_wakes, seconds, started, want};

fn hop_with_sleep(cause: WakeCause, wait: u64) -> HopFixture {
    let until = START + seconds(1) + seconds(wait);
    let history = vec![Fact::SleepStarted { step: "nap".into(), until }];
    let mut world = HopSetup::new().with_history(history).woken(cause).polled();
    world.want_steps(vec![want("nap", Operation::SleepFor(seconds(wait)))]);
    world
}

#[test]
fn rule_10_a_hop_that_meets_a_live_lease_leaves_one_copy_of_its_wake() {
    let lease = START + seconds(100);
    let mut world = HopSetup::new().with_history(vec![started("a", 1, lease)]).polled();
    world.want_steps(vec![body("a")]);
    assert_eq!(later_wakes(world.write()), [(WakeCause::Lease, lease + std::time::Duration::from_millis(1))]);
    assert!(world.write().acknowledges && world.written().is_done());
}

#[test]
fn rule_10_the_copy_comes_within_the_queues_longest_delay() {
    let lease = START + seconds(10_000);
    for longest in [seconds(800), seconds(900), seconds(2_000)] {
        let mut setup = HopSetup::new().with_history(vec![started("a", 1, lease)]);
        setup.worker.max_delay = longest;
        let mut world = setup.polled();
        world.want_steps(vec![body("a")]);
        assert_eq!(later_wakes(world.write())[0].1, world.now + longest);
    }
}

#[test]
fn a_wake_past_the_queues_longest_delay_goes_through_the_sweep() {
    let mut setup = HopSetup::new();
    setup.worker.max_delay = seconds(800);
    for (wait, is_timer) in [(800, false), (801, true)] {
        let mut world = setup.polled();
        world.want_steps(vec![want("nap", Operation::SleepFor(seconds(wait)))]);
        let is_timers =
            |early: &EarlyWrite| matches!(early, EarlyWrite::Timer(timer) if timer.due == world.now + seconds(wait));
        assert_eq!(world.write().before.iter().any(is_timers), is_timer, "{wait}");
        assert_eq!(later_wakes(world.write()).is_empty(), is_timer, "{wait}");
    }
}

#[test]
fn an_early_wake_is_sent_again_for_its_due_time() {
    let world = hop_with_sleep(WakeCause::Due, 5);
    assert_eq!(later_wakes(world.write()), [(WakeCause::Due, world.now + seconds(5))]);
}

#[test]
fn a_wake_that_is_not_for_the_timer_leaves_no_copy() {
    assert!(later_wakes(hop_with_sleep(WakeCause::Next, 5).write()).is_empty(), "it has a wake of its own");
    assert!(later_wakes(hop_with_sleep(WakeCause::Due, 600).write()).is_empty(), "too early to be for it");
}

#[test]
fn an_early_wake_of_the_handlers_retry_is_sent_again() {
    let retry_at = START + seconds(6);
    let error = Failure::new("boom");
    let history = vec![Fact::HandlerFailed { attempt: 1, error, retry_at }];
    let mut world = HopSetup::new().with_history(history).woken(WakeCause::Due).loaded();
    world.answer_until(|effect| matches!(effect, Effect::Write(_)));
    assert_eq!(later_wakes(world.write()), [(WakeCause::Due, retry_at)]);
    assert!(world.write().acknowledges && world.written().is_done());
    let history = vec![Fact::HandlerFailed { attempt: 1, error: Failure::new("boom"), retry_at: START + seconds(62) }];
    let mut far = HopSetup::new().with_history(history).woken(WakeCause::Due).loaded();
    far.answer_until(|effect| matches!(effect, Effect::Write(_)));
    assert!(far.write().before.is_empty(), "it was sent for something else");
}

#[test]
fn a_promoted_ticket_is_given_up_while_the_handler_waits_for_its_retry() {
    let retry_at = START + seconds(600);
    let error = Failure::new("boom");
    let history = vec![Fact::HandlerFailed { attempt: 1, error, retry_at }];
    let setup = HopSetup::new().one_at_a_time().with_history(history).woken(WakeCause::Slot);
    let mut world = setup.loaded();
    world.answer_until(|effect| matches!(effect, Effect::FindTickets { .. }));
    let Effect::FindTickets { limits, .. } = world.open_question().clone() else { unreachable!() };
    let mut without = world.clone();
    world.on(Input::Tickets(limits));
    assert_eq!((world.write().after.len(), world.write().wakes.len()), (1, 1), "the next attempt may rely on it");
    without.on(Input::Tickets(Vec::new()));
    assert!(without.write().acknowledges && without.write().wakes.is_empty());
    let mut soon = HopSetup { now: retry_at - seconds(2), ..setup }.loaded();
    soon.answer_until(|effect| matches!(effect, Effect::Write(_)));
    assert_eq!(later_wakes(soon.write()), [(WakeCause::Slot, retry_at)]);
}

/// Returns the entry of a sleep that started with the run, and the wanted step that belongs to it.
fn nap(step: &str, wait: u64) -> (Fact, Want) {
    let started = Fact::SleepStarted { step: step.into(), until: START + seconds(wait) };
    (started, want(step, Operation::SleepFor(seconds(wait))))
}

/// Returns the entries of a failed attempt of the step `a`. Its retry is due this many seconds
/// after the run's creation.
fn failed(retry: u64) -> Vec<Fact> {
    let (error, report, retry_at) = (Failure::new("boom"), AttemptReport::default(), Some(START + seconds(retry)));
    vec![started("a", 1, START), Fact::StepFailed { step: "a".into(), attempt: 1, error, retry_at, report }]
}

#[test]
fn a_wake_that_came_in_time_for_another_timer_leaves_no_copy() {
    let ((due, first), (later, second)) = (nap("first", 1), nap("second", 6));
    let mut world = HopSetup::new().with_history(vec![due, later]).woken(WakeCause::Due).polled();
    world.want_steps(vec![first, second.clone()]);
    assert_eq!(world.facts(), ["SleepEnded"]);
    world.written().want_steps(vec![second]);
    assert!(world.write().acknowledges && later_wakes(world.write()).is_empty(), "the other timer has its own wake");
}

#[test]
fn a_wake_that_came_in_time_for_a_retry_leaves_no_copy() {
    // if the step has its own wakes, the present wake belongs to another timer
    for (woken, copies) in [(vec![], 0), (vec![Fact::StepsWoken { steps: vec!["a".into()], together: false }], 1)] {
        let (later, second) = nap("second", 30);
        let history = woken.into_iter().chain(failed(1)).chain([later]).collect();
        let cause = if copies == 0 { WakeCause::Due } else { WakeCause::Fresh(None) };
        let mut world = HopSetup::new().with_history(history).woken(cause).polled();
        world.want_steps(vec![body("a"), second.clone()]);
        if copies == 0 {
            world.written().succeed(&["a"]).want_steps(vec![second]);
        }
        assert!(world.write().acknowledges);
        assert_eq!(later_wakes(world.write()).len(), copies);
    }
}

#[test]
fn a_first_attempt_does_not_make_an_early_wake_punctual() {
    let (later, second) = nap("second", 30);
    let mut world = HopSetup::new().with_history(vec![later]).woken(WakeCause::Due).polled();
    world.want_steps(vec![body("a"), second.clone()]);
    world.written().fail("a");
    assert!(!world.write().acknowledges, "the early wake must leave its copy");
    world.written().want_steps(vec![body("a"), second]);
    assert_eq!(later_wakes(world.write()), [(WakeCause::Due, START + seconds(30))]);
}

#[test]
fn rule_10_an_early_wake_that_meets_a_lease_comes_again_at_the_earlier_of_both() {
    let lease = START + seconds(20);
    let after_lease = lease + std::time::Duration::from_millis(1);
    for (due, copy) in [(10, (WakeCause::Due, START + seconds(10))), (30, (WakeCause::Lease, after_lease))] {
        let (later, second) = nap("second", due);
        let mut world =
            HopSetup::new().with_history(vec![later, started("a", 1, lease)]).woken(WakeCause::Due).polled();
        world.want_steps(vec![body("a"), second]);
        assert_eq!(later_wakes(world.write()), [copy]);
    }
}

#[test]
fn the_early_wake_of_a_step_is_sent_again_for_its_own_retry_only() {
    for (step, copies) in [("a", vec![(WakeCause::Step("a".into()), START + seconds(6))]), ("b", vec![])] {
        let mut world = HopSetup::new().with_history(failed(6)).woken(WakeCause::Step(step.into())).polled();
        world.want_steps(vec![body("a")]);
        assert_eq!(later_wakes(world.write()), copies);
    }
}

#[test]
fn the_ticket_of_a_step_is_given_up_while_the_handler_waits_for_its_retry() {
    let retry_at = START + seconds(600);
    let history = vec![Fact::HandlerFailed { attempt: 1, error: Failure::new("boom"), retry_at }];
    let (step, cause) = (RunOrStep::Step("a".into()), WakeCause::Step("a".into()));
    let setup = HopSetup::new().one_at_a_time().with_history(history);
    let decided = |setup: HopSetup| {
        let mut world = setup.loaded();
        world.answer_until(|effect| matches!(effect, Effect::FindTickets { .. } | Effect::Write(_)));
        world
    };
    let world = decided(setup.clone().woken(cause.clone()));
    assert!(matches!(world.open_question(), Effect::FindTickets { place: TicketSearch::Own(of), .. } if *of == step));
    let soon = decided(HopSetup { now: retry_at - seconds(2), ..setup.clone().woken(cause.clone()) });
    assert_eq!(later_wakes(soon.write()), [(cause, retry_at)], "the ticket waits for a moment");
    let other = decided(setup.woken(WakeCause::Due));
    assert!(other.write().acknowledges && other.write().before.is_empty(), "it was sent for no ticket");
}

#[test]
fn a_wake_whose_work_another_hop_has_done_is_early_for_the_next_timer() {
    let ((later, second), (new, third)) = (nap("second", 30), nap("third", 20));
    let mut world = HopSetup::new().with_history(vec![later]).woken(WakeCause::Due).polled();
    world.want_steps(vec![body("a"), second.clone()]);
    world.overtaken_by(vec![new]);
    world.answer_until(|effect| matches!(effect, Effect::Poll(_)));
    world.want_steps(vec![second, third]);
    assert_eq!(later_wakes(world.write()), [(WakeCause::Due, START + seconds(20))]);
}
