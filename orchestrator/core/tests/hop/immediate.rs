//! Executors that execute steps while they are polled: each poll is a call under a lease.

use stepladder_core::decide::{Operation, Want};
use stepladder_core::hop::{Effect, ExecutedStep, Input, LateWrite, PollResult, Polled, SlotAnswer, holds_slot};
use stepladder_core::journal::{Fact, Record};
use stepladder_core::slot::Holder;
use stepladder_core::state::{RunOutcome, StepState};
use stepladder_core::{AttemptReport, ErrorCode, OwnStep, RunOrStep, Timestamp, WakeCause, json};

use crate::world::{HopFixture, HopSetup, PROCESS, START, body, failure, later_wakes, run, seconds, unreachable, want};

fn setup() -> HopSetup {
    HopSetup { executes_in_poll: true, ..HopSetup::new() }
}

/// Returns the causes of the wakes of the write that the hop wants.
fn causes(world: &HopFixture) -> Vec<WakeCause> {
    world.write().wakes.iter().map(|wake| wake.cause.clone()).collect()
}

fn call_started(call: u32, lease_until: Timestamp, worker: &str) -> Fact {
    Fact::CallStarted { call, lease_until, worker: worker.into() }
}

/// Returns the answer of a call that executed this step, and waits for these others.
fn executed(step: &str, wants: Vec<Want>) -> Input {
    let executed = ExecutedStep { want: body(step), result: Ok(json::null()), report: AttemptReport::default() };
    Input::Polled(Box::new(Polled { executed: vec![executed], ..PollResult::Wanted(wants).into() }))
}

/// Returns a hop that has written the start of its first call, and polls.
fn calling(setup: &HopSetup) -> HopFixture {
    let mut world = setup.loaded();
    world.answer_until(|effect| matches!(effect, Effect::Write(_)));
    assert_eq!(world.facts(), ["CallStarted"]);
    world.written();
    assert!(matches!(world.open_question(), Effect::Poll(_)));
    world
}

#[test]
fn a_call_begins_only_after_its_start_is_written_with_its_lease() {
    let world = calling(&setup());
    let call = world.state().call.expect("a call is under way");
    assert_eq!((call.number, &*call.worker), (1, PROCESS));
    assert!(call.lease_until > world.now + seconds(60));
}

#[test]
fn the_start_and_the_outcome_of_an_executed_step_are_one_record_with_the_next_call() {
    let mut world = calling(&setup());
    world.on(executed("a", Vec::new()));
    assert_eq!(world.facts(), ["CallEnded", "StepStarted", "StepSucceeded", "CallStarted"]);
    world.written();
    let Effect::Poll(memo) = world.open_question() else { panic!("{:?}", world.open_question()) };
    assert_eq!(memo.iter().map(|outcome| &*outcome.step).collect::<Vec<_>>(), ["a"]);
    world.return_from_handler(Ok(json::null()));
    assert_eq!(world.facts(), ["CallEnded", "RunCompleted"]);
    world.finish();
    assert_eq!(world.state().call, None);
}

#[test]
fn rule_10_a_hop_that_meets_a_live_call_does_not_call_and_leaves_one_copy_of_its_wake() {
    let lease = START + seconds(300);
    let mut world = setup().with_history(vec![call_started(1, lease, "w2")]).woken(WakeCause::Due).loaded();
    world.answer_until(|effect| matches!(effect, Effect::Write(_)));
    assert!(world.write().entries.is_empty() && world.write().acknowledges);
    let wakes = later_wakes(world.write());
    assert_eq!(wakes.len(), 1);
    assert!(wakes[0].1 > lease);
    world.finish();
}

