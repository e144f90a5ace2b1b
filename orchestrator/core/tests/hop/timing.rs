//! Wakes that come early or late, and leases that are live.

use stepladder_core::WakeCause;
use stepladder_core::decide::Operation;
use stepladder_core::hop::{EarlyWrite, Effect, Input};
use stepladder_core::journal::{Fact, Failure};

use crate::world::{START, Setup, body, later_wakes, secs, started, want};

fn napping(cause: WakeCause, wait: u64) -> crate::world::World {
    let until = START + secs(1) + secs(wait);
    let history = vec![Fact::SleepStarted { step: "nap".into(), until }];
    let mut world = Setup::new().after(history).woken(cause).polled();
    world.wants(vec![want("nap", Operation::SleepFor(secs(wait)))]);
    world
}

#[test]
fn rule_10_a_hop_that_meets_a_live_lease_leaves_one_copy_of_its_wake() {
    let lease = START + secs(100);
    let mut world = Setup::new().after(vec![started("a", 1, lease)]).polled();
    world.wants(vec![body("a")]);
    assert_eq!(later_wakes(world.write()), [(WakeCause::Lease, lease + std::time::Duration::from_millis(1))]);
    assert!(world.write().acknowledges && world.written().is_done());
}

#[test]
fn rule_10_the_copy_comes_within_the_queues_longest_delay() {
    let lease = START + secs(10_000);
    for longest in [secs(800), secs(900), secs(2_000)] {
        let mut setup = Setup::new().after(vec![started("a", 1, lease)]);
        setup.worker.max_delay = longest;
        let mut world = setup.polled();
        world.wants(vec![body("a")]);
        assert_eq!(later_wakes(world.write())[0].1, world.now + longest);
    }
}

#[test]
fn a_wake_past_the_queues_longest_delay_goes_through_the_sweep() {
    let mut setup = Setup::new();
    setup.worker.max_delay = secs(800);
    for (wait, is_timer) in [(800, false), (801, true)] {
        let mut world = setup.polled();
        world.wants(vec![want("nap", Operation::SleepFor(secs(wait)))]);
        let is_timers =
            |early: &EarlyWrite| matches!(early, EarlyWrite::Timer(timer) if timer.due == world.now + secs(wait));
        assert_eq!(world.write().before.iter().any(is_timers), is_timer, "{wait}");
        assert_eq!(later_wakes(world.write()).is_empty(), is_timer, "{wait}");
    }
}

#[test]
fn an_early_wake_is_sent_again_for_its_due_time() {
    let world = napping(WakeCause::Due, 5);
    assert_eq!(later_wakes(world.write()), [(WakeCause::Due, world.now + secs(5))]);
}

#[test]
fn a_wake_that_is_not_for_the_timer_leaves_no_copy() {
    assert!(later_wakes(napping(WakeCause::Next, 5).write()).is_empty(), "it has a wake of its own");
    assert!(later_wakes(napping(WakeCause::Due, 600).write()).is_empty(), "too early to be for it");
}

#[test]
fn an_early_wake_of_the_handlers_retry_is_sent_again() {
    let retry_at = START + secs(6);
    let error = Failure::new("boom");
    let history = vec![Fact::HandlerFailed { attempt: 1, error, retry_at }];
    let mut world = Setup::new().after(history).woken(WakeCause::Due).loaded();
    world.answer_until(|effect| matches!(effect, Effect::Write(_)));
    assert_eq!(later_wakes(world.write()), [(WakeCause::Due, retry_at)]);
    assert!(world.write().acknowledges && world.written().is_done());
}

#[test]
fn a_promoted_ticket_is_given_up_while_the_handler_waits_for_its_retry() {
    let retry_at = START + secs(600);
    let error = Failure::new("boom");
    let history = vec![Fact::HandlerFailed { attempt: 1, error, retry_at }];
    let setup = Setup::new().one_at_a_time().after(history).woken(WakeCause::Slot);
    let mut world = setup.loaded();
    world.answer_until(|effect| matches!(effect, Effect::FindTickets { .. }));
    let Effect::FindTickets { limits, .. } = world.question().clone() else { unreachable!() };
    let mut without = world.clone();
    world.on(Input::Tickets(limits));
    assert_eq!((world.write().after.len(), world.write().wakes.len()), (1, 1), "the next attempt may rely on it");
    without.on(Input::Tickets(Vec::new()));
    assert!(without.write().acknowledges && without.write().wakes.is_empty());
    let mut soon = Setup { now: retry_at - secs(2), ..setup }.loaded();
    soon.answer_until(|effect| matches!(effect, Effect::Write(_)));
    assert_eq!(later_wakes(soon.write()), [(WakeCause::Slot, retry_at)]);
}
