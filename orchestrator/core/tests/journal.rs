//! Properties of the journal when several workers race to append to it, checked on generated
//! histories.
//!
//! The model: any number of workers propose entries at the end of the journal. `admits` judges each
//! proposal against the whole journal, as it does when an append is repeated after a conflict. An
//! admitted entry is appended.

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;
use stepladder_core::expr::ExprCache;
use stepladder_core::journal::{Fact, Failure, NewRun, Origin, Outcome, Record, StepKind};
use stepladder_core::report::{HandlerLogLine, LogLevel, LogLine};
use stepladder_core::state::{RunState, StepState};
use stepladder_core::waiting::{ArrivingEvent, EventMatch, EventWait};
use stepladder_core::{Entry, Event, EventId, NewEvent, Refusal, Report, RunId, StepId, Timestamp, json};

const START: i64 = 1_000_000;

fn run() -> RunId {
    RunId::new(Timestamp::from_millis(START), 7)
}

fn first_record() -> Record {
    let at = Timestamp::from_millis(START);
    let event = Event {
        id: EventId::new(at, 1),
        name: "a/b".into(),
        data: json::empty_object(),
        ts: at,
        user: None,
        external_id: None,
        received_at: at,
    };
    let created = NewRun::new("f".into(), event, Origin::Event);
    record(0, vec![Fact::RunCreated(Box::new(created)).at(at)])
}

fn record(seq: u64, entries: Vec<Entry>) -> Record {
    Record { seq, token: u128::from(seq), code: "1".into(), entries }
}

fn wait_for_any(event: &str) -> Arc<EventWait> {
    Arc::new(EventWait { events: vec![event.into()], matching: EventMatch::Any })
}

/// Creates event number `n`. Event 1 is the one that started the run.
fn arriving_event(n: u128, received_at: i64) -> Event {
    let received_at = Timestamp::from_millis(received_at);
    let id = EventId::new(Timestamp::from_millis(START), n);
    NewEvent::new("c/d", json::empty_object()).accept(id, received_at)
}

/// A generated entry that a worker proposes to append.
#[derive(Clone, Debug)]
struct Proposal {
    /// Selects the fact's variant.
    fact: u8,
    step: u8,
    attempt: u32,
    /// The time since the previous proposal, in milliseconds.
    wait: i64,
}

fn proposals() -> impl Strategy<Value = Vec<Proposal>> {
    let one = (0_u8..30, 0_u8..4, 1_u32..5, 0_i64..40).prop_map(|(fact, step, attempt, wait)| Proposal {
        fact,
        step,
        attempt,
        wait,
    });
    prop::collection::vec(one, 0..120)
}

/// Restricts the proposals to waits and events.
fn only_waits(proposals: Vec<Proposal>) -> Vec<Proposal> {
    proposals.into_iter().map(|p| Proposal { fact: 22 + p.fact % 3, ..p }).collect()
}

fn step_id(n: u8) -> StepId {
    format!("s{n}").into()
}

