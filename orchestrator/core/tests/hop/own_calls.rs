//! Own calls: a program executes a function for a request of its own, and reports what it has done.

use stepladder_core::hop::{
    AdvisedFailure, CheckpointFault, OwnCallEnd, OwnCallEntries, OwnCallReport, OwnCallSettings, own_worker,
    record_own_call,
};
use stepladder_core::journal::Fact;
use stepladder_core::retry::RetryAdvice;
use stepladder_core::{Failure, RunState, Spec, Timestamp, WakeCause, json};

use crate::world::{HopFixture, HopSetup, PROCESS, START, seconds};

fn setup() -> HopSetup {
    let worker = own_worker(PROCESS);
    let call = Fact::CallStarted { call: 1, lease_until: START + seconds(60), worker };
    HopSetup { executes_in_poll: true, ..HopSetup::new() }.with_history(vec![call])
}

fn report(steps: &[&str], end: OwnCallEnd) -> OwnCallReport {
    OwnCallReport { steps: steps.iter().map(|step| ((*step).into(), json::null())).collect(), end }
}

fn record_at(state: &RunState, report: &OwnCallReport, now: Timestamp) -> Result<OwnCallEntries, CheckpointFault> {
    let spec = Spec::new("f");
    let settings = OwnCallSettings { spec: &spec, now, lease: seconds(60), retry_delay: Some(seconds(3)), seed: 1 };
    let recorded = record_own_call(state, report, settings)?;
    state.admits_all(&recorded.entries).expect("the journal admits a report");
    Ok(recorded)
}

/// Records a report in the journal. Returns the names of its facts, and when the run continues.
fn record(world: &mut HopFixture, report: &OwnCallReport) -> (Vec<&'static str>, Option<Timestamp>) {
    let recorded = record_at(&world.state(), report, world.now).expect("a report");
    let names = recorded.entries.iter().map(|entry| entry.fact.name()).collect();
    if !recorded.entries.is_empty() {
        world.append(recorded.entries);
    }
    (names, recorded.wake_at)
}

fn failed(advice: RetryAdvice) -> AdvisedFailure {
    AdvisedFailure { failure: Failure::new("no"), retry: advice }
}

#[test]
fn rule_36_a_hop_leaves_an_own_call_alone_until_its_lease_has_ended() {
    for (alone, process) in [(false, PROCESS), (true, PROCESS), (true, "restarted")] {
        let mut setup = setup();
        (setup.worker.is_alone, setup.worker.process) = (alone, process.into());
        let mut world = setup.loaded();
        world.answer_until(|effect| matches!(effect, stepladder_core::hop::Effect::Write(_)));
        assert!(world.write().entries.is_empty() && !world.write().before.is_empty(), "{:?}", world.facts());
    }
    let mut late = HopSetup { now: START + seconds(61), ..setup() }.woken(WakeCause::Lease).loaded();
    late.answer_until(|effect| matches!(effect, stepladder_core::hop::Effect::Write(_)));
    assert_eq!(late.facts(), ["CallEnded", "CallStarted"]);
    late.written();
    let next = record_at(&late.state(), &report(&["a"], OwnCallEnd::Open), late.now);
    assert_eq!(next.unwrap_err(), CheckpointFault::NotInProgress(1), "a hop calls the program now");
}

#[test]
fn a_report_records_steps_and_what_follows() {
    let mut world = setup().loaded();
    let done = ["StepStarted", "StepSucceeded"];
    assert_eq!(record(&mut world, &report(&["a"], OwnCallEnd::Open)), (done.to_vec(), None));
    assert_eq!(record(&mut world, &report(&["a"], OwnCallEnd::Open)).0, [""; 0], "a repeated report");
    let mut left = world.clone();
    let (facts, wake) = record(&mut left, &report(&["b"], OwnCallEnd::Left));
    assert_eq!((facts, wake), ([&done[..], &["CallEnded"]].concat(), Some(world.now)));
    assert_eq!(record(&mut left, &report(&[], OwnCallEnd::Left)).0, [""; 0], "a repeated report");
    let (facts, wake) = record(&mut world.clone(), &report(&[], OwnCallEnd::Completed(json::null())));
    assert_eq!((facts, wake), (vec!["CallEnded", "RunCompleted"], Some(world.now)));
}

#[test]
fn failures_of_a_step_and_of_the_function_count_and_are_retried() {
    let world = setup().loaded();
    let end = |end: OwnCallEnd| record(&mut world.clone(), &report(&[], end));
    let retry = Some(world.now + seconds(3));
    let (facts, wake) = end(OwnCallEnd::StepFailed("a".into(), failed(RetryAdvice::Default)));
    assert_eq!((facts, wake), (vec!["StepStarted", "StepFailed", "CallEnded"], retry));
    let (facts, wake) = end(OwnCallEnd::StepFailed("a".into(), failed(RetryAdvice::Never)));
    assert_eq!((facts, wake), (vec!["StepStarted", "StepFailed", "CallEnded"], Some(world.now)), "it is final");
    assert_eq!(end(OwnCallEnd::Failed(failed(RetryAdvice::Default))), (vec!["CallEnded", "HandlerFailed"], retry));
    assert_eq!(end(OwnCallEnd::Failed(failed(RetryAdvice::Never))).0, ["CallEnded", "RunFailed"]);
}

#[test]
fn a_report_renews_a_lease_that_is_half_over() {
    let mut world = setup().loaded();
    world.now = START + seconds(40);
    let (facts, wake) = record(&mut world, &report(&["a"], OwnCallEnd::Open));
    assert_eq!((facts, wake), (vec!["StepStarted", "StepSucceeded", "CallEnded", "CallStarted"], None));
    let call = world.state().call.expect("a call");
    assert_eq!((call.number, call.lease_until), (2, START + seconds(100)));
    assert_eq!(record(&mut world, &report(&["a"], OwnCallEnd::Open)).0, [""; 0], "a repeated report");
}

#[test]
fn an_ended_run_accepts_only_the_same_end() {
    let mut world = setup().loaded();
    record(&mut world, &report(&[], OwnCallEnd::Completed(json::null())));
    assert!(record(&mut world, &report(&[], OwnCallEnd::Completed(json::null()))).0.is_empty());
    let late = record_at(&world.state(), &report(&["a"], OwnCallEnd::Open), world.now);
    assert_eq!(late.unwrap_err(), CheckpointFault::Ended);
}
