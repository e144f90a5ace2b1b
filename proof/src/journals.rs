//! Invariants between runs: an event starts each function once, and a parent's journal records how
//! its child ended.

use std::collections::{HashMap, HashSet};

use stepladder_core::journal::{Entry, Fact, Outcome, RunOrigin};
use stepladder_core::state::{RunEnd, RunOutcome};
use stepladder_core::{EventId, RunId, StepId};

use crate::one_run;

/// A run and its journal.
#[derive(Clone, Debug)]
pub struct RunJournal {
    /// The run's id.
    pub run: RunId,
    /// The entries, ordered and numbered from 0.
    pub entries: Vec<Entry>,
}

impl RunJournal {
    /// Returns how the run ended; `None` if it is live.
    fn ending(&self) -> Option<RunOutcome> {
        self.entries.iter().find_map(RunEnd::from).map(|end| end.how)
    }

    /// Returns the event, the function and the origin of the run.
    fn created(&self) -> Option<(EventId, &str, &RunOrigin)> {
        match &self.entries.first()?.fact {
            Fact::RunCreated(created) => Some((created.event.id, &created.function, &created.origin)),
            _ => None,
        }
    }
}

/// Checks all journals of a store. Returns a sentence for each violation.
///
/// The list must be complete: a parent that is not in the list counts as missing.
pub fn check(journals: &[RunJournal]) -> Vec<String> {
    let mut broken: Vec<String> = journals.iter().flat_map(one_run::check).collect();
    let by_run: HashMap<RunId, &RunJournal> = journals.iter().map(|journal| (journal.run, journal)).collect();
    if by_run.len() != journals.len() {
        broken.push("a run has more than one journal".into());
    }
    let mut started = HashSet::new();
    let mut failed = HashSet::new();
    for journal in journals {
        let Some((event, function, origin)) = journal.created() else { continue };
        match origin {
            RunOrigin::Event if !started.insert((event, function)) => {
                broken.push(format!(
                    "event {event} started `{function}` more than once, {} is one of the runs",
                    journal.run
                ));
            }
            RunOrigin::Failure { of } if !failed.insert(*of) => {
                broken.push(format!("the failure of {of} is handled twice"));
            }
            RunOrigin::Failure { of } => match by_run.get(of).and_then(|run| run.ending()) {
                Some(RunOutcome::Failed(_)) => {}
                _ => broken.push(format!("{} handles the failure of {of}, which did not fail", journal.run)),
            },
            RunOrigin::Invoke { parent, step } => {
                let asked = by_run.get(parent).is_some_and(|parent| invoked(parent, step) == Some(journal.run));
                if !asked {
                    broken
                        .push(format!("{} was called by `{step}` of {parent}, which says nothing of it", journal.run));
                }
            }
            RunOrigin::Event | RunOrigin::Cron | RunOrigin::Rerun { .. } => {}
        }
        broken.extend(reported_children(journal, &by_run));
    }
    broken
}

/// Returns the runs that have not ended.
pub fn unfinished(journals: &[RunJournal]) -> Vec<RunId> {
    journals.iter().filter(|journal| journal.ending().is_none()).map(|journal| journal.run).collect()
}

/// Returns the run that a step invoked.
fn invoked(parent: &RunJournal, by: &StepId) -> Option<RunId> {
    parent.entries.iter().find_map(|entry| match &entry.fact {
        Fact::InvokeStarted { step, child, .. } if step == by => Some(*child),
        _ => None,
    })
}

/// Checks that the outcomes recorded in a parent are those of its children.
fn reported_children(parent: &RunJournal, by_run: &HashMap<RunId, &RunJournal>) -> Vec<String> {
    let mut broken = Vec::new();
    for entry in &parent.entries {
        let Fact::InvokeEnded { step, outcome } = &entry.fact else { continue };
        let Some(child) = invoked(parent, step) else { continue };
        let ending = by_run.get(&child).and_then(|child| child.ending());
        let is_true = match (&ending, outcome) {
            (Some(RunOutcome::Completed(output)), Outcome::Value(told)) => output.get() == told.get(),
            (Some(RunOutcome::Failed(_) | RunOutcome::Cancelled(_) | RunOutcome::Skipped(_)), Outcome::Failed(_)) => {
                true
            }
            // The call failed because the function is not registered or its input is invalid, so no
            // child exists.
            (None, Outcome::Failed(_)) => !by_run.contains_key(&child),
            (Some(_) | None, Outcome::Value(_) | Outcome::Failed(_)) => false,
        };
        if !is_true {
            let run = parent.run;
            broken.push(format!("`{step}` of {run} was told {outcome:?}, its child {child} ended as {ending:?}"));
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stepladder_core::journal::{Failure, NewRun};
    use stepladder_core::{Event, Timestamp, json};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn journal(n: u128, origin: RunOrigin, facts: Vec<Fact>) -> RunJournal {
        let event = Event {
            id: EventId::from_bytes([7; 16]),
            name: "go".into(),
            data: json::empty_object(),
            ts: NOW,
            user: None,
            external_id: None,
            received_at: NOW,
            trace: None,
        };
        let created = Fact::RunCreated(Box::new(NewRun::new("f".into(), event, origin)));
        let entries = std::iter::once(created).chain(facts).map(|fact| fact.into_entry(NOW)).collect();
        RunJournal { run: RunId::new(NOW, n), entries }
    }

    fn completed() -> Fact {
        Fact::RunCompleted { output: json::empty_object() }
    }

    fn called(n: u128) -> Fact {
        let child = RunId::new(NOW, n);
        Fact::InvokeStarted {
            step: "call".into(),
            function: Arc::from("f"),
            child,
            input: json::empty_object(),
            bound: false,
            until: None,
            user: None,
        }
    }

    fn callback_delivered(outcome: Outcome) -> Fact {
        Fact::InvokeEnded { step: "call".into(), outcome }
    }

    #[test]
    fn a_valid_run_and_its_child_pass_all_checks() {
        let step = StepId::from("call");
        let parent = journal(
            1,
            RunOrigin::Event,
            vec![called(2), callback_delivered(Outcome::Value(json::empty_object())), completed()],
        );
        let child = journal(2, RunOrigin::Invoke { parent: parent.run, step }, vec![completed()]);
        assert_eq!(check(&[parent, child]), [] as [String; 0]);
    }

    #[test]
    fn a_function_started_twice_by_one_event_is_reported() {
        let twice = [1, 2].map(|n| journal(n, RunOrigin::Event, vec![]));
        assert_eq!(check(&twice).len(), 1);
        assert_eq!(unfinished(&twice).len(), 2);
    }

    #[test]
    fn a_parent_with_another_outcome_than_its_child_is_reported() {
        let step = StepId::from("call");
        let failed = Outcome::Failed(Failure::new("no"));
        let parent = journal(1, RunOrigin::Event, vec![called(2), callback_delivered(failed), completed()]);
        let child = journal(2, RunOrigin::Invoke { parent: parent.run, step }, vec![completed()]);
        assert_eq!(check(&[parent, child]).len(), 1);
    }

    #[test]
    fn a_child_without_a_call_and_a_handled_failure_that_did_not_happen_are_reported() {
        let parent = journal(1, RunOrigin::Event, vec![completed()]);
        let child = journal(2, RunOrigin::Invoke { parent: parent.run, step: "call".into() }, vec![completed()]);
        let handler = journal(3, RunOrigin::Failure { of: parent.run }, vec![completed()]);
        assert_eq!(check(&[parent, child, handler]).len(), 2);
    }
}