fn entry(p: &Proposal, now: i64) -> Entry {
    let (step, attempt) = (step_id(p.step), p.attempt);
    let at = Timestamp::from_millis(now);
    let lease_until = Timestamp::from_millis(now + 30);
    let error = Failure::new("broken");
    let value = || json::to_json(&now).unwrap();
    let fact = match p.fact {
        0..=4 => Fact::StepStarted { step, attempt, lease_until, worker: "w".into() },
        5..=7 => Fact::StepSucceeded { step, attempt, output: value(), report: Report::default() },
        8 | 9 => Fact::StepFailed { step, attempt, error, retry_at: Some(at), report: Report::default() },
        10 => Fact::StepFailed { step, attempt, error, retry_at: None, report: Report::default() },
        11 => Fact::AttemptInterrupted { step, attempt },
        12 => Fact::StepAbandoned { step, attempt, report: Report::default() },
        13 => Fact::StepRefused { step, error, kind: None },
        14 => Fact::SleepStarted { step, until: lease_until },
        15 => Fact::SleepEnded { step },
        16 => Fact::EventsSent { step, ids: vec![EventId::new(at, 3)] },
        17 => Fact::InvokeStarted { step, function: "g".into(), child: run(), input: json::null(), bound: false },
        18 => Fact::InvokeEnded { step, outcome: Outcome::Value(value()) },
        19 => Fact::StepsWoken { steps: vec![step] },
        20 => Fact::HandlerFailed { attempt, error, retry_at: at },
        21 => Fact::WaitSkipped { step: (p.step > 0).then_some(step) },
        22 | 23 => Fact::EventAwaited { step, wait: wait_for_any("c/d"), until: lease_until },
        24 => Fact::EventDelivered {
            event: Box::new(arriving_event(attempt.into(), now)),
            steps: (p.step..4).map(step_id).take(1 + attempt as usize % 2).collect(),
        },
        25 => Fact::SignalAwaited { step, until: lease_until },
        26 => Fact::SignalReceived { step, data: value() },
        27 => Fact::WaitExpired { step },
        28 => Fact::LogWritten { attempt, lines: vec![log_line(p.step.into(), 0, "said")] },
        29 => Fact::VersionChosen { version: "1".into() },
        // An end is rare, so that histories become long.
        _ if p.step == 0 && p.wait > 30 => match p.attempt {
            1 => Fact::RunCompleted { output: json::null() },
            2 => Fact::RunFailed { error },
            3 => Fact::RunCancelled { reason: "enough".into() },
            _ => Fact::RunSkipped { reason: "singleton".into() },
        },
        _ => Fact::StepCarriedOver { step, kind: StepKind::Run, outcome: Outcome::Value(value()) },
    };
    fact.at(at)
}

/// Returns the journal that contains all admitted proposals.
fn journal(proposals: &[Proposal]) -> Vec<Record> {
    let mut records = vec![first_record()];
    let mut state = RunState::fold(run(), &records).unwrap();
    let mut now = START;
    for proposal in proposals {
        now += proposal.wait;
        let entry = entry(proposal, now);
        if state.admits(&entry).is_ok() {
            let record = record(state.next, vec![entry]);
            state.extend(&record).unwrap();
            records.push(record);
        }
    }
    records
}

/// Formats a whole state as a string, to compare two states.
fn describe(state: &RunState) -> String {
    let mut steps: Vec<String> = state.steps.iter().map(|(id, step)| format!("{id}: {step:?}")).collect();
    steps.sort();
    let outcomes: Vec<String> = state.outcomes.iter().map(|r| format!("{r:?}")).collect();
    format!(
        "{} {:?} {:?} {steps:?} {outcomes:?} {} {:?} {:?} {:?}",
        state.next,
        state.last_at,
        state.status(),
        state.handler_failures,
        state.handler_retry_at,
        state.started_at,
        state.end
    ) + &format!("{:?}", std::collections::BTreeSet::from_iter(&state.delivered))
}