#[test]
fn the_wake_of_a_step_that_meets_a_live_call_comes_back_long_before_its_lease_ends() {
    let history = vec![
        Fact::StepsWoken { steps: vec!["a".into()], together: false },
        call_started(1, START + seconds(300), "w2"),
    ];
    let cause = WakeCause::Step("a".into());
    let mut world = HopSetup { now: START + seconds(8), ..setup() }.with_history(history).woken(cause).loaded();
    let waited = world.now.since(START);
    world.answer_until(|effect| matches!(effect, Effect::Write(_)));
    let wakes = later_wakes(world.write());
    assert_eq!(wakes.len(), 1);
    assert!(wakes[0].1 <= world.now + waited, "the end of the call sends no wake for the step: {wakes:?}");
    assert!(wakes[0].1 >= world.now + waited / 2, "a long call is not asked again and again: {wakes:?}");
}

#[test]
fn the_end_of_a_due_sleep_is_passed_with_the_next_call() {
    let nap = |step: &str, until| Fact::SleepStarted { step: step.into(), until };
    let naps = vec![nap("later", START + seconds(600)), nap("b", START + seconds(1)), nap("a", START + seconds(1))];
    let mut world = setup().with_history(naps.clone()).woken(WakeCause::Due).loaded();
    world.answer_until(|effect| matches!(effect, Effect::Poll(_)));
    let Effect::Poll(memo) = world.open_question() else { unreachable!() };
    assert_eq!(memo.iter().map(|outcome| &*outcome.step).collect::<Vec<_>>(), ["a", "b"]);

    let live = [naps, vec![call_started(1, START + seconds(300), "w2")]].concat();
    let mut world = setup().with_history(live).woken(WakeCause::Due).loaded();
    world.finish();
    assert!(world.state().outcomes.is_empty(), "the hop of the live call decides about them");
}

#[test]
fn rule_20_a_call_holds_a_slot_of_each_limit_and_releases_it_with_its_end() {
    let mut world = setup().one_at_a_time().loaded();
    world.answer_until(|effect| matches!(effect, Effect::Acquire(_)));
    let Effect::Acquire(request) = world.open_question().clone() else { unreachable!() };
    assert!(matches!(&request.holder, Holder::Attempt { step, attempt: 1, .. } if *step == OwnStep::Call.id()));
    world.answer_until(|effect| matches!(effect, Effect::Poll(_)));
    world.return_from_handler(Ok(json::null()));
    let released = |after: &LateWrite| matches!(after, LateWrite::Release { holder, .. } if *holder == request.holder);
    assert!(world.write().after.iter().any(released));
}

#[test]
fn the_slot_of_a_call_is_released_before_the_next_call_acquires_one() {
    let mut world = setup().one_at_a_time().loaded();
    world.answer_until(|effect| matches!(effect, Effect::Poll(_)));
    world.on(executed("a", Vec::new()));
    assert_eq!(world.facts(), ["CallEnded", "StepStarted", "StepSucceeded"]);
    world.written();
    world.answer_until(|effect| matches!(effect, Effect::Acquire(_)));
}

#[test]
fn a_call_without_a_slot_waits_in_the_queue_and_does_not_begin() {
    let mut world = setup().one_at_a_time().loaded();
    world.answer_until(|effect| matches!(effect, Effect::Acquire(_)));
    world.on(Input::Slots(SlotAnswer::Queued { key: "k".into(), joined: false, is_new: false }));
    assert!(world.write().acknowledges && world.write().entries.is_empty());
    world.finish();
    assert_eq!(world.state().calls, 0);
}

/// Returns a hop that has enqueued its first call, and reads the journal again.
fn enqueued() -> HopFixture {
    let mut world = setup().one_at_a_time().loaded();
    world.answer_until(|effect| matches!(effect, Effect::Acquire(_)));
    world.on(Input::Slots(SlotAnswer::Queued { key: "k".into(), joined: true, is_new: true }));
    assert!(matches!(world.open_question(), Effect::ReadOn));
    world
}

#[test]
fn rule_21_an_enqueued_call_reads_the_journal_again() {
    let mut world = enqueued();
    world.on(Input::Entries(Vec::new()));
    assert!(world.write().acknowledges && world.written().is_done());
}

