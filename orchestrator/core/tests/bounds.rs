//! Limits on the size of values in a run's journal, and how entries are changed to keep within
//! them.

use stepladder_core::bounds::{fit_entries, kept_bytes};
use stepladder_core::journal::{Entry, Failure, NewRun, RunOrigin};
use stepladder_core::limits::{
    FAILURE_BYTES, FAILURE_STACK_BYTES, LOG_LINE_BYTES, NAME_CHARS, OUTCOME_BYTES, ROOM_BYTES, RUN_BYTES, USAGE_MODELS,
};
use stepladder_core::report::{HandlerLogLine, LogLevel, LogLine};
use stepladder_core::{
    AttemptReport, Event, EventId, Fact, Json, Outcome, OwnStep, Record, RunId, RunState, StepId, StepKind, Timestamp,
    Usage, json,
};

const AT: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// Creates a JSON value of this many bytes.
fn value_of_size(bytes: usize) -> Json {
    json::to_json(&"x".repeat(bytes - 2)).unwrap()
}

fn event_of_size(bytes: usize) -> Event {
    let data = json::to_json(&serde_json::json!({ "a": "x".repeat(bytes - 8) })).unwrap();
    let id = EventId::new(AT, 7);
    Event { id, name: "a/b".into(), data, ts: AT, user: None, external_id: None, received_at: AT, trace: None }
}

fn step_succeeded(step: &str, bytes: usize) -> Fact {
    Fact::StepSucceeded {
        step: step.into(),
        attempt: 1,
        output: value_of_size(bytes),
        report: AttemptReport::default(),
    }
}

fn state_after(facts: Vec<Fact>) -> RunState {
    let created = NewRun::new("f".into(), event_of_size(8), RunOrigin::Event);
    let facts = std::iter::once(Fact::RunCreated(Box::new(created))).chain(facts);
    let entries = facts.map(|fact| fact.into_entry(AT)).collect();
    RunState::fold(RunId::new(AT, 1), &[Record { seq: 0, token: 1, code: "".into(), entries }]).unwrap()
}

/// Creates a run with values of this many bytes in total in its journal.
fn run_with_values(bytes: usize) -> RunState {
    let last = bytes % OUTCOME_BYTES;
    let whole = (0..bytes / OUTCOME_BYTES).map(|n| step_succeeded(&format!("step {n}"), OUTCOME_BYTES));
    state_after(whole.chain((last > 0).then(|| step_succeeded("last", last))).collect())
}

fn fit_facts(state: &RunState, facts: Vec<Fact>) -> Vec<Fact> {
    fit_entries(state, facts.into_iter().map(|fact| fact.into_entry(AT)).collect())
        .into_iter()
        .map(|entry: Entry| entry.fact)
        .collect()
}

fn error_code(fact: &Fact) -> Option<&str> {
    match fact {
        Fact::StepFailed { error, retry_at: None, .. }
        | Fact::StepRefused { error, .. }
        | Fact::InvokeEnded { outcome: Outcome::Failed(error), .. } => error.code(),
        _ => None,
    }
}

#[test]
fn the_entries_of_a_record_share_the_free_bytes() {
    let state = run_with_values(RUN_BYTES - 100);
    let facts = vec![step_succeeded("a", 60), step_succeeded("b", 50), step_succeeded("c", 40)];
    let codes: Vec<_> = fit_facts(&state, facts).iter().map(|fact| error_code(fact).map(str::to_owned)).collect();
    // The outcome of `b` becomes a failure, which is recorded too and leaves no room for `c`.
    let too_large = Some("too-large".to_owned());
    assert_eq!(codes, [None, too_large.clone(), too_large]);
}

#[test]
fn an_outcome_that_just_fits_is_kept() {
    let state = run_with_values(RUN_BYTES - 100);
    assert_eq!(error_code(&fit_facts(&state, vec![step_succeeded("a", 100)])[0]), None);
    assert_eq!(error_code(&fit_facts(&state, vec![step_succeeded("a", 101)])[0]), Some("too-large"));
    assert_eq!(
        error_code(&fit_facts(&run_with_values(8), vec![step_succeeded("a", OUTCOME_BYTES + 1)])[0]),
        Some("too-large")
    );
}

#[test]
fn results_of_calls_and_events_count_against_the_same_limit() {
    let state = run_with_values(RUN_BYTES - 100);
    let ended = |bytes| Fact::InvokeEnded { step: "a".into(), outcome: Outcome::Value(value_of_size(bytes)) };
    assert_eq!(error_code(&fit_facts(&state, vec![ended(101)])[0]), Some("too-large"));
    assert_eq!(error_code(&fit_facts(&state, vec![ended(100)])[0]), None);
    let steps: Vec<StepId> = vec!["a".into(), "b".into()];
    let entered = |bytes| Fact::EventDelivered { event: Box::new(event_of_size(bytes)), steps: steps.clone() };
    let refused = fit_facts(&state, vec![entered(101)]);
    assert_eq!(
        refused.iter().map(error_code).collect::<Vec<_>>(),
        [Some("too-large"); 2],
        "every wait that the event fulfils"
    );
    assert!(matches!(fit_facts(&state, vec![entered(100)])[..], [Fact::EventDelivered { .. }]));
}

