//! Tests of waits that ask for heartbeats: the wakes that they leave, and how they end.

use stepladder_core::decide::{Operation, Want};
use stepladder_core::hop::{EarlyWrite, Effect};
use stepladder_core::journal::{Fact, Failure};
use stepladder_core::wake::{Timer, TimerPurpose};
use stepladder_core::{Timestamp, WakeCause, json};

use crate::world::{HopFixture, HopSetup, START, body, later_wakes, seconds, want};

fn waiting(timeout: u64, every: u64) -> Want {
    want("s", Operation::WaitForSignal { timeout: seconds(timeout), heartbeat: Some(seconds(every)), name: None })
}

/// A wait of 600 s from `START` on, with a heartbeat every 60 s.
fn awaited() -> Fact {
    Fact::SignalAwaited { step: "s".into(), until: START + seconds(600), heartbeat_ms: Some(60_000) }
}

fn due_at(due: Timestamp) -> WakeCause {
    WakeCause::Heartbeat { step: "s".into(), due }
}

/// Returns a hop that such a wake starts at this time, after these facts, which all happened at
/// `START`.
fn woken(history: Vec<Fact>, cause: WakeCause, now: Timestamp) -> HopFixture {
    let setup = HopSetup { now, ..HopSetup::new().with_history(history).woken(cause) };
    let mut world = setup.polled();
    world.want_steps(vec![waiting(600, 60)]);
    world
}

#[test]
fn a_wait_leaves_a_wake_for_its_first_heartbeat_and_one_for_its_timeout() {
    let mut world = HopSetup::new().polled();
    let now = world.now;
    world.want_steps(vec![waiting(600, 60)]);
    assert_eq!(world.facts(), ["SignalAwaited"]);
    let heartbeat = (due_at(now + seconds(60)), now + seconds(60));
    assert_eq!(later_wakes(world.write()), [heartbeat, (WakeCause::Due, now + seconds(600))]);
}

#[test]
fn a_heartbeat_that_is_due_after_the_timeout_needs_no_wake() {
    for timeout in [30, 60] {
        let mut world = HopSetup::new().polled();
        world.want_steps(vec![waiting(timeout, 60)]);
        assert_eq!(later_wakes(world.write()), [(WakeCause::Due, world.now + seconds(timeout))], "{timeout}");
    }
}

#[test]
fn a_heartbeat_past_the_queues_longest_delay_is_a_timer_of_its_step() {
    let mut setup = HopSetup::new();
    setup.worker.max_delay = seconds(50);
    let mut world = setup.polled();
    world.want_steps(vec![waiting(600, 60)]);
    let due = world.now + seconds(60);
    let is_timer = |early: &EarlyWrite| matches!(early, EarlyWrite::Timer(Timer { purpose: TimerPurpose::Heartbeat(step), due: at, .. }) if **step == *"s" && *at == due);
    assert!(world.write().before.iter().any(is_timer), "{:?}", world.write());
}

#[test]
fn a_wait_ends_when_its_heartbeat_is_missed_whichever_wake_notices() {
    let due = START + seconds(60);
    for cause in [due_at(due), WakeCause::Watchdog, WakeCause::Lease] {
        let mut world = woken(vec![awaited()], cause.clone(), due);
        assert_eq!(world.facts(), ["HeartbeatMissed"], "{cause:?}");
        let Fact::HeartbeatMissed { error, .. } = &world.write().entries[0].fact else { panic!("{cause:?}") };
        assert_eq!(error.code(), Some("heartbeat-timeout"));
        assert!(later_wakes(world.write()).is_empty(), "{cause:?}");
        world.written().want_steps(vec![body("next")]);
        assert_eq!(world.facts(), ["StepStarted"], "{cause:?}");
    }
}

#[test]
fn a_heartbeat_moves_the_end_of_the_wait() {
    let history = || vec![awaited(), Fact::HeartbeatReceived { step: "s".into() }];
    let due = START + seconds(60 + 30);
    let mut stale = woken(history(), due_at(START + seconds(60)), START + seconds(60));
    assert!(stale.write().entries.is_empty() && stale.write().before.is_empty(), "{:?}", stale.write());
    assert!(stale.write().acknowledges && stale.written().is_done());
    assert_eq!(woken(history(), due_at(due), due).facts(), ["HeartbeatMissed"]);
}

