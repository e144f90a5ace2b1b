//! Tests of slots and tickets of concurrency limits.

use std::sync::Arc;

use stepladder_core::WakeCause;
use stepladder_core::decide::Operation;
use stepladder_core::hop::{Effect, Input, LateWrite, LogEvent, SlotAnswer, StoreFault, TicketSearch, WriteResult};
use stepladder_core::journal::Fact;
use stepladder_core::slot::Holder;
use stepladder_core::spec::Concurrency;
use stepladder_core::waiting::{EventMatch, EventWait};

use crate::world::{HOP, HopFixture, HopSetup, START, body, run, seconds, started, succeeded, want};

fn queued_answer() -> Input {
    Input::Slots(SlotAnswer::Queued { key: "f/0".into(), joined: true, is_new: true })
}

/// Returns the holder for which the hop wants to acquire slots.
fn requested_holder(world: &HopFixture) -> Holder {
    match world.open_question() {
        Effect::Acquire(request) => request.holder.clone(),
        other => panic!("{other:?}"),
    }
}

fn asks_for_a_slot() -> HopFixture {
    let mut world = HopSetup::new().one_at_a_time().polled();
    world.want_steps(vec![body("a")]);
    world
}

#[test]
fn rule_20_a_holder_is_run_step_attempt_and_hop() {
    let world = asks_for_a_slot();
    let holder = requested_holder(&world);
    assert_eq!(holder, Holder::Attempt { run: run(), step: "a".into(), attempt: 1, hop: HOP });
}

#[test]
fn rule_20_a_slot_is_released_with_the_outcome_of_its_attempt() {
    let mut world = asks_for_a_slot();
    let holder = requested_holder(&world);
    world.answer_until(|effect| matches!(effect, Effect::AwaitAttempts(_)));
    world.succeed(&["a"]).return_from_handler(Ok(stepladder_core::json::null()));
    assert_eq!(world.facts(), ["StepSucceeded", "RunCompleted"]);
    assert!(
        world.write().after.iter().any(|after| matches!(after, LateWrite::Release { holder: of, .. } if *of == holder))
    );
    assert!(!world.write().acknowledges, "tickets are promoted first");
    world.written();
    assert!(matches!(world.open_question(), Effect::Promote(_)));
}

#[test]
fn rule_21_a_refused_step_is_enqueued_and_the_journal_is_read_again() {
    let mut world = asks_for_a_slot();
    world.on(queued_answer());
    assert!(world.logged.iter().any(|event| matches!(event, LogEvent::Enqueued { .. })));
    assert!(matches!(world.open_question(), Effect::ReadOn));
    world.on(Input::Entries(Vec::new()));
    assert!(world.write().acknowledges && world.written().is_done());
}

#[test]
fn rule_21_a_step_that_another_hop_has_executed_leaves_the_queue() {
    let mut world = asks_for_a_slot();
    world.on(queued_answer());
    let record = world.append(vec![started("a", 1, START + seconds(100)).into_entry(world.now)]);
    world.on(Input::Entries(vec![record]));
    assert!(matches!(&world.write().after[..], [LateWrite::Dequeue { run: of, .. }] if *of == run()));
    assert_eq!(world.write().wakes[0].cause, WakeCause::Step("a".into()), "a later attempt may rely on the ticket");
    world.answer_until(|effect| matches!(effect, Effect::Open(_)));
}

#[test]
fn rule_22_a_redelivered_wake_repeats_the_release_and_the_promotion() {
    let history = vec![started("a", 1, START), succeeded("a", 1)];
    let mut world = HopSetup::new().one_at_a_time().with_history(history).redelivered().loaded();
    world.answer_until(|effect| matches!(effect, Effect::FindHolders(_)));
    let Effect::FindHolders(limits) = world.open_question() else { unreachable!() };
    let limit = limits[0].clone();
    let holder = |attempt| Holder::Attempt { run: run(), step: "a".into(), attempt, hop: HOP };
    world.on(Input::Holders(vec![(limit.clone(), holder(1))]));
    assert_eq!(world.write().after, [LateWrite::Release { limit: limit.clone(), holder: holder(1) }]);
    world.written();
    assert!(matches!(world.open_question(), Effect::Promote(_)));
    world.on(Input::Done);
    assert!(matches!(world.open_question(), Effect::Open(_)));
}

#[test]
fn slots_are_looked_up_only_where_there_are_any_and_a_worker_may_have_died() {
    for setup in
        [HopSetup::new().one_at_a_time(), HopSetup::new().redelivered(), HopSetup::new().woken(WakeCause::Watchdog)]
    {
        let mut world = setup.loaded();
        world.on(Input::Paused(false)).on(Input::Admission(None));
        assert!(matches!(&world.effects[..], [Effect::Open(_)]), "{:?}", world.effects);
    }
}

