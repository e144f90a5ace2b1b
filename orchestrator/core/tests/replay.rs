//! The ledger of a replay: names, outcomes one at a time, and what is wanted.

use stepladder_core::decide::{Operation, StepOptions, Want};
use stepladder_core::journal::{Outcome, StepKind};
use stepladder_core::replay::{Ledger, Reveal, StepProgress};
use stepladder_core::state::RevealedOutcome;
use stepladder_core::{StepId, Timestamp, json};

const START: Timestamp = Timestamp::from_millis(1_000);

fn body(step: &str) -> Want {
    Want { step: step.into(), operation: Operation::Run(StepOptions::default()), at: None }
}

fn outcome(step: &str, ms: i64) -> RevealedOutcome {
    RevealedOutcome {
        step: step.into(),
        kind: StepKind::Run,
        outcome: Outcome::Value(json::null()),
        at: Timestamp::from_millis(ms),
        carried: false,
    }
}

fn wanted(ledger: &mut Ledger) -> Vec<String> {
    ledger.wanted().into_iter().map(|want| want.step.to_string()).collect()
}

#[test]
fn a_repeated_name_is_numbered() {
    let mut ledger = Ledger::new(START);
    let ids: Vec<StepId> = ["a", "b", "a", "a"].into_iter().map(|name| ledger.assign_id(name.into())).collect();
    assert_eq!(ids, ["a".into(), "b".into(), "a:1".into(), "a:2".into()]);
}

#[test]
fn rule_7_outcomes_are_revealed_one_at_a_time_in_journal_order() {
    let mut ledger = Ledger::new(START);
    let (a, b) = (ledger.enter(body("a")), ledger.enter(body("b")));
    ledger.push(outcome("b", 5));
    ledger.push(outcome("a", 9));
    assert_eq!(ledger.reveal_next(), Some(Reveal::Step(b)));
    assert!(matches!(ledger.poll(a), StepProgress::Waiting));
    assert!(matches!(ledger.poll(b), StepProgress::Outcome(_)));
    assert!(matches!(ledger.poll(b), StepProgress::Closed), "an outcome is returned once");
    assert_eq!(ledger.reveal_next(), Some(Reveal::Step(a)));
    assert_eq!(ledger.reveal_next(), None);
}

#[test]
fn the_time_of_a_replay_is_that_of_the_latest_revealed_outcome() {
    let mut ledger = Ledger::new(START);
    ledger.push(outcome("a", 2_000));
    ledger.push(outcome("b", 1_500));
    assert_eq!(ledger.now(), START);
    ledger.reveal_next();
    ledger.reveal_next();
    assert_eq!(ledger.now(), Timestamp::from_millis(2_000), "clocks differ, and time does not go back");
}

#[test]
fn an_outcome_that_is_revealed_early_waits_for_its_step() {
    let mut ledger = Ledger::new(START);
    ledger.push(outcome("late", 5));
    assert_eq!(ledger.reveal_next(), Some(Reveal::Other));
    assert!(ledger.has_unclaimed("late"));
    let at = ledger.enter(body("late"));
    assert!(wanted(&mut ledger).is_empty());
    assert!(matches!(ledger.poll(at), StepProgress::Outcome(_)));
}

#[test]
fn rule_6_outcomes_that_no_step_has_asked_for_are_orphans() {
    let mut ledger = Ledger::new(START);
    ["z", "known", "y"].into_iter().for_each(|step| ledger.push(outcome(step, 5)));
    ledger.reveal_next();
    ledger.enter(body("known"));
    assert_eq!(ledger.orphans(), ["y".into(), "z".into()]);
}

#[test]
fn wanted_steps_are_listed_in_the_order_of_their_requests() {
    let mut ledger = Ledger::new(START);
    for step in ["b", "a", "c"] {
        ledger.enter(body(step));
    }
    assert!(ledger.has_changed());
    assert_eq!(wanted(&mut ledger), ["b", "a", "c"]);
    assert!(!ledger.has_changed());
    let at = ledger.start_body("a").unwrap();
    assert_eq!(wanted(&mut ledger), ["b", "c"]);
    assert!(ledger.is_active());
    assert!(ledger.end_body(at) && !ledger.end_body(at), "a body ends once");
    assert!(matches!(ledger.poll(at), StepProgress::BodyEnded));
    ledger.push(outcome("a", 5));
    ledger.reveal_next();
    assert!(!ledger.is_active());
}

#[test]
fn only_a_wanted_step_starts() {
    let mut ledger = Ledger::new(START);
    ledger.enter(body("a"));
    assert_eq!(ledger.start_body("a"), Some(0));
    assert_eq!((ledger.start_body("a"), ledger.start_body("unknown")), (None, None));
}

#[test]
fn a_dropped_step_is_reported_if_its_body_ran() {
    let mut ledger = Ledger::new(START);
    let (a, b) = (ledger.enter(body("a")), ledger.enter(body("b")));
    ledger.start_body("a");
    ledger.drop_step(a);
    ledger.drop_step(b);
    assert_eq!(ledger.take_dropped(), ["a".into()]);
    assert!(ledger.take_dropped().is_empty() && !ledger.is_active() && wanted(&mut ledger).is_empty());
    ledger.push(outcome("b", 5));
    assert_eq!(ledger.reveal_next(), Some(Reveal::Other), "its `select!` took another branch");
    assert!(ledger.orphans().is_empty());
}
