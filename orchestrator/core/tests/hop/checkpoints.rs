//! Outcomes that an executor records while it is polled, before its call has ended.

use std::sync::Arc;

use stepladder_core::decide::{Operation, Want};
use stepladder_core::hop::{
    Checkpoint, CheckpointFault, Effect, ExecutedStep, Input, PollResult, Polled, StoreFault, record_checkpoint,
};
use stepladder_core::journal::{Fact, Record};
use stepladder_core::waiting::{EventMatch, EventWait};
use stepladder_core::{AttemptReport, Event, Json, RunState, Spec, WakeCause, json};

use crate::world::{HopFixture, HopSetup, START, body, event, run, seconds, started, succeeded, want};

/// Returns a hop that polls in its first call.
fn calling() -> HopFixture {
    let mut world = HopSetup { executes_in_poll: true, ..HopSetup::new() }.loaded();
    world.answer_until(|effect| matches!(effect, Effect::Poll(_)));
    world
}

fn checkpoint(call: u32, steps: &[&str]) -> Checkpoint {
    Checkpoint { call, steps: steps.iter().map(|step| ((*step).into(), json::null())).collect() }
}

/// Returns the names of the facts of a checkpoint.
fn recorded(state: &RunState, checkpoint: &Checkpoint) -> Result<Vec<&'static str>, CheckpointFault> {
    let entries = record_checkpoint(state, checkpoint, &Spec::new("f"), START + seconds(2))?;
    state.admits_all(&entries).expect("the journal admits a checkpoint");
    Ok(entries.iter().map(|entry| entry.fact.name()).collect())
}

/// Appends a checkpoint to the journal.
fn append(world: &mut HopFixture, checkpoint: &Checkpoint) -> Record {
    let entries = record_checkpoint(&world.state(), checkpoint, &Spec::new("f"), world.now).expect("a live call");
    world.append(entries)
}

fn answer(result: PollResult, executed: Vec<ExecutedStep>) -> Input {
    Input::Polled(Box::new(Polled { has_checkpoints: true, executed, ..result.into() }))
}

fn wanted(wants: Vec<Want>) -> PollResult {
    PollResult::Wanted(wants)
}

fn executed(step: &str) -> ExecutedStep {
    ExecutedStep { want: body(step), result: Ok(json::null()), report: AttemptReport::default() }
}

fn returned() -> PollResult {
    PollResult::Ended(Ok::<Json, _>(json::null()))
}

#[test]
fn rule_36_a_live_call_admits_a_start_only_with_its_outcome() {
    let state = calling().state();
    assert_eq!(recorded(&state, &checkpoint(1, &["a"])).unwrap(), ["StepStarted", "StepSucceeded"]);
    let both = recorded(&state, &checkpoint(1, &["a", "b"])).unwrap();
    assert_eq!(both, ["StepStarted", "StepSucceeded", "StepStarted", "StepSucceeded"]);
    let at = START + seconds(2);
    let start = started("a", 1, START + seconds(9)).into_entry(at);
    let other = [started("b", 1, START + seconds(9)), succeeded("b", 1)].map(|fact| fact.into_entry(at));
    state.admits_all(&other).expect("a start with its outcome");
    state.admits_all(&[&[start.clone()][..], &other].concat()).expect_err("the outcome of another step");
    state.admits(&start).expect_err("an attempt would execute beside the call");
}

#[test]
fn a_repeated_checkpoint_adds_nothing() {
    let mut world = calling();
    append(&mut world, &checkpoint(1, &["a"]));
    assert!(recorded(&world.state(), &checkpoint(1, &["a"])).unwrap().is_empty());
    assert_eq!(recorded(&world.state(), &checkpoint(1, &["a", "b"])).unwrap(), ["StepStarted", "StepSucceeded"]);
}

#[test]
fn a_checkpoint_of_an_ended_call_or_an_ended_run_is_refused() {
    let mut world = calling();
    assert_eq!(recorded(&world.state(), &checkpoint(2, &["a"])), Err(CheckpointFault::NotInProgress(2)));
    let ended = Fact::CallEnded { call: 1, interrupted: true }.into_entry(world.now);
    world.append(vec![ended]);
    assert_eq!(recorded(&world.state(), &checkpoint(1, &["a"])), Err(CheckpointFault::NotInProgress(1)));
    let next = Fact::CallStarted { call: 2, lease_until: START + seconds(90), worker: "w2".into() };
    world.append(vec![next.into_entry(world.now)]);
    assert_eq!(recorded(&world.state(), &checkpoint(1, &["a"])), Err(CheckpointFault::NotInProgress(1)));
    world.append(vec![Fact::RunCancelled { reason: "no".into() }.into_entry(world.now)]);
    assert_eq!(recorded(&world.state(), &checkpoint(2, &["a"])), Err(CheckpointFault::Ended));
}