#[test]
fn an_early_wake_of_a_heartbeat_is_sent_again_for_its_time_whatever_the_hop_does() {
    let (due, now) = (START + seconds(60), START + seconds(59));
    let copy = || vec![(due_at(due), due)];
    let mut world = woken(vec![awaited()], due_at(due), now);
    assert_eq!((later_wakes(world.write()), world.write().entries.len()), (copy(), 0));
    assert!(world.written().is_done());
    // the handler waits for its retry
    let retry_at = START + seconds(300);
    let failed = Fact::HandlerFailed { attempt: 1, error: Failure::new("boom"), retry_at };
    let setup = HopSetup { now, ..HopSetup::new().with_history(vec![awaited(), failed]).woken(due_at(due)) };
    assert_eq!(
        later_wakes(setup.loaded().answer_until(|e| matches!(e, stepladder_core::hop::Effect::Write(_))).write()),
        copy()
    );
    // a body starts in the same hop
    let setup = HopSetup { now, ..HopSetup::new().with_history(vec![awaited()]).woken(due_at(due)) };
    let mut starts = setup.polled();
    starts.want_steps(vec![waiting(600, 60), body("b")]);
    assert_eq!((starts.facts(), later_wakes(starts.write())), (vec!["StepStarted".to_owned()], copy()));
}

#[test]
fn no_copy_is_left_by_a_wake_of_an_ended_run() {
    let (due, now) = (START + seconds(60), START + seconds(59));
    let ended = Fact::RunCancelled { reason: "no".into() };
    let setup = HopSetup { now, ..HopSetup::new().with_history(vec![awaited(), ended]).woken(due_at(due)) };
    let mut world = setup.loaded();
    world.answer_until(|effect| matches!(effect, stepladder_core::hop::Effect::Write(_)));
    assert!(later_wakes(world.write()).is_empty(), "{:?}", world.write());
}

#[test]
fn no_copy_is_left_by_a_wake_for_an_earlier_heartbeat_or_an_ended_wait() {
    let (due, now) = (START + seconds(60), START + seconds(59));
    let other = woken(vec![awaited()], due_at(START + seconds(58)), now);
    assert!(other.write().before.is_empty(), "{:?}", other.write());
    let received = Fact::SignalReceived { step: "s".into(), data: json::null() };
    let setup = HopSetup { now, ..HopSetup::new().with_history(vec![awaited(), received]).woken(due_at(due)) };
    let mut ended = setup.polled();
    ended.want_steps(vec![]);
    assert!(ended.write().before.is_empty(), "{:?}", ended.write());
}

#[test]
fn a_heartbeat_that_comes_before_the_write_keeps_the_wait_open() {
    // the clock of the writer of the heartbeat is behind
    let due = START + seconds(60);
    let mut world = woken(vec![awaited()], due_at(due), due);
    world.overtaken_by(vec![Fact::HeartbeatReceived { step: "s".into() }]);
    world.answer_until(|effect| matches!(effect, stepladder_core::hop::Effect::Poll(_)));
    world.want_steps(vec![waiting(600, 60)]);
    assert!(world.write().entries.is_empty(), "{:?}", world.write());
    assert!(world.written().is_done());
}

#[test]
fn the_timeout_ends_a_wait_whose_heartbeats_come() {
    let until = START + seconds(80);
    let awaited = Fact::SignalAwaited { step: "s".into(), until, heartbeat_ms: Some(60_000) };
    let history = vec![awaited, Fact::HeartbeatReceived { step: "s".into() }];
    assert_eq!(woken(history, WakeCause::Due, until).facts(), ["WaitExpired"]);
}

#[test]
fn a_heartbeat_whose_call_is_handed_over_leaves_a_copy_for_a_worker_with_a_slower_clock() {
    let due = START + seconds(60);
    let hop = HopSetup { executes_in_poll: true, now: due, deadline: Some(due + seconds(1)), ..HopSetup::new() };
    let mut world = hop.with_history(vec![awaited()]).woken(due_at(due)).loaded();
    world.answer_until(|effect| matches!(effect, Effect::Write(_)));
    let causes: Vec<_> = world.write().wakes.iter().map(|wake| wake.cause.clone()).collect();
    assert_eq!(causes, [WakeCause::Fresh(None)]);
    assert_eq!(later_wakes(world.write()), [(due_at(due), due + seconds(60))]);
}