fn entries(records: &[Record]) -> impl Iterator<Item = &Entry> {
    records.iter().flat_map(|record| &record.entries)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_proposed_a_step_has_at_most_one_outcome(proposals in proposals()) {
        let records = journal(&proposals);
        let state = RunState::fold(run(), &records).unwrap();
        let mut outcomes: HashMap<&StepId, u32> = HashMap::new();
        for revealed in &state.outcomes {
            *outcomes.entry(&revealed.step).or_default() += 1;
        }
        prop_assert!(outcomes.values().all(|n| *n == 1), "{outcomes:?}");
        // Rule 3: an outcome of a step belongs to the attempt that started last.
        let mut latest: HashMap<&StepId, u32> = HashMap::new();
        for entry in entries(&records) {
            match &entry.fact {
                Fact::StepStarted { step, attempt, .. } => drop(latest.insert(step, *attempt)),
                Fact::StepSucceeded { step, attempt, .. } | Fact::StepFailed { step, attempt, .. } => {
                    prop_assert_eq!(latest.get(step), Some(attempt), "`{}` has the outcome of another attempt", step);
                }
                _ => {}
            }
        }
    }

    #[test]
    fn every_admitted_history_gives_a_consistent_state(proposals in proposals()) {
        let records = journal(&proposals);
        let state = RunState::fold(run(), &records).unwrap();
        for (id, step) in &state.steps {
            let revealed = state.outcomes.iter().filter(|r| r.step == *id).count();
            prop_assert_eq!(matches!(step.state, StepState::Done), revealed == 1, "{} {:?}", id, step);
            prop_assert!(step.failures <= step.attempt);
            match &step.state {
                StepState::Running { .. } => prop_assert!(step.attempt >= 1 && step.kind == StepKind::Run),
                StepState::Sleeping { .. } => prop_assert!(step.kind == StepKind::Sleep),
                StepState::Invoking { .. } => prop_assert!(step.kind == StepKind::Invoke),
                StepState::Awaiting { .. } => prop_assert!(matches!(step.kind, StepKind::Event | StepKind::Signal)),
                StepState::Wanted | StepState::Retrying { .. } | StepState::Done | StepState::Abandoned => {}
            }
        }
        // A run ends at most once, and no entry follows its end.
        let ends: Vec<usize> = entries(&records).enumerate().filter(|(_, e)| e.fact.is_end()).map(|(i, _)| i).collect();
        prop_assert!(ends.len() <= 1);
        prop_assert!(ends.first().is_none_or(|end| end + 1 == entries(&records).count()));
        prop_assert_eq!(state.end.is_some(), !ends.is_empty());
    }

    #[test]
    fn rule_17_an_event_is_delivered_once_and_the_trigger_never(proposals in proposals().prop_map(only_waits)) {
        let records = journal(&proposals);
        let mut entered = Vec::new();
        let mut open: HashMap<&StepId, Timestamp> = HashMap::new();
        for entry in entries(&records) {
            match &entry.fact {
                Fact::EventAwaited { step, until, .. } => drop(open.insert(step, *until)),
                Fact::WaitExpired { step } => drop(open.remove(step)),
                Fact::EventDelivered { event, steps } => {
                    prop_assert!(event.id != EventId::new(Timestamp::from_millis(START), 1));
                    prop_assert!(!entered.contains(&event.id), "{} again", event.id);
                    entered.push(event.id);
                    for step in steps {
                        prop_assert!(open.remove(step).is_some_and(|until| event.received_at <= until));
                    }
                }
                _ => {}
            }
        }
    }

    #[test]
    fn attempts_count_up_by_one_and_no_two_leases_overlap(proposals in proposals()) {
        let records = journal(&proposals);
        let mut last: HashMap<StepId, (u32, Option<Timestamp>)> = HashMap::new();
        for entry in entries(&records) {
            match &entry.fact {
                Fact::StepStarted { step, attempt, lease_until, .. } => {
                    let (before, lease) = last.get(step).copied().unwrap_or((0, None));
                    prop_assert_eq!(*attempt, before + 1);
                    prop_assert!(lease.is_none_or(|lease| entry.at >= lease), "started under a live lease");
                    last.insert(step.clone(), (*attempt, Some(*lease_until)));
                }
                Fact::StepSucceeded { step, attempt, .. }
                | Fact::StepFailed { step, attempt, .. }
                | Fact::AttemptInterrupted { step, attempt }
                | Fact::StepAbandoned { step, attempt, .. } => {
                    // Rule 3: only the attempt that is running may end.
                    prop_assert_eq!(last.get(step).copied().map(|(a, _)| a), Some(*attempt));
                    prop_assert!(last[step].1.is_some(), "an outcome of an attempt that had ended");
                    last.insert(step.clone(), (*attempt, None));
                }
                _ => {}
            }
        }
    }

    #[test]
    fn a_history_cut_anywhere_and_continued_ends_in_the_same_state(proposals in proposals(), cut in 0.0..1.0_f64) {
        let records = journal(&proposals);
        let whole = RunState::fold(run(), &records).unwrap();
        let cut = 1 + (cut * (records.len() - 1) as f64) as usize;
        let mut continued = RunState::fold(run(), &records[..cut]).unwrap();
        for record in &records[cut..] {
            continued.extend(record).unwrap();
        }
        prop_assert_eq!(describe(&whole), describe(&continued));
    }

    #[test]
    fn a_history_stored_as_json_folds_to_the_same_state(proposals in proposals()) {
        let records = journal(&proposals);
        let stored: Vec<String> = records.iter().map(|r| serde_json::to_string(r).unwrap()).collect();
        let loaded: Vec<Record> = stored.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        let (before, after) = (RunState::fold(run(), &records).unwrap(), RunState::fold(run(), &loaded).unwrap());
        prop_assert_eq!(describe(&before), describe(&after));
    }

    #[test]
    fn entries_judged_together_are_judged_as_one_after_the_other(proposals in proposals(), more in proposals()) {
        let records = journal(&proposals);
        let state = RunState::fold(run(), &records).unwrap();
        let mut now = state.last_at.as_millis();
        let together: Vec<Entry> = more.iter().take(4).map(|p| { now += p.wait; entry(p, now) }).collect();
        let mut one_by_one = Ok(());
        let mut grown = state.clone();
        for entry in &together {
            if let Err(refusal) = grown.admits(entry) {
                one_by_one = Err(refusal);
                break;
            }
            let next = grown.next;
            grown.extend(&record(next, vec![entry.clone()])).unwrap();
        }
        prop_assert_eq!(state.admits_all(&together), one_by_one);
    }
}