#[test]
fn a_checkpoint_that_contradicts_the_journal_is_refused() {
    let mut world = calling();
    append(&mut world, &checkpoint(1, &["a"]));
    world.append(vec![Fact::CallEnded { call: 1, interrupted: false }.into_entry(world.now)]);
    let next = Fact::CallStarted { call: 2, lease_until: START + seconds(90), worker: "w2".into() };
    world.append(vec![next.into_entry(world.now)]);
    let again = recorded(&world.state(), &checkpoint(2, &["a"]));
    assert_eq!(again, Err(CheckpointFault::Contradiction("a".into())), "its outcome was passed to the call");
    let twice = recorded(&world.state(), &checkpoint(2, &["b", "b"]));
    assert_eq!(twice, Err(CheckpointFault::Contradiction("b".into())));
}

#[test]
fn the_end_of_a_call_follows_what_the_call_has_recorded() {
    let mut world = calling();
    let record = append(&mut world, &checkpoint(1, &["a", "b"]));
    world.on(answer(returned(), Vec::new()));
    assert!(matches!(world.open_question(), Effect::ReadOn));
    world.on(Input::Entries(vec![record]));
    assert_eq!(world.facts(), ["CallEnded", "RunCompleted"]);
    world.finish();
    assert_eq!(world.state().outcomes.len(), 2);
}

#[test]
fn a_recorded_step_in_the_answer_is_not_written_again_and_the_next_call_gets_it() {
    let mut world = calling();
    let record = append(&mut world, &checkpoint(1, &["a"]));
    // the app has not received the answer to its checkpoint, so it returns the step
    world.on(answer(wanted(Vec::new()), vec![executed("a")])).on(Input::Entries(vec![record]));
    assert_eq!(world.facts(), ["CallEnded", "CallStarted"]);
    world.written();
    let Effect::Poll(memo) = world.open_question() else { panic!("{:?}", world.open_question()) };
    assert_eq!(memo.iter().map(|outcome| &*outcome.step).collect::<Vec<_>>(), ["a"]);
}

/// Returns the steps with outcomes that were revealed before the last attempts started.
fn revealed_before_start(world: &HopFixture) -> Vec<&str> {
    let start = world.effects.iter().position(|effect| matches!(effect, Effect::Run(_))).expect("attempts started");
    let revealed = world.effects[..start].iter().filter_map(|effect| match effect {
        Effect::RevealRecorded(outcomes) => Some(outcomes),
        _ => None,
    });
    revealed.flatten().map(|outcome| &*outcome.step).collect()
}

#[test]
fn rule_36_steps_after_recorded_ones_start_with_the_recorded_outcomes() {
    let deadline = Some(START + seconds(900));
    let setup = HopSetup { executes_in_poll: true, deadline, ..HopSetup::new() };
    let mut world = setup.loaded();
    world.answer_until(|effect| matches!(effect, Effect::Poll(_)));
    let record = append(&mut world, &checkpoint(1, &["a"]));
    // the app has recorded `a`, and requests two steps after it
    world.on(answer(wanted(vec![body("b"), body("c")]), Vec::new())).on(Input::Entries(vec![record]));
    world.written();
    assert_eq!(revealed_before_start(&world), ["a"], "the app would not find the steps without them");
    assert_eq!(world.state().calls, 1);
}

#[test]
fn a_wait_after_recorded_steps_is_registered_without_another_call() {
    let mut world = calling();
    let record = append(&mut world, &checkpoint(1, &["a"]));
    let nap = want("nap", Operation::SleepFor(seconds(600)));
    world.on(answer(wanted(vec![nap]), Vec::new())).on(Input::Entries(vec![record]));
    assert_eq!(world.facts(), ["CallEnded", "SleepStarted"]);
    world.finish();
    assert_eq!(world.state().calls, 1, "the function knows the outcome");
}

