//! Tests of the attempts of a step: leases, late outcomes, interruptions and abandoned attempts.

use stepladder_core::journal::{Fact, Failure};
use stepladder_core::{AttemptReport, Refusal};

use super::{at, started, state, succeeded};

#[test]
fn rule_3_a_late_outcome_is_admitted_until_the_next_attempt_starts() {
    let state = state(vec![(0, started(1, 10))]);
    assert_eq!(state.admits(&succeeded(1).into_entry(at(500))), Ok(()));
}

#[test]
fn rule_3_an_outcome_is_refused_after_the_next_attempt_has_started() {
    let state = state(vec![(0, started(1, 10)), (10, started(2, 20))]);
    let refused = state.admits(&succeeded(1).into_entry(at(11)));
    assert_eq!(refused, Err(Refusal::Fenced { step: "a".into(), attempt: 1 }));
    assert_eq!(state.admits(&succeeded(2).into_entry(at(11))), Ok(()));
}

#[test]
fn rule_3_no_attempt_starts_under_a_live_lease() {
    let state = state(vec![(0, started(1, 10))]);
    assert!(matches!(state.admits(&started(2, 30).into_entry(at(9))), Err(Refusal::Leased { .. })));
    assert_eq!(state.admits(&started(2, 30).into_entry(at(10))), Ok(()));
}

#[test]
fn a_takeover_counts_as_an_interruption_and_a_failure_does_not() {
    let interrupted = state(vec![(0, started(1, 10)), (10, started(2, 20)), (20, started(3, 30))]);
    assert_eq!((interrupted.steps["a"].interruptions, interrupted.steps["a"].failures), (2, 0));
    let failed = Fact::StepFailed {
        step: "a".into(),
        attempt: 1,
        error: Failure::new("x"),
        retry_at: Some(at(5)),
        report: AttemptReport::default(),
    };
    let failed = state(vec![(0, started(1, 10)), (5, failed), (6, started(2, 20))]);
    assert_eq!((failed.steps["a"].interruptions, failed.steps["a"].failures), (0, 1));
}

#[test]
fn an_abandoned_step_may_start_again_in_the_record_of_its_handlers_failure() {
    let start = |attempt| Fact::StepStarted {
        step: "a".into(),
        attempt,
        lease_until: at(90),
        worker: "w".into(),
        at_most_once: false,
    };
    let dropped = Fact::StepAbandoned { step: "a".into(), attempt: 1, report: AttemptReport::default() };
    let failed = Fact::HandlerFailed { attempt: 1, error: Failure::new("no"), retry_at: at(9) };
    let state = state(vec![(0, start(1)), (1, dropped)]);
    assert_eq!(state.admits(&start(2).into_entry(at(9))), Err(Refusal::AlreadySettled("a".into())));
    assert_eq!(state.admits_all(&[failed.clone().into_entry(at(2)), start(2).into_entry(at(9))]), Ok(()));
    let skipped = Fact::WaitSkipped { step: None };
    assert_eq!(state.admits_all(&[failed.into_entry(at(2)), skipped.clone().into_entry(at(3))]), Ok(()));
    assert_eq!(state.admits(&skipped.into_entry(at(3))), Err(Refusal::HandlerNotRetrying));
}

/// Two hops race after an attempt of the handler: one records the handler's failure, the other one
/// records that the handler abandoned its step.
#[test]
fn a_step_that_is_abandoned_after_its_handlers_failure_may_start_again() {
    let start = |attempt| Fact::StepStarted {
        step: "a".into(),
        attempt,
        lease_until: at(90),
        worker: "w".into(),
        at_most_once: false,
    };
    let dropped = |attempt| Fact::StepAbandoned { step: "a".into(), attempt, report: AttemptReport::default() };
    let failed = Fact::HandlerFailed { attempt: 1, error: Failure::new("no"), retry_at: at(9) };
    let again = state(vec![(0, start(1)), (1, failed.clone()), (2, dropped(1))]);
    assert_eq!(again.admits(&start(2).into_entry(at(9))), Ok(()));
    let running = state(vec![(0, start(1)), (1, failed.clone())]);
    assert_eq!(running.admits_all(&[dropped(1).into_entry(at(2)), start(2).into_entry(at(9))]), Ok(()));
    // Here the next attempt of the handler has already started the step and abandoned it.
    let anew = state(vec![(0, start(1)), (1, failed), (2, dropped(1)), (9, start(2)), (10, dropped(2))]);
    assert_eq!(anew.admits(&start(3).into_entry(at(11))), Err(Refusal::AlreadySettled("a".into())));
}