#[test]
fn all_values_in_a_journal_are_counted() {
    let failure = || Failure::with_code("x".repeat(40), "y".repeat(2));
    let step = || StepId::from("a");
    let report = AttemptReport::default;
    let counted = [
        (step_succeeded("a", 40), 40),
        (Fact::StepFailed { step: step(), attempt: 1, error: failure(), retry_at: Some(AT), report: report() }, 42),
        (Fact::HandlerFailed { attempt: 1, error: failure(), retry_at: AT }, 42),
        (Fact::StepRefused { step: step(), error: failure(), kind: None }, 42),
        (Fact::StepCarriedOver { step: step(), kind: StepKind::Run, outcome: Outcome::Value(value_of_size(9)) }, 9),
        (Fact::InvokeEnded { step: step(), outcome: Outcome::Failed(failure()) }, 42),
        (Fact::SignalReceived { step: step(), data: value_of_size(9) }, 9),
        (Fact::SignalFailed { step: step(), error: failure() }, 42),
        (Fact::EventDelivered { event: Box::new(event_of_size(30)), steps: vec![step()] }, 30),
        (
            Fact::InvokeStarted {
                step: step(),
                function: "f".into(),
                child: RunId::new(AT, 2),
                input: value_of_size(30),
                bound: false,
                until: None,
                user: None,
            },
            30,
        ),
    ];
    for (fact, bytes) in counted {
        assert_eq!((kept_bytes(&fact), state_after(vec![fact.clone()]).bytes), (bytes, bytes), "{fact:?}");
    }
}

#[test]
fn failures_are_cut_and_contain_no_nul() {
    let long = Failure {
        stack: Some("s".repeat(FAILURE_STACK_BYTES + 1).into()),
        ..Failure::with_code(format!("\0{}", "é".repeat(FAILURE_BYTES)), "c".repeat(1_000))
    };
    let facts = [
        Fact::RunFailed { error: long.clone() },
        Fact::HandlerFailed { attempt: 1, error: long.clone(), retry_at: AT },
        Fact::StepRefused { step: "a".into(), error: long.clone(), kind: None },
        Fact::InvokeEnded { step: "a".into(), outcome: Outcome::Failed(long.clone()) },
        Fact::StepFailed {
            step: "a".into(),
            attempt: 1,
            error: long,
            retry_at: None,
            report: AttemptReport::default(),
        },
    ];
    for fact in fit_facts(&run_with_values(8), facts.to_vec()) {
        let (Fact::RunFailed { error }
        | Fact::HandlerFailed { error, .. }
        | Fact::StepRefused { error, .. }
        | Fact::InvokeEnded { outcome: Outcome::Failed(error), .. }
        | Fact::StepFailed { error, .. }) = &fact
        else {
            panic!("{fact:?}")
        };
        assert!(
            error.message.len() <= FAILURE_BYTES && error.message.len() > FAILURE_BYTES - 8,
            "{}",
            error.message.len()
        );
        assert!(error.message.starts_with("\u{fffd}é") && error.message.ends_with("é…"));
        assert_eq!(error.code().map(str::len), Some(NAME_CHARS));
        assert_eq!(error.stack.as_ref().map(|stack| stack.len()), Some(FAILURE_STACK_BYTES));
    }
    let short = Failure::with_code("x".repeat(FAILURE_BYTES), "ok");
    assert_eq!(short.clone().bounded(), short);
    let reason = "x".repeat(100_000).into();
    let Fact::RunCancelled { reason } = &fit_facts(&run_with_values(8), vec![Fact::RunCancelled { reason }])[0] else {
        panic!()
    };
    assert!(reason.len() < 2_000);
}

#[test]
fn compensations_are_recorded_in_a_full_journal() {
    assert!(run_with_values(RUN_BYTES - ROOM_BYTES).has_room(RUN_BYTES - ROOM_BYTES));
    assert!(!run_with_values(8).has_room(RUN_BYTES - ROOM_BYTES + 1));
    let lease_until = Timestamp::from_millis(AT.as_millis() + 1);
    let undo = Fact::StepStarted {
        step: OwnStep::Compensation.id(),
        attempt: 1,
        lease_until,
        worker: "w".into(),
        at_most_once: false,
    };
    let mut facts: Vec<Fact> = (0..8).map(|n| step_succeeded(&format!("step {n}"), OUTCOME_BYTES)).collect();
    facts.push(undo);
    let full = state_after(facts);
    assert!(full.has_room(full.bytes));
    assert_eq!(error_code(&fit_facts(&full, vec![step_succeeded(&OwnStep::Compensation.id(), 1_000)])[0]), None);
    assert_eq!(error_code(&fit_facts(&full, vec![step_succeeded("undo a", 4)])[0]), None);
}

#[test]
fn log_lines_and_usage_are_cut() {
    let line = || LogLine { level: LogLevel::Info, message: "x".repeat(1 << 20).into(), fields: None };
    let usage = |n: usize| Usage::new(format!("{n}{}", "m".repeat(1_000)));
    let report = AttemptReport { lines: vec![line()], usage: (0..100).map(usage).collect() };
    let succeeded = Fact::StepSucceeded { step: "a".into(), attempt: 1, output: value_of_size(4), report };
    let logged = Fact::LogWritten { attempt: 1, lines: vec![HandlerLogLine { after: 0, nth: 0, line: line() }] };
    let facts = fit_facts(&run_with_values(8), vec![succeeded, logged]);
    let report = facts[0].report().unwrap();
    assert!(report.lines[0].bytes() <= LOG_LINE_BYTES && report.usage.len() == USAGE_MODELS + 1);
    assert!(report.usage.iter().all(|used| used.model.chars().count() <= NAME_CHARS));
    assert!(kept_bytes(&facts[0]) > 4 + USAGE_MODELS * NAME_CHARS, "usage counts");
    let Fact::LogWritten { lines, .. } = &facts[1] else { panic!() };
    assert!(lines[0].line.bytes() <= LOG_LINE_BYTES);
}