fn state(facts: Vec<(i64, Fact)>) -> RunState {
    let entries = facts.into_iter().map(|(at, fact)| fact.at(Timestamp::from_millis(START + at))).collect();
    RunState::fold(run(), &[first_record(), record(1, entries)]).unwrap()
}

fn started(attempt: u32, lease: i64) -> Fact {
    let lease_until = Timestamp::from_millis(START + lease);
    Fact::StepStarted { step: "a".into(), attempt, lease_until, worker: "w".into() }
}

fn succeeded(attempt: u32) -> Fact {
    Fact::StepSucceeded { step: "a".into(), attempt, output: json::null(), report: Report::default() }
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(START + ms)
}

#[test]
fn rule_3_a_late_outcome_is_admitted_until_the_next_attempt_starts() {
    let state = state(vec![(0, started(1, 10))]);
    assert_eq!(state.admits(&succeeded(1).at(at(500))), Ok(()));
}

#[test]
fn rule_3_an_outcome_is_refused_after_the_next_attempt_has_started() {
    let state = state(vec![(0, started(1, 10)), (10, started(2, 20))]);
    let refused = state.admits(&succeeded(1).at(at(11)));
    assert_eq!(refused, Err(Refusal::Fenced { step: "a".into(), attempt: 1 }));
    assert_eq!(state.admits(&succeeded(2).at(at(11))), Ok(()));
}

#[test]
fn rule_3_no_attempt_starts_under_a_live_lease() {
    let state = state(vec![(0, started(1, 10))]);
    assert!(matches!(state.admits(&started(2, 30).at(at(9))), Err(Refusal::Leased { .. })));
    assert_eq!(state.admits(&started(2, 30).at(at(10))), Ok(()));
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
        report: Report::default(),
    };
    let failed = state(vec![(0, started(1, 10)), (5, failed), (6, started(2, 20))]);
    assert_eq!((failed.steps["a"].interruptions, failed.steps["a"].failures), (0, 1));
}

#[test]
fn a_journal_with_a_gap_or_without_entry_0_is_refused() {
    let next = record(5, vec![succeeded(1).at(at(0))]);
    assert!(RunState::fold(run(), &[first_record(), next.clone()]).is_err());
    assert!(RunState::fold(run(), &[next]).is_err());
    assert!(RunState::fold(run(), &Vec::<Record>::new()).is_err());
    let _: Arc<NewRun> = RunState::fold(run(), &[first_record()]).unwrap().created;
}

fn awaited(step: &str, until: i64) -> Fact {
    Fact::EventAwaited { step: step.into(), wait: wait_for_any("c/d"), until: at(until) }
}

fn delivered(event: Event, steps: &[&str]) -> Fact {
    Fact::EventDelivered { event: Box::new(event), steps: steps.iter().map(|step| (*step).into()).collect() }
}