#[test]
fn rule_21_a_call_that_another_hop_has_made_leaves_the_queue() {
    let mut world = enqueued();
    let call = call_started(1, world.now + seconds(100), "w2").into_entry(world.now);
    let record = world.append(vec![call]);
    world.on(Input::Entries(vec![record]));
    let of_call = |after: &LateWrite| matches!(after, LateWrite::Dequeue { of: Some(RunOrStep::Step(step)), .. } if *step == OwnStep::Call.id());
    assert!(world.write().after.iter().any(of_call) && !world.write().acknowledges);
    assert!(world.write().wakes.is_empty(), "this hop leaves a wake when it has decided again");
    world.written();
    world.answer_until(|effect| matches!(effect, Effect::Write(_)));
    assert_eq!(later_wakes(world.write()).len(), 1, "rule 10: the other call is live");
}

#[test]
fn rule_21_after_other_entries_an_enqueued_call_is_decided_again() {
    let mut world = enqueued();
    let record = world.append(vec![Fact::LogWritten { attempt: 1, lines: Vec::new() }.into_entry(world.now)]);
    world.on(Input::Entries(vec![record]));
    world.answer_until(|effect| matches!(effect, Effect::Acquire(_)));
    world.on(Input::Slots(SlotAnswer::Queued { key: "k".into(), joined: false, is_new: false }));
    assert!(world.write().acknowledges && world.written().is_done());
}

#[test]
fn an_enqueued_call_with_an_unreadable_journal_gives_its_wake_back() {
    let mut world = enqueued();
    let unreadable = Record { seq: 77, token: 7, code: "".into(), entries: Vec::new() };
    world.on(Input::Entries(vec![unreadable]));
    assert!(matches!(world.open_question(), Effect::PutBack(_)), "{:?}", world.effects);
    let mut failing = enqueued();
    failing.fail_executor();
    assert!(failing.write().after.iter().any(|after| matches!(after, LateWrite::Release { .. })));
}

#[test]
fn rule_4_after_a_conflict_the_outcomes_of_a_call_are_written_again() {
    let mut world = calling(&setup());
    world.on(executed("a", Vec::new()));
    world.overtaken_by(vec![Fact::LogWritten { attempt: 1, lines: Vec::new() }]);
    assert_eq!(world.facts(), ["CallEnded", "StepStarted", "StepSucceeded"]);
    world.written();
    world.answer_until(|effect| matches!(effect, Effect::Write(_)));
    assert_eq!(world.facts(), ["CallStarted"]);
}

#[test]
fn rule_3_outcomes_of_a_call_that_was_taken_over_are_refused() {
    let mut world = calling(&setup());
    world.on(executed("a", Vec::new()));
    let taken_over =
        vec![Fact::CallEnded { call: 1, interrupted: true }, call_started(2, world.now + seconds(300), "w2")];
    world.overtaken_by(taken_over);
    world.answer_until(|effect| matches!(effect, Effect::Write(_)));
    assert!(world.write().entries.is_empty(), "{:?}", world.facts());
    assert!(!world.state().steps.contains_key("a"));
}

#[test]
fn a_call_whose_worker_died_is_taken_over_after_its_lease() {
    let mut dead = setup().with_history(vec![call_started(1, START, "w2")]).woken(WakeCause::Lease).loaded();
    dead.answer_until(|effect| matches!(effect, Effect::Write(_)));
    assert_eq!(dead.facts(), ["CallEnded", "CallStarted"]);
    dead.written();
    assert_eq!((dead.state().calls, dead.state().call_interruptions), (2, 1));
}

#[test]
fn rule_14_a_call_is_taken_over_under_a_new_wake() {
    let mut world = setup().with_history(vec![call_started(1, START, "w2")]).redelivered().loaded();
    world.answer_until(|effect| matches!(effect, Effect::Write(_)));
    assert!(world.write().entries.is_empty() && world.write().acknowledges);
    assert_eq!(world.write().wakes.iter().map(|wake| wake.cause.clone()).collect::<Vec<_>>(), [WakeCause::Lease]);
    world.finish();
}