#[test]
fn rule_22_a_running_attempt_keeps_its_slot() {
    let history = vec![started("a", 1, START + seconds(600))];
    let mut world = HopSetup::new().one_at_a_time().with_history(history).redelivered().loaded();
    world.answer_until(|effect| matches!(effect, Effect::FindHolders(_)));
    let Effect::FindHolders(limits) = world.open_question() else { unreachable!() };
    let held = vec![(limits[0].clone(), requested_holder(&asks_for_a_slot()))];
    world.on(Input::Holders(held));
    assert!(matches!(world.open_question(), Effect::Promote(_)), "nothing is released");
}

#[test]
fn rule_22_a_worker_whose_start_is_rejected_releases_its_slot() {
    let mut world = asks_for_a_slot();
    let holder = requested_holder(&world);
    world.answer_until(|effect| matches!(effect, Effect::Write(_)));
    world.overtaken_by(vec![started("a", 1, START + seconds(100))]);
    assert!(matches!(&world.write().after[..], [LateWrite::Release { holder: of, .. }] if *of == holder));
    world.written();
    assert!(matches!(world.open_question(), Effect::Promote(_)));
}

#[test]
fn rule_22_the_body_of_an_ended_run_gives_back_its_slot() {
    let mut world = asks_for_a_slot();
    world.answer_until(|effect| matches!(effect, Effect::AwaitAttempts(_)));
    world.succeed(&["a"]);
    world.want_steps(vec![body("b")]);
    world.answer_until(|effect| matches!(effect, Effect::Write(_)));
    world.overtaken_by(vec![Fact::RunCancelled { reason: "a user".into() }]);
    world.finish();
    let released: usize =
        world.written.iter().flat_map(|w| &w.after).filter(|after| matches!(after, LateWrite::Release { .. })).count();
    assert!(released >= 1, "{:?}", world.written);
    assert!(world.written.last().unwrap().acknowledges);
}

#[test]
fn rule_24_a_wake_that_cannot_use_its_slot_promotes_the_next_ticket() {
    let history = vec![Fact::SleepStarted { step: "nap".into(), until: START + seconds(600) }];
    let mut world = HopSetup::new().one_at_a_time().with_history(history).woken(WakeCause::Slot).polled();
    world.want_steps(vec![crate::world::want("nap", stepladder_core::decide::Operation::SleepFor(seconds(600)))]);
    let Effect::FindTickets { limits, place: TicketSearch::OwnAtHead(_) } = world.open_question() else {
        panic!("{:?}", world.open_question())
    };
    let limits = limits.clone();
    world.on(Input::Tickets(limits));
    assert!(matches!(&world.write().after[..], [LateWrite::Dequeue { .. }]));
    world.written();
    assert!(matches!(world.open_question(), Effect::Promote(_)));
    world.on(Input::Done);
    assert!(world.write().acknowledges && world.written().is_done());
}

#[test]
fn rule_24_a_wake_whose_tickets_could_not_be_promoted_comes_again() {
    let mut world = asks_for_a_slot();
    world.answer_until(|effect| matches!(effect, Effect::AwaitAttempts(_)));
    world.fail("a");
    world.on(Input::Written(WriteResult::Done(None)));
    assert!(matches!(world.open_question(), Effect::Promote(_)));
    world.fail_executor();
    assert!(world.effects.iter().any(|effect| matches!(effect, Effect::Defer { promote, .. } if promote.len() == 1)));
    assert!(matches!(world.open_question(), Effect::PutBack(_)));
}

#[test]
fn bodies_start_although_tickets_could_not_be_promoted() {
    let mut world = asks_for_a_slot();
    world.answer_until(|effect| matches!(effect, Effect::AwaitAttempts(_)));
    world.succeed(&["a"]).want_steps(vec![body("b")]);
    assert_eq!(world.facts(), ["StepSucceeded"], "a slot is released before the next one is acquired");
    world.written();
    world.fail_executor();
    world.answer_until(|effect| matches!(effect, Effect::Poll(_)));
    world.want_steps(vec![body("b")]);
    world.answer_until(|effect| matches!(effect, Effect::AwaitAttempts(_)));
    assert_eq!(world.executed().len(), 1);
    world.fail("b");
    world.answer_until(|effect| matches!(effect, Effect::Write(write) if write.acknowledges));
    assert!(world.written().is_done() && world.effects.is_empty(), "the tickets were promoted with those of b");
}

