//! The journal under everything that may race for it: properties, checked on generated histories.
//!
//! The model: any number of workers propose entries at the end of the journal, each from what it last saw. A proposal
//! is judged by `admits` on the whole journal, exactly as an append with its conflicts is, and added when admitted.

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

fn beginning() -> Record {
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

fn any(event: &str) -> Arc<EventWait> {
    Arc::new(EventWait { events: vec![event.into()], matching: EventMatch::Any })
}

/// The `n`th event; the first is what started the run.
fn arriving(n: u128, received_at: i64) -> Event {
    let received_at = Timestamp::from_millis(received_at);
    let id = EventId::new(Timestamp::from_millis(START), n);
    NewEvent::new("c/d", json::empty_object()).accept(id, received_at)
}

/// A proposal: of which kind, about which step, for which attempt, how much later than the one before.
#[derive(Clone, Debug)]
struct Proposal {
    what: u8,
    step: u8,
    attempt: u32,
    wait: i64,
}

fn proposals() -> impl Strategy<Value = Vec<Proposal>> {
    let one = (0_u8..30, 0_u8..4, 1_u32..5, 0_i64..40).prop_map(|(what, step, attempt, wait)| Proposal {
        what,
        step,
        attempt,
        wait,
    });
    prop::collection::vec(one, 0..120)
}

/// The same with nothing but waits and events.
fn waiting(proposals: Vec<Proposal>) -> Vec<Proposal> {
    proposals.into_iter().map(|p| Proposal { what: 22 + p.what % 3, ..p }).collect()
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
    let fact = match p.what {
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
        22 | 23 => Fact::EventAwaited { step, wait: any("c/d"), until: lease_until },
        24 => Fact::EventDelivered {
            event: Box::new(arriving(attempt.into(), now)),
            steps: (p.step..4).map(step_id).take(1 + attempt as usize % 2).collect(),
        },
        25 => Fact::SignalAwaited { step, until: lease_until },
        26 => Fact::SignalReceived { step, data: value() },
        27 => Fact::WaitExpired { step },
        28 => Fact::LogWritten { attempt, lines: vec![placed(p.step.into(), 0, "said")] },
        29 => Fact::VersionChosen { version: "1".into() },
        // ends are rare: most of a history is before them
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

/// The journal that results when each proposal is judged, and added if it is admitted.
fn journal(proposals: &[Proposal]) -> Vec<Record> {
    let mut records = vec![beginning()];
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

/// Everything that can be told of a state, for comparing two.
fn told(state: &RunState) -> String {
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
        // rule 3: a step's outcome is that of the attempt that was started last
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
    fn every_admitted_history_is_one_legal_state(proposals in proposals()) {
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
        // nothing follows an end, and a run ends once
        let ends: Vec<usize> = entries(&records).enumerate().filter(|(_, e)| e.fact.is_end()).map(|(i, _)| i).collect();
        prop_assert!(ends.len() <= 1);
        prop_assert!(ends.first().is_none_or(|end| end + 1 == entries(&records).count()));
        prop_assert_eq!(state.end.is_some(), !ends.is_empty());
    }

    #[test]
    fn rule_17_an_event_enters_once_and_the_trigger_never(proposals in proposals().prop_map(waiting)) {
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
                    // rule 3: only the running attempt reports
                    prop_assert_eq!(last.get(step).copied().map(|(a, _)| a), Some(*attempt));
                    prop_assert!(last[step].1.is_some(), "an outcome of an attempt that was over");
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
        prop_assert_eq!(told(&whole), told(&continued));
    }

    #[test]
    fn a_history_stored_as_json_folds_to_the_same_state(proposals in proposals()) {
        let records = journal(&proposals);
        let stored: Vec<String> = records.iter().map(|r| serde_json::to_string(r).unwrap()).collect();
        let loaded: Vec<Record> = stored.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        let (before, after) = (RunState::fold(run(), &records).unwrap(), RunState::fold(run(), &loaded).unwrap());
        prop_assert_eq!(told(&before), told(&after));
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
    RunState::fold(run(), &[beginning(), record(1, entries)]).unwrap()
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
fn rule_3_a_late_outcome_is_admitted_while_nobody_took_over() {
    let state = state(vec![(0, started(1, 10))]);
    assert_eq!(state.admits(&succeeded(1).at(at(500))), Ok(()));
}

#[test]
fn rule_3_an_outcome_of_an_attempt_that_was_taken_over_is_refused() {
    let state = state(vec![(0, started(1, 10)), (10, started(2, 20))]);
    let refused = state.admits(&succeeded(1).at(at(11)));
    assert_eq!(refused, Err(Refusal::Fenced { step: "a".into(), attempt: 1 }));
    assert_eq!(state.admits(&succeeded(2).at(at(11))), Ok(()));
}

#[test]
fn rule_3_nobody_takes_over_under_a_live_lease() {
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
fn a_journal_with_a_hole_or_without_a_beginning_is_refused() {
    let next = record(5, vec![succeeded(1).at(at(0))]);
    assert!(RunState::fold(run(), &[beginning(), next.clone()]).is_err());
    assert!(RunState::fold(run(), &[next]).is_err());
    assert!(RunState::fold(run(), &Vec::<Record>::new()).is_err());
    let _: Arc<NewRun> = RunState::fold(run(), &[beginning()]).unwrap().created;
}

fn awaited(step: &str, until: i64) -> Fact {
    Fact::EventAwaited { step: step.into(), wait: any("c/d"), until: at(until) }
}

fn entered(event: Event, steps: &[&str]) -> Fact {
    Fact::EventDelivered { event: Box::new(event), steps: steps.iter().map(|step| (*step).into()).collect() }
}

#[test]
fn rule_17_an_event_that_entered_fulfils_no_later_wait_and_the_trigger_none() {
    let event = || arriving(2, START + 5);
    let state = state(vec![(0, awaited("a", 10)), (5, entered(event(), &["a"])), (6, awaited("b", 20))]);
    let again = state.admits(&entered(event(), &["b"]).at(at(7)));
    assert_eq!(again, Err(Refusal::AlreadyDelivered(event().id)));
    let trigger = arriving(1, START);
    assert_eq!(state.admits(&entered(trigger.clone(), &["b"]).at(at(7))), Err(Refusal::AlreadyDelivered(trigger.id)));
    assert_eq!(state.admits(&entered(arriving(3, START + 7), &["b"]).at(at(7))), Ok(()));
}

#[test]
fn rule_31_an_event_that_came_before_the_runs_own_does_not_enter() {
    let state = state(vec![(0, awaited("a", 10))]);
    let earlier = arriving(0, START - 1);
    assert_eq!(state.admits(&entered(earlier.clone(), &["a"]).at(at(1))), Err(Refusal::OlderThanRun(earlier.id)));
    assert_eq!(state.fulfilled_by(&ArrivingEvent::new(&earlier), &ExprCache::default()), Vec::<StepId>::new());
    // its repetition, an hour later, is still the earlier one; another event of the same name is not
    assert_eq!(
        state.fulfilled_by(&ArrivingEvent::new(&arriving(2, START)), &ExprCache::default()),
        ["a".into()] as [StepId; 1]
    );
}

#[test]
fn one_event_fulfils_all_waits_that_are_open_and_they_are_revealed_one_by_one() {
    let state =
        state(vec![(0, awaited("a", 10)), (0, awaited("b", 10)), (5, entered(arriving(2, START + 5), &["a", "b"]))]);
    let revealed: Vec<_> = state.outcomes.iter().map(|r| (&*r.step, r.kind)).collect();
    assert_eq!(revealed, [("a", StepKind::Event), ("b", StepKind::Event)]);
    assert_eq!(state.bytes, arriving(2, START + 5).bytes(), "the journal holds it once");
}

#[test]
fn an_event_that_came_in_time_fulfils_a_wait_however_late_it_gets_there() {
    let state = state(vec![(0, awaited("a", 10))]);
    assert_eq!(state.admits(&entered(arriving(2, START + 10), &["a"]).at(at(500))), Ok(()));
    let late = state.admits(&entered(arriving(2, START + 11), &["a"]).at(at(500)));
    assert_eq!(late, Err(Refusal::NotWaiting("a".into())));
    let expired = Fact::WaitExpired { step: "a".into() };
    assert_eq!(state.admits(&expired.clone().at(at(9))), Err(Refusal::NotDue("a".into())));
    let both = [expired.at(at(10)), entered(arriving(2, START + 10), &["a"]).at(at(10))];
    assert_eq!(state.admits_all(&both), Err(Refusal::AlreadySettled("a".into())));
}

#[test]
fn a_step_that_a_failing_handler_dropped_is_wanted_again_in_the_same_breath() {
    let start = |attempt| Fact::StepStarted { step: "a".into(), attempt, lease_until: at(90), worker: "w".into() };
    let dropped = Fact::StepAbandoned { step: "a".into(), attempt: 1, report: Report::default() };
    let failed = Fact::HandlerFailed { attempt: 1, error: Failure::new("no"), retry_at: at(9) };
    let state = state(vec![(0, start(1)), (1, dropped)]);
    assert_eq!(state.admits(&start(2).at(at(9))), Err(Refusal::AlreadySettled("a".into())));
    assert_eq!(state.admits_all(&[failed.clone().at(at(2)), start(2).at(at(9))]), Ok(()));
    let hastened = Fact::WaitSkipped { step: None };
    assert_eq!(state.admits_all(&[failed.at(at(2)), hastened.clone().at(at(3))]), Ok(()));
    assert_eq!(state.admits(&hastened.at(at(3))), Err(Refusal::HandlerNotRetrying));
}

/// Whichever of two hops of the failing attempt writes first: the one that says so, or the one that executes the step.
#[test]
fn a_step_that_is_dropped_when_its_handler_has_failed_is_wanted_again() {
    let start = |attempt| Fact::StepStarted { step: "a".into(), attempt, lease_until: at(90), worker: "w".into() };
    let dropped = |attempt| Fact::StepAbandoned { step: "a".into(), attempt, report: Report::default() };
    let failed = Fact::HandlerFailed { attempt: 1, error: Failure::new("no"), retry_at: at(9) };
    let again = state(vec![(0, start(1)), (1, failed.clone()), (2, dropped(1))]);
    assert_eq!(again.admits(&start(2).at(at(9))), Ok(()));
    let running = state(vec![(0, start(1)), (1, failed.clone())]);
    assert_eq!(running.admits_all(&[dropped(1).at(at(2)), start(2).at(at(9))]), Ok(()));
    // the next attempt has started it, and drops it itself
    let anew = state(vec![(0, start(1)), (1, failed), (2, dropped(1)), (9, start(2)), (10, dropped(2))]);
    assert_eq!(anew.admits(&start(3).at(at(11))), Err(Refusal::AlreadySettled("a".into())));
}

#[test]
fn a_function_that_waits_to_be_run_again_is_hastened_once() {
    let hastened = |n: i64| Fact::WaitSkipped { step: None }.at(at(n));
    let failed = || (5, Fact::HandlerFailed { attempt: 1, error: Failure::new("no"), retry_at: at(100) });
    assert_eq!(state(vec![]).admits(&hastened(6)), Err(Refusal::HandlerNotRetrying));
    let waits = state(vec![failed()]);
    assert_eq!((waits.admits(&hastened(99)), waits.admits(&hastened(100))), (Ok(()), Err(Refusal::HandlerNotRetrying)));
    let cut = state(vec![failed(), (6, Fact::WaitSkipped { step: None })]);
    assert_eq!((cut.handler_retry_at, cut.admits(&hastened(7))), (Some(at(6)), Err(Refusal::HandlerNotRetrying)));
}

/// Version 0.2.0 wrote these entries under other names.
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

/// As it was written before a function could be hastened, too.
#[test]
fn whose_time_was_cut_short_is_read_with_a_step_or_without() {
    let read = |json: &str| serde_json::from_str::<Fact>(json).expect("a fact");
    assert_eq!(read(r#"{"Hastened":{"step":"a"}}"#).step().map(|step| &**step), Some("a"));
    let of_the_function = read(r#"{"Hastened":{}}"#);
    assert_eq!(of_the_function.step(), None);
    assert_eq!(serde_json::to_string(&of_the_function).expect("JSON"), r#"{"WaitSkipped":{}}"#);
}

#[test]
fn only_what_waits_for_a_time_to_come_is_hastened() {
    let hastened = |n: i64| Fact::WaitSkipped { step: Some("a".into()) }.at(at(n));
    let sleeps = || (0, Fact::SleepStarted { step: "a".into(), until: at(100) });
    let over = Fact::SleepEnded { step: "a".into() };
    assert_eq!(state(vec![sleeps()]).admits(&over.clone().at(at(5))), Err(Refusal::NotDue("a".into())));
    assert_eq!(state(vec![sleeps()]).admits_all(&[hastened(5), over.clone().at(at(5))]), Ok(()));
    let cut = state(vec![sleeps(), (5, Fact::WaitSkipped { step: Some("a".into()) })]);
    assert_eq!(cut.admits(&over.clone().at(at(5))), Ok(()));
    assert_eq!(cut.admits(&hastened(6)), Err(Refusal::NotWaiting("a".into())), "its time has come");
    assert_eq!(state(vec![sleeps(), (100, over)]).admits(&hastened(101)), Err(Refusal::AlreadySettled("a".into())));
    assert_eq!(state(vec![(0, started(1, 10))]).admits(&hastened(1)), Err(Refusal::NotWaiting("a".into())));
    assert_eq!(state(vec![]).admits(&hastened(1)), Err(Refusal::NotWaiting("a".into())));
    let waits = Fact::SignalAwaited { step: "a".into(), until: at(9) };
    assert_eq!(state(vec![(0, waits)]).admits(&hastened(1)), Err(Refusal::NotWaiting("a".into())), "not by time alone");
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

/// A line at its place.
fn placed(after: u64, nth: u32, says: &str) -> HandlerLogLine {
    HandlerLogLine { after, nth, line: LogLine::new(LogLevel::Info, says, None) }
}

#[test]
fn a_line_is_known_by_its_place_and_a_later_attempt_says_another_one() {
    let said = |attempt, lines: &[HandlerLogLine]| Fact::LogWritten { attempt, lines: lines.to_vec() };
    let trips = |attempt| Fact::HandlerFailed { attempt, error: Failure::new("x"), retry_at: at(5) };
    let begun = [placed(0, 0, "begun"), placed(0, 1, "tries")];
    let run = state(vec![(1, said(1, &begun)), (2, trips(1)), (3, said(2, &[placed(0, 1, "tries again")]))]);
    // in the attempt that said it, whatever it says there now; in a later one, the same line only
    assert!(run.logs.has(2, &placed(0, 1, "tries, for the third time")));
    assert!(run.logs.has(2, &placed(0, 0, "begun")) && !run.logs.has(2, &placed(0, 0, "begun anew")));
    assert!(run.logs.has(3, &placed(0, 1, "tries again")) && !run.logs.has(3, &placed(0, 1, "tries")));
    // a step that is new before it moves it to another place, and one that is removed leaves it where it was
    assert!(!run.logs.has(2, &placed(1, 0, "begun")) && !run.logs.has(2, &placed(0, 2, "tries again")));
}

#[test]
fn a_run_takes_one_version_and_nothing_after_its_end_is_said() {
    let taken = |version: &str| Fact::VersionChosen { version: version.into() };
    let run = state(vec![(1, taken("1")), (1, started(1, 50))]);
    assert_eq!((run.version.as_deref(), run.has_requested()), (Some("1"), true));
    assert_eq!(run.admits(&taken("2").at(at(2))), Err(Refusal::HasVersion));
    let fresh = state(Vec::new());
    assert!(!fresh.has_requested());
    let twice = [taken("1").at(at(1)), taken("1").at(at(1))];
    assert_eq!(fresh.admits_all(&twice), Err(Refusal::HasVersion));
    let over = state(vec![(1, Fact::RunCompleted { output: json::null() })]);
    let line = Fact::LogWritten { attempt: 1, lines: vec![placed(0, 0, "late")] };
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
fn what_was_taken_over_and_a_signal_that_came_early_are_no_move() {
    let carried =
        Fact::StepCarriedOver { step: "a".into(), kind: StepKind::Run, outcome: Outcome::Value(json::null()) };
    let early = Fact::SignalReceived { step: "s".into(), data: json::null() };
    assert!(!state(vec![(1, carried), (2, early)]).has_requested());
    assert!(state(vec![(1, Fact::SleepStarted { step: "n".into(), until: at(9) })]).has_requested());
}