#[test]
fn rule_14_a_run_whose_calls_are_interrupted_ten_times_in_a_row_fails() {
    let mut history = Vec::new();
    for call in 1..10 {
        history.extend([call_started(call, START, "w2"), Fact::CallEnded { call, interrupted: true }]);
    }
    history.push(call_started(10, START, "w2"));
    let mut world = setup().with_history(history).woken(WakeCause::Lease).loaded();
    world.answer_until(|effect| matches!(effect, Effect::Write(_)));
    assert_eq!(world.facts(), ["CallEnded", "RunFailed"]);
    world.finish();
    let end = world.state().end.expect("ended");
    assert!(matches!(end.how, RunOutcome::Failed(error) if error.code == Some(ErrorCode::Interrupted)));
}

#[test]
fn waits_beside_an_executed_step_are_registered_in_the_same_record() {
    let mut world = calling(&setup());
    world.on(executed("a", vec![want("nap", Operation::SleepFor(seconds(600)))]));
    assert_eq!(world.facts(), ["CallEnded", "StepStarted", "StepSucceeded", "SleepStarted"]);
    world.written();
    assert_eq!(world.facts(), ["CallStarted"], "the function sees the outcome next");
}

#[test]
fn a_failed_step_keeps_its_retries() {
    let mut world = calling(&setup());
    let result = Err(failure("boom"));
    let executed = ExecutedStep { want: body("a"), result, report: AttemptReport::default() };
    world
        .on(Input::Polled(Box::new(Polled { executed: vec![executed], ..PollResult::Wanted(vec![body("a")]).into() })));
    assert_eq!(world.facts(), ["CallEnded", "StepStarted", "StepFailed"]);
    assert_eq!(later_wakes(world.write()).len(), 1, "the retry has its wake");
    world.written();
    let step = &world.state().steps["a"];
    assert!(matches!(step.state, StepState::Retrying { error: Some(_), .. }));
    assert_eq!((step.attempt, step.failures), (1, 1));
}

#[test]
fn a_call_that_cannot_reach_the_executor_ends_and_uses_no_retry() {
    let mut world = calling(&setup());
    world.on(Input::Unreachable(unreachable()));
    assert_eq!(world.facts(), ["CallEnded"]);
    world.written();
    assert_eq!(world.facts(), ["ExecutorUnreachable"]);
    world.finish();
    let state = world.state();
    assert_eq!((state.call, state.call_interruptions, state.handler_failures), (None, 0, 0));
}

#[test]
fn a_call_past_its_time_out_fails_the_handlers_attempt() {
    let mut world = calling(&setup());
    assert!(world.hop().call_expires().is_some_and(|expires| expires > world.now));
    world.on(Input::TimeIs);
    assert_eq!(world.facts(), ["CallEnded", "HandlerFailed"]);
    world.finish();
    assert_eq!(world.state().handler_failures, 1);
}

#[test]
fn a_call_is_handed_over_when_its_time_does_not_fit() {
    let mut stopping = calling(&setup());
    stopping.is_stopping = true;
    stopping.on(executed("a", Vec::new()));
    assert_eq!(stopping.facts(), ["CallEnded", "StepStarted", "StepSucceeded"]);
    assert_eq!(stopping.write().wakes.iter().map(|wake| wake.cause.clone()).collect::<Vec<_>>(), [WakeCause::Next]);
    let mut slow = calling(&setup());
    slow.now = slow.now + seconds(100);
    slow.on(executed("a", Vec::new()));
    assert_eq!(causes(&slow), [WakeCause::Next], "a second call would not end in time");
    let late = HopSetup { deadline: Some(START + seconds(3)), ..setup() };
    for (cause, handed) in [(WakeCause::Next, None), (WakeCause::Step("a".into()), Some("a".into()))] {
        let mut late = late.clone().woken(cause).loaded();
        late.answer_until(|effect| matches!(effect, Effect::Write(_)));
        assert_eq!(causes(&late), [WakeCause::Fresh(handed)], "a step with a wake of its own keeps it");
    }
}

