//! Tests of the entries that concern a whole run: its creation, version, log and admission.

use std::sync::Arc;

use stepladder_core::journal::{Fact, Failure, NewRun, Outcome, Record, StepKind};
use stepladder_core::report::HandlerLogLine;
use stepladder_core::state::RunState;
use stepladder_core::{Refusal, json};

use super::{at, first_record, log_line, record, run, started, state, succeeded};

#[test]
fn a_journal_with_a_gap_or_without_entry_0_is_refused() {
    let next = record(5, vec![succeeded(1).into_entry(at(0))]);
    assert!(RunState::fold(run(), &[first_record(), next.clone()]).is_err());
    assert!(RunState::fold(run(), &[next]).is_err());
    assert!(RunState::fold(run(), &Vec::<Record>::new()).is_err());
    let _: Arc<NewRun> = RunState::fold(run(), &[first_record()]).unwrap().created;
}

/// Version 0.2.0 wrote these entries under other names, which must still be read.
#[test]
fn entries_of_version_0_2_0_are_read_under_their_old_names() {
    let read = |json: &str| serde_json::from_str::<Fact>(json).expect("a fact");
    assert!(matches!(read(r#""RunBegun""#), Fact::CollectingEnded));
    assert!(matches!(read(r#"{"Hastened":{"step":"a"}}"#), Fact::WaitSkipped { .. }));
    assert!(matches!(read(r#"{"VersionTaken":{"version":"2"}}"#), Fact::VersionChosen { .. }));
    assert!(matches!(read(r#"{"Logged":{"attempt":1,"lines":[]}}"#), Fact::LogWritten { .. }));
    let carried = r#"{"StepCarried":{"step":"a","kind":"Run","outcome":{"Value":1}}}"#;
    assert!(matches!(read(carried), Fact::StepCarriedOver { .. }));
    let event = r#"{"id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","name":"a/b","data":{},"ts":0,"received_at":0}"#;
    assert!(matches!(
        read(&format!(r#"{{"EventEntered":{{"event":{event},"steps":["a"]}}}}"#)),
        Fact::EventDelivered { .. }
    ));
}

/// An entry that skips the wait before a retry of the handler has no step.
#[test]
fn a_skipped_wait_is_read_with_a_step_and_without() {
    let read = |json: &str| serde_json::from_str::<Fact>(json).expect("a fact");
    assert_eq!(read(r#"{"Hastened":{"step":"a"}}"#).step().map(|step| &**step), Some("a"));
    let of_the_function = read(r#"{"Hastened":{}}"#);
    assert_eq!(of_the_function.step(), None);
    assert_eq!(serde_json::to_string(&of_the_function).expect("JSON"), r#"{"WaitSkipped":{}}"#);
}

#[test]
fn a_recorded_line_is_recognised_by_its_position_and_its_attempt() {
    let logged = |attempt, lines: &[HandlerLogLine]| Fact::LogWritten { attempt, lines: lines.to_vec() };
    let trips = |attempt| Fact::HandlerFailed { attempt, error: Failure::new("x"), retry_at: at(5) };
    let lines = [log_line(0, 0, "started"), log_line(0, 1, "tries")];
    let run = state(vec![(1, logged(1, &lines)), (2, trips(1)), (3, logged(2, &[log_line(0, 1, "tries again")]))]);
    // For the attempt that wrote a line, a line at the same position counts as the same. For a
    // later attempt, the message must be the same, too.
    assert!(run.logs.has_line(2, &log_line(0, 1, "tries, for the third time")));
    assert!(run.logs.has_line(2, &log_line(0, 0, "started")) && !run.logs.has_line(2, &log_line(0, 0, "started anew")));
    assert!(run.logs.has_line(3, &log_line(0, 1, "tries again")) && !run.logs.has_line(3, &log_line(0, 1, "tries")));
    // A step that was added before the line moves the line to another position.
    assert!(!run.logs.has_line(2, &log_line(1, 0, "started")) && !run.logs.has_line(2, &log_line(0, 2, "tries again")));
}

#[test]
fn a_run_has_one_version_and_no_log_line_after_its_end() {
    let chosen = |version: &str| Fact::VersionChosen { version: version.into() };
    let run = state(vec![(1, chosen("1")), (1, started(1, 50))]);
    assert_eq!((run.version.as_deref(), run.has_requested()), (Some("1"), true));
    assert_eq!(run.admits(&chosen("2").into_entry(at(2))), Err(Refusal::HasVersion));
    let fresh = state(Vec::new());
    assert!(!fresh.has_requested());
    let twice = [chosen("1").into_entry(at(1)), chosen("1").into_entry(at(1))];
    assert_eq!(fresh.admits_all(&twice), Err(Refusal::HasVersion));
    let over = state(vec![(1, Fact::RunCompleted { output: json::null() })]);
    let line = Fact::LogWritten { attempt: 1, lines: vec![log_line(0, 0, "late")] };
    assert_eq!(over.admits(&line.into_entry(at(2))), Err(Refusal::Ended));
}

#[test]
fn rule_32_a_run_that_flow_control_admitted_is_neither_delayed_nor_admitted_again() {
    let delayed = Fact::RunDelayed { begins_at: at(9) }.into_entry(at(2));
    let admitted = Fact::RunAdmitted.into_entry(at(2));
    let waits = state(vec![(1, Fact::RunDelayed { begins_at: at(2) })]);
    assert_eq!((waits.admits(&delayed), waits.admits(&admitted)), (Ok(()), Ok(())));
    let run = state(vec![(1, Fact::RunAdmitted)]);
    assert_eq!(run.admits(&delayed), Err(Refusal::AlreadyAdmitted));
    assert_eq!(run.admits(&admitted), Err(Refusal::AlreadyAdmitted));
    assert_eq!(waits.admits_all(&[admitted, delayed.clone()]), Err(Refusal::AlreadyAdmitted), "also within one write");
    let started = state(vec![(1, started(1, 50))]);
    assert_eq!(started.admits(&delayed), Err(Refusal::AlreadyAdmitted));
}

#[test]
fn carried_over_outcomes_and_early_callbacks_do_not_count_as_requests() {
    let carried =
        Fact::StepCarriedOver { step: "a".into(), kind: StepKind::Run, outcome: Outcome::Value(json::null()) };
    let early = Fact::SignalReceived { step: "s".into(), data: json::null() };
    assert!(!state(vec![(1, carried), (2, early)]).has_requested());
    assert!(state(vec![(1, Fact::SleepStarted { step: "n".into(), until: at(9) })]).has_requested());
}