#[test]
fn a_call_that_ended_early_is_continued_and_one_without_progress_fails_the_attempt() {
    let mut world = calling();
    let record = append(&mut world, &checkpoint(1, &["a"]));
    world.on(answer(wanted(Vec::new()), Vec::new())).on(Input::Entries(vec![record]));
    assert_eq!(world.facts(), ["CallEnded", "CallStarted"]);

    let mut world = calling();
    world.on(answer(wanted(Vec::new()), Vec::new())).on(Input::Entries(Vec::new()));
    assert_eq!(world.facts(), ["CallEnded", "HandlerFailed"], "it would be called without end");
}

#[test]
fn the_answer_of_a_call_that_was_taken_over_ends_nothing() {
    let mut world = calling();
    let lease_until = world.now + seconds(600);
    let facts = [
        Fact::CallEnded { call: 1, interrupted: true },
        Fact::CallStarted { call: 2, lease_until, worker: "w2".into() },
    ];
    let now = world.now;
    let record = world.append(facts.map(|fact| fact.into_entry(now)).to_vec());
    world.on(answer(returned(), Vec::new())).on(Input::Entries(vec![record]));
    world.finish();
    let state = world.state();
    assert_eq!((state.end.is_some(), state.call.map(|call| call.number)), (false, Some(2)));
}

#[test]
fn an_event_that_was_delivered_during_a_call_is_passed_to_the_next_one() {
    let wait = Arc::new(EventWait { events: vec!["come".into()], matching: EventMatch::Any });
    let awaited = Fact::EventAwaited { step: "w".into(), wait: wait.clone(), until: START + seconds(600) };
    for new in [false, true] {
        let setup = HopSetup { executes_in_poll: true, ..HopSetup::new() };
        let mut world = setup.with_history(vec![awaited.clone()]).woken(WakeCause::Due).loaded();
        world.answer_until(|effect| matches!(effect, Effect::Poll(_)));
        let event = Event { name: "come".into(), received_at: world.now, ..event(9) };
        let delivered = Fact::EventDelivered { event: Box::new(event), steps: vec!["w".into()] };
        let now = world.now;
        let record = world.append(vec![delivered.into_entry(now)]);
        let waits = want("w", Operation::WaitForEvent { wait: wait.clone(), timeout: seconds(600) });
        let nap = new.then(|| want("nap", Operation::SleepFor(seconds(60))));
        world.on(answer(wanted(std::iter::once(waits).chain(nap).collect()), Vec::new()));
        world.on(Input::Entries(vec![record]));
        world.answer_until(|effect| matches!(effect, Effect::Poll(_)));
        let Effect::Poll(memo) = world.open_question() else { unreachable!() };
        assert_eq!(memo.iter().map(|outcome| &*outcome.step).collect::<Vec<_>>(), ["w"]);
    }
}

#[test]
fn interruptions_in_a_row_are_counted_from_the_last_checkpoint() {
    let mut world = calling();
    let now = world.now;
    for call in 1..10 {
        let lease_until = now + seconds(600);
        let ended = Fact::CallEnded { call, interrupted: true }.into_entry(now);
        let next = Fact::CallStarted { call: call + 1, lease_until, worker: "w2".into() }.into_entry(now);
        world.append(vec![ended, next]);
    }
    assert_eq!(world.state().call_interruptions, 9);
    append(&mut world, &checkpoint(10, &["a"]));
    assert_eq!((world.state().call_interruptions, world.state().run), (0, run()));
}

#[test]
fn a_checkpoint_past_the_size_limit_of_a_run_refuses_the_step_that_does_not_fit() {
    let value = json::to_json(&"x".repeat(4_000_000)).expect("JSON");
    let steps = (0..10).map(|n| (format!("s{n}").into(), value.clone())).collect();
    let names = recorded(&calling().state(), &Checkpoint { call: 1, steps }).expect("the others are recorded");
    assert_eq!(names.last(), Some(&"StepRefused"), "{names:?}");
    assert!(names.iter().filter(|name| **name == "StepSucceeded").count() >= 8, "{names:?}");
}

#[test]
fn a_failure_to_read_what_a_call_has_recorded_ends_nothing() {
    let lost = || Input::StoreFailed(StoreFault::Unavailable("throttled".into()));
    let foreign = || {
        let mut other = calling();
        let mut record = append(&mut other, &checkpoint(1, &["a"]));
        record.seq += 7;
        Input::Entries(vec![record])
    };
    for failure in [lost(), foreign()] {
        let mut world = calling();
        world.on(answer(returned(), Vec::new())).on(failure);
        world.finish();
        assert!(world.state().end.is_none(), "the outcome of the call is not known");
    }
}