#[test]
fn rule_17_a_delivered_event_fulfils_no_later_wait_and_the_trigger_none() {
    let event = || arriving_event(2, START + 5);
    let state = state(vec![(0, awaited("a", 10)), (5, delivered(event(), &["a"])), (6, awaited("b", 20))]);
    let again = state.admits(&delivered(event(), &["b"]).at(at(7)));
    assert_eq!(again, Err(Refusal::AlreadyDelivered(event().id)));
    let trigger = arriving_event(1, START);
    assert_eq!(state.admits(&delivered(trigger.clone(), &["b"]).at(at(7))), Err(Refusal::AlreadyDelivered(trigger.id)));
    assert_eq!(state.admits(&delivered(arriving_event(3, START + 7), &["b"]).at(at(7))), Ok(()));
}

#[test]
fn rule_31_an_event_from_before_the_runs_trigger_is_not_delivered() {
    let state = state(vec![(0, awaited("a", 10))]);
    let earlier = arriving_event(0, START - 1);
    assert_eq!(state.admits(&delivered(earlier.clone(), &["a"]).at(at(1))), Err(Refusal::OlderThanRun(earlier.id)));
    assert_eq!(state.fulfilled_by(&ArrivingEvent::new(&earlier), &ExprCache::default()), Vec::<StepId>::new());
    // The step gets another event of the same name.
    assert_eq!(
        state.fulfilled_by(&ArrivingEvent::new(&arriving_event(2, START)), &ExprCache::default()),
        ["a".into()] as [StepId; 1]
    );
}

#[test]
fn one_event_fulfils_all_waits_that_are_open_and_they_are_revealed_one_by_one() {
    let state = state(vec![
        (0, awaited("a", 10)),
        (0, awaited("b", 10)),
        (5, delivered(arriving_event(2, START + 5), &["a", "b"])),
    ]);
    let revealed: Vec<_> = state.outcomes.iter().map(|r| (&*r.step, r.kind)).collect();
    assert_eq!(revealed, [("a", StepKind::Event), ("b", StepKind::Event)]);
    assert_eq!(state.bytes, arriving_event(2, START + 5).bytes(), "the journal holds it once");
}

#[test]
fn an_event_received_in_time_fulfils_a_wait_even_if_it_is_delivered_late() {
    let state = state(vec![(0, awaited("a", 10))]);
    assert_eq!(state.admits(&delivered(arriving_event(2, START + 10), &["a"]).at(at(500))), Ok(()));
    let late = state.admits(&delivered(arriving_event(2, START + 11), &["a"]).at(at(500)));
    assert_eq!(late, Err(Refusal::NotWaiting("a".into())));
    let expired = Fact::WaitExpired { step: "a".into() };
    assert_eq!(state.admits(&expired.clone().at(at(9))), Err(Refusal::NotDue("a".into())));
    let both = [expired.at(at(10)), delivered(arriving_event(2, START + 10), &["a"]).at(at(10))];
    assert_eq!(state.admits_all(&both), Err(Refusal::AlreadySettled("a".into())));
}

#[test]
fn an_abandoned_step_may_start_again_in_the_record_of_its_handlers_failure() {
    let start = |attempt| Fact::StepStarted { step: "a".into(), attempt, lease_until: at(90), worker: "w".into() };
    let dropped = Fact::StepAbandoned { step: "a".into(), attempt: 1, report: Report::default() };
    let failed = Fact::HandlerFailed { attempt: 1, error: Failure::new("no"), retry_at: at(9) };
    let state = state(vec![(0, start(1)), (1, dropped)]);
    assert_eq!(state.admits(&start(2).at(at(9))), Err(Refusal::AlreadySettled("a".into())));
    assert_eq!(state.admits_all(&[failed.clone().at(at(2)), start(2).at(at(9))]), Ok(()));
    let skipped = Fact::WaitSkipped { step: None };
    assert_eq!(state.admits_all(&[failed.at(at(2)), skipped.clone().at(at(3))]), Ok(()));
    assert_eq!(state.admits(&skipped.at(at(3))), Err(Refusal::HandlerNotRetrying));
}