#[test]
fn a_run_without_a_slot_of_its_run_limit_is_acknowledged() {
    let mut world = HopSetup::new().spec(|spec| spec.concurrency.push(Concurrency::runs(1))).loaded();
    world.answer_until(|effect| matches!(effect, Effect::Acquire(_)));
    assert_eq!(requested_holder(&world), Holder::Run(run()));
    let mut watched = world.clone();
    world.on(queued_answer());
    assert!(world.write().acknowledges && world.written().is_done());
    watched.on(Input::Slots(SlotAnswer::Acquired));
    assert!(matches!(watched.open_question(), Effect::Open(_)));
}

#[test]
fn a_watchdog_releases_the_slots_of_ended_runs() {
    let setup = HopSetup::new().spec(|spec| spec.concurrency.push(Concurrency::runs(1)));
    let mut world = setup.woken(WakeCause::Watchdog).loaded();
    world.answer_until(|effect| matches!(effect, Effect::Acquire(_)));
    world.on(queued_answer());
    assert!(matches!(world.open_question(), Effect::ReleaseEnded(_)));
    world.on(Input::Done);
    assert!(world.write().acknowledges);
}

#[test]
fn slots_that_a_failed_hop_holds_are_left_to_the_next_one() {
    let mut world = asks_for_a_slot();
    let holder = requested_holder(&world);
    world.fail_executor();
    // the reply may be lost, so the slot is released in a separate write; if that fails too, the
    // release is deferred
    assert!(matches!(&world.write().after[..], [LateWrite::Release { holder: of, .. }] if *of == holder));
    world.fail_executor();
    let deferred = world.effects.iter().any(
        |effect| matches!(effect, Effect::Defer { releases, .. } if releases.len() == 1 && releases[0].1 == holder),
    );
    assert!(deferred, "{:?}", world.effects);
}

#[test]
fn a_run_that_has_started_has_its_slot_of_the_run_limit() {
    let setup = HopSetup::new().spec(|spec| spec.concurrency.push(Concurrency::runs(1)));
    let mut world = setup.with_history(vec![started("a", 1, START), succeeded("a", 1)]).loaded();
    world.answer_until(|effect| matches!(effect, Effect::Acquire(_) | Effect::Open(_)));
    assert!(matches!(world.open_question(), Effect::Open(_)));
}

#[test]
fn a_wake_comes_again_if_it_cannot_be_acknowledged_after_the_promotion() {
    let mut world = asks_for_a_slot();
    world.answer_until(|effect| matches!(effect, Effect::AwaitAttempts(_)));
    world.fail("a").written();
    world.on(Input::Done);
    assert!(world.write().acknowledges);
    world.on(Input::StoreFailed(StoreFault::Refused("no permission".into())));
    let reports = |event: &LogEvent| matches!(event, LogEvent::StoreFailed(StoreFault::Refused(_)));
    assert!(world.logged.iter().any(reports) && matches!(world.open_question(), Effect::PutBack(_)));
    assert!(!world.effects.iter().any(|effect| matches!(effect, Effect::Defer { .. })), "the tickets are promoted");
}

#[test]
fn an_overtaken_write_owes_its_releases_and_nothing_else() {
    let history = vec![Fact::EventAwaited { step: "w".into(), wait: expired(), until: START }];
    let mut world = HopSetup::new().one_at_a_time().with_history(history).woken(WakeCause::Due).polled();
    let waits = Operation::WaitForEvent { wait: expired(), timeout: seconds(1) };
    world.want_steps(vec![body("a"), want("w", waits)]);
    assert!(matches!(&world.write().after[..], [LateWrite::Unsubscribe(_)]));
    world.overtaken_by(vec![Fact::WaitExpired { step: "w".into() }]);
    assert!(matches!(world.open_question(), Effect::Open(_)), "the other hop removes the subscription");
}

fn expired() -> Arc<EventWait> {
    Arc::new(EventWait { events: vec!["paid".into()], matching: EventMatch::Any })
}

#[test]
fn rule_22_slots_of_a_late_start_are_released_before_a_slot_is_acquired_again() {
    let mut world = HopSetup::new().one_at_a_time().woken(WakeCause::Fresh(None)).polled();
    world.want_steps(vec![body("a")]);
    let holder = requested_holder(&world);
    world.answer_until(|effect| matches!(effect, Effect::Write(_)));
    world.now = START + seconds(1_000);
    world.written();
    let releases = |world: &HopFixture| matches!(&world.write().after[..], [LateWrite::Release { holder: of, .. }] if *of == holder);
    assert!(releases(&world), "its lease has ended: {:?}", world.write());
    world.overtaken_by(vec![Fact::AttemptInterrupted { step: "a".into(), attempt: 1 }]);
    world.answer_until(|effect| matches!(effect, Effect::Poll(_)));
    world.want_steps(vec![body("a")]);
    assert!(releases(&world) && world.write().entries.is_empty());
}
