//! Properties of the journal when several workers race to append to it, checked on generated
//! histories.
//!
//! The model: any number of workers propose entries at the end of the journal. `admits` judges each
//! proposal against the whole journal, as it does when an append is repeated after a conflict. An
//! admitted entry is appended.

use std::collections::HashMap;

use proptest::prelude::*;
use stepladder_core::journal::{Fact, Failure, Outcome, Record, StepKind};
use stepladder_core::state::{RunState, StepState};
use stepladder_core::{AttemptReport, Entry, EventId, StepId, Timestamp, json};

use super::{START, arriving_event, first_record, log_line, record, run, wait_for_any};

/// A generated entry that a worker proposes to append.
#[derive(Clone, Debug)]
struct EntryProposal {
    /// Selects the fact's variant.
    fact: u8,
    step: u8,
    attempt: u32,
    /// The time since the previous proposal, in milliseconds.
    wait: i64,
}

fn proposals() -> impl Strategy<Value = Vec<EntryProposal>> {
    let one = (0_u8..32, 0_u8..4, 1_u32..5, 0_i64..40).prop_map(|(fact, step, attempt, wait)| EntryProposal {
        fact,
        step,
        attempt,
        wait,
    });
    prop::collection::vec(one, 0..120)
}

/// Restricts the proposals to waits and events.
fn only_waits(proposals: Vec<EntryProposal>) -> Vec<EntryProposal> {
    proposals.into_iter().map(|p| EntryProposal { fact: 22 + p.fact % 3, ..p }).collect()
}

fn step_id(n: u8) -> StepId {
    format!("s{n}").into()
}

fn entry(p: &EntryProposal, now: i64) -> Entry {
    let (step, attempt) = (step_id(p.step), p.attempt);
    let at = Timestamp::from_millis(now);
    let lease_until = Timestamp::from_millis(now + 30);
    let error = Failure::new("broken");
    let value = || json::to_json(&now).unwrap();
    let fact = match p.fact {
        0..=4 => Fact::StepStarted { step, attempt, lease_until, worker: "w".into(), at_most_once: false },
        5..=7 => Fact::StepSucceeded { step, attempt, output: value(), report: AttemptReport::default() },
        8 | 9 => Fact::StepFailed { step, attempt, error, retry_at: Some(at), report: AttemptReport::default() },
        10 => Fact::StepFailed { step, attempt, error, retry_at: None, report: AttemptReport::default() },
        11 => Fact::AttemptInterrupted { step, attempt },
        30 | 31 => Fact::AttemptUnreachable { step, attempt, why: "no".into(), retry_at: at, hop: None, broken: false },
        12 => Fact::StepAbandoned { step, attempt, report: AttemptReport::default() },
        13 => Fact::StepRefused { step, error, kind: None },
        14 => Fact::SleepStarted { step, until: lease_until },
        15 => Fact::SleepEnded { step },
        16 => Fact::EventsSent { step, ids: vec![EventId::new(at, 3)] },
        17 => Fact::InvokeStarted {
            step,
            function: "g".into(),
            child: run(),
            input: json::null(),
            bound: false,
            until: (p.attempt > 0).then_some(lease_until),
            user: None,
        },
        18 => Fact::InvokeEnded { step, outcome: Outcome::Value(value()) },
        19 => Fact::StepsWoken { steps: vec![step], together: false },
        20 => Fact::HandlerFailed { attempt, error, retry_at: at },
        21 => Fact::WaitSkipped { step: (p.step > 0).then_some(step) },
        22 | 23 => Fact::EventAwaited { step, wait: wait_for_any("c/d"), until: lease_until },
        24 => Fact::EventDelivered {
            event: Box::new(arriving_event(attempt.into(), now)),
            steps: (p.step..4).map(step_id).take(1 + attempt as usize % 2).collect(),
        },
        25 => Fact::SignalAwaited { step, until: lease_until, heartbeat_ms: (p.attempt > 1).then_some(40) },
        26 if p.attempt == 0 => Fact::SignalFailed { step, error },
        26 => Fact::SignalReceived { step, data: value() },
        27 if p.attempt == 0 => Fact::HeartbeatMissed { step, error },
        27 if p.attempt == 1 => Fact::HeartbeatReceived { step },
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
    fact.into_entry(at)
}

/// Returns the journal that contains all admitted proposals.
fn journal(proposals: &[EntryProposal]) -> Vec<Record> {
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
                Fact::AttemptUnreachable { step, attempt, .. } => {
                    prop_assert_eq!(last.get(step).copied().map(|(a, _)| a), Some(*attempt));
                    prop_assert!(last[step].1.is_some(), "an attempt that had ended is taken back");
                    last.insert(step.clone(), (*attempt - 1, None));
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