/// Two hops race after an attempt of the handler: one records the handler's failure, the other one
/// records that the handler abandoned its step.
#[test]
fn a_step_that_is_abandoned_after_its_handlers_failure_may_start_again() {
    let start = |attempt| Fact::StepStarted { step: "a".into(), attempt, lease_until: at(90), worker: "w".into() };
    let dropped = |attempt| Fact::StepAbandoned { step: "a".into(), attempt, report: Report::default() };
    let failed = Fact::HandlerFailed { attempt: 1, error: Failure::new("no"), retry_at: at(9) };
    let again = state(vec![(0, start(1)), (1, failed.clone()), (2, dropped(1))]);
    assert_eq!(again.admits(&start(2).at(at(9))), Ok(()));
    let running = state(vec![(0, start(1)), (1, failed.clone())]);
    assert_eq!(running.admits_all(&[dropped(1).at(at(2)), start(2).at(at(9))]), Ok(()));
    // Here the next attempt of the handler has already started the step and abandoned it.
    let anew = state(vec![(0, start(1)), (1, failed), (2, dropped(1)), (9, start(2)), (10, dropped(2))]);
    assert_eq!(anew.admits(&start(3).at(at(11))), Err(Refusal::AlreadySettled("a".into())));
}

#[test]
fn the_retry_of_a_handler_can_be_skipped_once() {
    let skipped = |n: i64| Fact::WaitSkipped { step: None }.at(at(n));
    let failed = || (5, Fact::HandlerFailed { attempt: 1, error: Failure::new("no"), retry_at: at(100) });
    assert_eq!(state(vec![]).admits(&skipped(6)), Err(Refusal::HandlerNotRetrying));
    let waits = state(vec![failed()]);
    assert_eq!((waits.admits(&skipped(99)), waits.admits(&skipped(100))), (Ok(()), Err(Refusal::HandlerNotRetrying)));
    let cut = state(vec![failed(), (6, Fact::WaitSkipped { step: None })]);
    assert_eq!((cut.handler_retry_at, cut.admits(&skipped(7))), (Some(at(6)), Err(Refusal::HandlerNotRetrying)));
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

/// The entry has no step if it skips the wait before a retry of the handler.
#[test]
fn a_skipped_wait_is_read_with_a_step_and_without() {
    let read = |json: &str| serde_json::from_str::<Fact>(json).expect("a fact");
    assert_eq!(read(r#"{"Hastened":{"step":"a"}}"#).step().map(|step| &**step), Some("a"));
    let of_the_function = read(r#"{"Hastened":{}}"#);
    assert_eq!(of_the_function.step(), None);
    assert_eq!(serde_json::to_string(&of_the_function).expect("JSON"), r#"{"WaitSkipped":{}}"#);
}

#[test]
fn only_a_wait_for_a_time_can_be_skipped() {
    let skipped = |n: i64| Fact::WaitSkipped { step: Some("a".into()) }.at(at(n));
    let sleeps = || (0, Fact::SleepStarted { step: "a".into(), until: at(100) });
    let over = Fact::SleepEnded { step: "a".into() };
    assert_eq!(state(vec![sleeps()]).admits(&over.clone().at(at(5))), Err(Refusal::NotDue("a".into())));
    assert_eq!(state(vec![sleeps()]).admits_all(&[skipped(5), over.clone().at(at(5))]), Ok(()));
    let cut = state(vec![sleeps(), (5, Fact::WaitSkipped { step: Some("a".into()) })]);
    assert_eq!(cut.admits(&over.clone().at(at(5))), Ok(()));
    assert_eq!(cut.admits(&skipped(6)), Err(Refusal::NotWaiting("a".into())), "the wait is over");
    assert_eq!(state(vec![sleeps(), (100, over)]).admits(&skipped(101)), Err(Refusal::AlreadySettled("a".into())));
    assert_eq!(state(vec![(0, started(1, 10))]).admits(&skipped(1)), Err(Refusal::NotWaiting("a".into())));
    assert_eq!(state(vec![]).admits(&skipped(1)), Err(Refusal::NotWaiting("a".into())));
    let waits = Fact::SignalAwaited { step: "a".into(), until: at(9) };
    assert_eq!(
        state(vec![(0, waits)]).admits(&skipped(1)),
        Err(Refusal::NotWaiting("a".into())),
        "it waits for a callback"
    );
}

#[test]
fn a_signal_is_received_once_early_or_in_time() {
    let received = || Fact::SignalReceived { step: "a".into(), data: json::null() };
    let early = state(vec![(0, received())]);
    assert_eq!(early.outcomes.len(), 1);
    assert_eq!(early.admits(&received().at(at(1))), Err(Refusal::AlreadySettled("a".into())));
    let waits = Fact::SignalAwaited { step: "a".into(), until: at(9) };
    assert_eq!(early.admits(&waits.clone().at(at(1))), Err(Refusal::AlreadySettled("a".into())));
    let in_time = state(vec![(0, waits), (5, received())]);
    assert_eq!(in_time.outcomes.len(), 1);
    assert_eq!(
        in_time.admits(&Fact::WaitExpired { step: "a".into() }.at(at(9))),
        Err(Refusal::AlreadySettled("a".into()))
    );
    let body = state(vec![(0, started(1, 10))]);
    assert_eq!(body.admits(&received().at(at(1))), Err(Refusal::OtherKind("a".into())));
}

/// Creates a log line at a position.
fn log_line(after: u64, nth: u32, says: &str) -> HandlerLogLine {
    HandlerLogLine { after, nth, line: LogLine::new(LogLevel::Info, says, None) }
}

#[test]
fn a_recorded_line_is_recognised_by_its_position_and_its_attempt() {
    let logged = |attempt, lines: &[HandlerLogLine]| Fact::LogWritten { attempt, lines: lines.to_vec() };
    let trips = |attempt| Fact::HandlerFailed { attempt, error: Failure::new("x"), retry_at: at(5) };
    let lines = [log_line(0, 0, "started"), log_line(0, 1, "tries")];
    let run = state(vec![(1, logged(1, &lines)), (2, trips(1)), (3, logged(2, &[log_line(0, 1, "tries again")]))]);
    // For the attempt that wrote a line, a line at the same position counts as the same. For a
    // later attempt, the message must be the same, too.
    assert!(run.logs.has(2, &log_line(0, 1, "tries, for the third time")));
    assert!(run.logs.has(2, &log_line(0, 0, "started")) && !run.logs.has(2, &log_line(0, 0, "started anew")));
    assert!(run.logs.has(3, &log_line(0, 1, "tries again")) && !run.logs.has(3, &log_line(0, 1, "tries")));
    // An added step before the line moves it to another position.
    assert!(!run.logs.has(2, &log_line(1, 0, "started")) && !run.logs.has(2, &log_line(0, 2, "tries again")));
}

#[test]
fn a_run_has_one_version_and_no_log_line_after_its_end() {
    let chosen = |version: &str| Fact::VersionChosen { version: version.into() };
    let run = state(vec![(1, chosen("1")), (1, started(1, 50))]);
    assert_eq!((run.version.as_deref(), run.has_requested()), (Some("1"), true));
    assert_eq!(run.admits(&chosen("2").at(at(2))), Err(Refusal::HasVersion));
    let fresh = state(Vec::new());
    assert!(!fresh.has_requested());
    let twice = [chosen("1").at(at(1)), chosen("1").at(at(1))];
    assert_eq!(fresh.admits_all(&twice), Err(Refusal::HasVersion));
    let over = state(vec![(1, Fact::RunCompleted { output: json::null() })]);
    let line = Fact::LogWritten { attempt: 1, lines: vec![log_line(0, 0, "late")] };
    assert_eq!(over.admits(&line.at(at(2))), Err(Refusal::Ended));
}

#[test]
fn rule_32_a_run_that_flow_control_admitted_is_neither_delayed_nor_admitted_again() {
    let delayed = Fact::RunDelayed { begins_at: at(9) }.at(at(2));
    let admitted = Fact::RunAdmitted.at(at(2));
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
