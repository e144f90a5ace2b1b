//! Tests of the checker of one journal.

use stepladder_core::journal::{Failure, NewRun, Outcome};
use stepladder_core::{AttemptReport, Event, EventId, RunId, json};

use super::*;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + ms)
}

fn created() -> Entry {
    let event = Event {
        id: EventId::from_bytes([7; 16]),
        name: "go".into(),
        data: json::empty_object(),
        ts: at(0),
        user: None,
        external_id: None,
        received_at: at(0),
        trace: None,
    };
    Fact::RunCreated(Box::new(NewRun::new("f".into(), event, RunOrigin::Event))).into_entry(at(0))
}

fn started(attempt: u32, when: i64) -> Entry {
    Fact::StepStarted {
        step: "a".into(),
        attempt,
        lease_until: at(when + 100),
        worker: "w".into(),
        at_most_once: false,
    }
    .into_entry(at(when))
}

fn succeeded(attempt: u32, when: i64) -> Entry {
    Fact::StepSucceeded { step: "a".into(), attempt, output: json::empty_object(), report: AttemptReport::default() }
        .into_entry(at(when))
}

fn failed(attempt: u32, retry_at: Option<i64>) -> Entry {
    let error = Failure::new("no");
    let (step, report) = ("a".into(), AttemptReport::default());
    Fact::StepFailed { step, attempt, error, retry_at: retry_at.map(at), report }.into_entry(at(1))
}

/// A call that starts at 1 and ends without an outcome at `until`.
fn called(until: Option<i64>) -> Entry {
    Fact::InvokeStarted {
        step: "a".into(),
        function: "g".into(),
        child: RunId::new(at(1), 2),
        input: json::empty_object(),
        bound: false,
        until: until.map(at),
        user: None,
    }
    .into_entry(at(1))
}

fn returned(when: i64) -> Entry {
    Fact::InvokeEnded { step: "a".into(), outcome: Outcome::Value(json::null()) }.into_entry(at(when))
}

fn expired(when: i64) -> Entry {
    Fact::WaitExpired { step: "a".into() }.into_entry(at(when))
}

fn first_violation(entries: Vec<Entry>) -> Option<String> {
    let entries = std::iter::once(created()).chain(entries).collect();
    let found = check(&RunJournal { run: RunId::new(at(0), 1), entries });
    found.first().map(|found| found.split(':').next().unwrap_or_default().to_owned())
}

#[test]
fn a_step_that_starts_at_most_once_starts_again_only_after_an_error() {
    let once = |attempt, when| match started(attempt, when).fact {
        Fact::StepStarted { step, attempt, lease_until, worker, .. } => {
            Fact::StepStarted { step, attempt, lease_until, worker, at_most_once: true }.into_entry(at(when))
        }
        _ => unreachable!(),
    };
    assert_eq!(first_violation(vec![once(1, 0), failed(1, Some(20)), once(2, 20), succeeded(2, 30)]), None);
    let again = first_violation(vec![once(1, 0), once(2, 100)]);
    assert_eq!(again.as_deref(), Some("a step that starts at most once started again"));
}

#[test]
fn a_step_that_failed_and_then_succeeded_is_valid() {
    assert_eq!(first_violation(vec![started(1, 0), failed(1, Some(20)), started(2, 20), succeeded(2, 30)]), None);
    assert_eq!(first_violation(vec![started(1, 0), started(2, 100), succeeded(2, 101)]), None);
}

#[test]
fn a_call_ends_with_its_run_or_at_its_deadline() {
    for entries in [
        vec![called(None), returned(500)],
        vec![called(Some(9)), returned(8)],
        vec![called(Some(9)), returned(500)],
        vec![called(Some(9)), expired(9)],
    ] {
        assert_eq!(first_violation(entries), None);
    }
}

#[test]
fn each_broken_rule_is_reported() {
    let cases = [
        (vec![started(1, 0), succeeded(1, 1), succeeded(1, 2)], "the step has its outcome already"),
        (vec![started(1, 0), succeeded(2, 1)], "this attempt was not running"),
        (vec![succeeded(1, 1)], "this attempt was not running"),
        (vec![started(1, 0), started(2, 99)], "two attempts run at once"),
        (vec![started(2, 0)], "the attempt is not the next one"),
        (vec![started(1, 0), failed(1, Some(20)), started(2, 19)], "it was tried again before its time"),
        (vec![started(1, 0), failed(1, None), started(2, 500)], "the step has its outcome already"),
        (vec![Fact::SleepEnded { step: "a".into() }.into_entry(at(1))], "what ended had not begun"),
        (
            vec![
                Fact::SleepStarted { step: "a".into(), until: at(9) }.into_entry(at(1)),
                Fact::SleepEnded { step: "a".into() }.into_entry(at(8)),
            ],
            "the timer ended before its time",
        ),
        (vec![called(Some(9)), expired(8)], "the wait expired before its time"),
        (vec![called(None), expired(8)], "the wait expired before its time"),
        (vec![called(Some(9)), expired(9), returned(10)], "the step has its outcome already"),
        (
            vec![Fact::SleepStarted { step: "a".into(), until: at(9) }.into_entry(at(1)), started(1, 2)],
            "the step was of another kind before",
        ),
        (
            vec![Fact::RunCancelled { reason: "no".into() }.into_entry(at(1)), started(1, 2)],
            "something was written after the end",
        ),
    ];
    for (entries, what) in cases {
        assert_eq!(first_violation(entries).as_deref(), Some(what));
    }
}