#[test]
fn a_failing_store_before_a_call_leaves_no_slot() {
    let mut world = setup().one_at_a_time().loaded();
    world.answer_until(|effect| matches!(effect, Effect::Acquire(_)));
    world.fail_executor();
    assert!(world.write().after.iter().any(|after| matches!(after, LateWrite::Release { .. })));
}

#[test]
fn other_executors_write_no_call() {
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![body("a")]);
    assert_eq!(world.facts(), ["StepStarted"]);
}

#[test]
fn rule_3_a_call_does_not_begin_when_its_lease_has_ended() {
    let mut world = setup().loaded();
    world.answer_until(|effect| matches!(effect, Effect::Write(_)));
    world.now = world.now + seconds(1_000);
    world.written();
    assert_eq!(world.facts(), ["CallEnded"]);
    assert_eq!(causes(&world), [WakeCause::Fresh(None)]);
    assert!(world.write().acknowledges && world.written().is_done());
}

#[test]
fn rule_20_a_call_needs_its_slot_until_it_ends() {
    let holder = |attempt| Holder::Attempt { run: run(), step: OwnStep::Call.id(), attempt, hop: 7 };
    let mut history = vec![call_started(1, START + seconds(100), "w2")];
    let open = setup().with_history(history.clone()).begin().state();
    assert!(holds_slot(&open, &holder(1)) && holds_slot(&open, &holder(2)), "the second is about to start");
    history.push(Fact::CallEnded { call: 1, interrupted: false });
    let closed = setup().with_history(history.clone()).begin().state();
    assert!(!holds_slot(&closed, &holder(1)) && holds_slot(&closed, &holder(2)));
    history.push(Fact::RunCancelled { reason: "a user".into() });
    let ended = setup().with_history(history.clone()).begin().state();
    assert!(!holds_slot(&ended, &holder(1)) && !holds_slot(&ended, &holder(2)));
    history.remove(1);
    let cancelled = setup().with_history(history).begin().state();
    assert!(holds_slot(&cancelled, &holder(1)), "the executor is still called");
    assert!(!holds_slot(&cancelled, &holder(2)));
}

#[test]
fn rule_22_the_call_of_a_cancelled_run_gives_back_its_slot_when_it_ends() {
    let mut world = setup().one_at_a_time().loaded();
    world.answer_until(|effect| matches!(effect, Effect::Poll(_)));
    world.on(executed("a", Vec::new()));
    world.overtaken_by(vec![Fact::RunCancelled { reason: "a user".into() }]);
    assert!(world.write().entries.is_empty());
    let of_call = |after: &LateWrite| matches!(after, LateWrite::Release { holder, .. } if holder.step() == Some(&OwnStep::Call.id()));
    assert!(world.write().after.iter().any(of_call));
    world.finish();
}

#[test]
fn rule_22_a_hop_that_fails_during_a_call_leaves_the_slot_to_a_later_hop() {
    let mut world = setup().one_at_a_time().loaded();
    assert_eq!(world.hop().call_expires(), None);
    world.answer_until(|effect| matches!(effect, Effect::Poll(_)));
    world.fail_executor();
    let deferred = |effect: &Effect| matches!(effect, Effect::Defer { releases, .. } if releases.len() == 1);
    assert!(world.effects.iter().any(deferred), "{:?}", world.effects);
    assert_eq!(world.hop().call_expires(), None);
}

#[test]
fn rule_4_outcomes_are_written_alone_if_the_next_call_cannot_be_written() {
    let mut world = calling(&setup());
    world.on(executed("a", Vec::new())).fail_executor();
    assert_eq!(world.facts(), ["CallEnded", "StepStarted", "StepSucceeded"]);
    let mut world = setup().loaded();
    world.answer_until(|effect| matches!(effect, Effect::Write(_)));
    world.fail_executor();
    assert!(matches!(world.open_question(), Effect::PutBack(_)), "{:?}", world.effects);
}
