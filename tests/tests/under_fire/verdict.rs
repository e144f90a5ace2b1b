//! Checks that the clients' responses, the bodies' ledger and the journals agree.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;
use stepladder_core::journal::{Entry, Fact};
use stepladder_core::state::RunOutcome;
use stepladder_core::{EventId, RunId, Timestamp};
use stepladder_proof::RunJournal;

use crate::app;
use crate::clients::{ClientResponses, name_of};
use crate::journals::{StoredRuns, creation_entry, ending, is_of, sent_events, started_by};
use crate::ledger::{LedgerLine, by_step, most_at_once};

/// The numbers of runs, entries, interruptions and bodies in all journals.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct JournalTotals {
    pub(crate) runs: usize,
    pub(crate) entries: usize,
    pub(crate) interrupted: usize,
    pub(crate) bodies: usize,
}

/// Panics with all violations, if there are any.
pub(crate) async fn check_orders(
    stored: &StoredRuns,
    answers: &ClientResponses,
    lines: &[LedgerLine],
) -> JournalTotals {
    let mut wrong = stepladder_proof::check(&stored.journals);
    wrong.extend(stepladder_proof::unfinished(&stored.journals).iter().map(|run| format!("{run} has not ended")));
    wrong.extend(check_rows(stored));
    wrong.extend(check_orders_end(stored, answers).await);
    wrong.extend(check_told(stored, answers));
    wrong.extend(check_executions(&stored.journals, lines));
    let orders: HashSet<RunId> = stored.journals.iter().filter(|j| is_of(j, "order")).map(|j| j.run).collect();
    let most = most_at_once(lines, |run| orders.contains(&run));
    if most > app::LIMIT {
        wrong.push(format!("{most} bodies of orders executed at a time, {} may", app::LIMIT));
    }
    // a worker that enqueued a step and died leaves a ticket, which its unacknowledged wake would
    // remove later
    let mut line = stored.wait_queue_of("order").await;
    line.retain(|ticket| !stored.due.contains(&ticket.run));
    if !line.is_empty() {
        wrong.push(format!("all runs have ended, and these wait for a slot: {line:?}"));
    }
    assert!(wrong.is_empty(), "{} things are wrong:\n{}", wrong.len(), wrong[..wrong.len().min(30)].join("\n"));
    sum_journals(stored, lines)
}

/// Computes the totals.
fn sum_journals(stored: &StoredRuns, lines: &[LedgerLine]) -> JournalTotals {
    let entries = || stored.journals.iter().flat_map(|journal| &journal.entries);
    JournalTotals {
        runs: stored.journals.len(),
        entries: entries().count(),
        interrupted: entries().filter(|e| matches!(e.fact, Fact::AttemptInterrupted { .. })).count(),
        bodies: lines.iter().filter(|line| matches!(line, LedgerLine::Begin { .. })).count(),
    }
}

/// Checks that the row of each run agrees with its journal.
fn check_rows(stored: &StoredRuns) -> Vec<String> {
    let mut wrong = Vec::new();
    for journal in &stored.journals {
        let row = &stored.rows[&journal.run];
        let end = ending(journal).map(|how| how.status());
        if row.ended.map(|(_, status)| status) != end || *row.function != *creation_entry(journal).function {
            wrong.push(format!("the listing has {row:?}, the journal ends with {end:?}"));
        }
    }
    wrong
}

/// Checks that each accepted order has one run of `order`, one called run, and one sent event with
/// one run. A failed order also has one run of its failure handler. There must be no other runs.
async fn check_orders_end(stored: &StoredRuns, answers: &ClientResponses) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut of_event: HashMap<EventId, Vec<&RunJournal>> = HashMap::new();
    let mut of_run: HashMap<RunId, Vec<&RunJournal>> = HashMap::new();
    for journal in &stored.journals {
        match started_by(journal) {
            None => of_event.entry(creation_entry(journal).event.id).or_default().push(journal),
            Some(run) => of_run.entry(run).or_default().push(journal),
        }
    }
    let mut expected = 0;
    for (n, id) in &answers.accepted {
        let event = stored.event(&name_of(*n)).await;
        if event.map(|event| event.to_string()).as_ref() != Some(id) {
            wrong.push(format!("order {n} was accepted as {id}, and is stored as {event:?}"));
            continue;
        }
        let started = event.and_then(|event| of_event.get(&event)).map_or(&[][..], Vec::as_slice);
        let &[order] = started else {
            wrong.push(format!("order {n} was accepted, and started {} runs", started.len()));
            continue;
        };
        if !is_of(order, "order") || creation_entry(order).event.external_id.as_deref() != Some(name_of(*n).as_str()) {
            wrong.push(format!("order {n} started {:?}", creation_entry(order)));
        }
        let right = match ending(order) {
            Some(RunOutcome::Completed(output)) => {
                !app::is_doomed(*n) && output.get() == app::expected_total(*n).to_string()
            }
            Some(RunOutcome::Failed(failure)) => app::is_doomed(*n) && failure.message.contains("the order is doomed"),
            Some(RunOutcome::Cancelled(_) | RunOutcome::Skipped(_)) | None => false,
        };
        if !right {
            wrong.push(format!("order {n} ended as {:?}", ending(order)));
        }
        let mut followers: Vec<&str> =
            of_run.get(&order.run).into_iter().flatten().map(|run| &*creation_entry(run).function).collect();
        followers.sort_unstable();
        let due: &[&str] = if app::is_doomed(*n) { &["order/on-failure", "part"] } else { &["part"] };
        if followers != due {
            wrong.push(format!("order {n} led to {followers:?}, not to {due:?}"));
        }
        let told: Vec<_> = sent_events(order).iter().map(|id| of_event.get(id).map_or(0, Vec::len)).collect();
        if told != [1] {
            wrong.push(format!("the event of order {n} started {told:?} runs"));
        }
        expected += 2 + followers.len();
    }
    if stored.journals.len() != expected {
        wrong.push(format!("there are {} runs, {expected} have a reason", stored.journals.len()));
    }
    wrong
}

/// Checks that each end of a run that a client has seen is the end in the run's journal.
fn check_told(stored: &StoredRuns, answers: &ClientResponses) -> Vec<String> {
    let journals: HashMap<String, &RunJournal> = stored.journals.iter().map(|j| (j.run.to_string(), j)).collect();
    let mut wrong = Vec::new();
    for (run, shown) in &answers.ended {
        let end = journals.get(run).and_then(|journal| ending(journal));
        let is_true = match &end {
            Some(RunOutcome::Completed(output)) => {
                shown["status"] == "Completed" && to_text(&shown["output"]) == output.get()
            }
            Some(how) => shown["status"] == how.status().to_string(),
            None => false,
        };
        if !is_true {
            wrong.push(format!("{shown} was shown, the journal ends with {end:?}"));
        }
    }
    wrong
}

fn to_text(value: &Value) -> String {
    value.to_string()
}

/// Checks the executions of each body: each belongs to an attempt that was started, a step with a
/// value has at least one, and none comes after the outcome was written.
fn check_executions(journals: &[RunJournal], lines: &[LedgerLine]) -> Vec<String> {
    let mut steps: BTreeMap<(RunId, String), StepAttempts> = BTreeMap::new();
    for journal in journals {
        for Entry { at, fact } in &journal.entries {
            let Some(step) = fact.step() else { continue };
            let attempts = steps.entry((journal.run, step.to_string())).or_default();
            match fact {
                Fact::StepStarted { .. } => attempts.started += 1,
                Fact::StepSucceeded { .. } => attempts.settled = Some(*at),
                _ => {}
            }
        }
    }
    let executed = by_step(lines);
    let mut wrong = Vec::new();
    for (key, found) in &executed {
        let (run, step) = key;
        let Some(attempts) = steps.get(key) else {
            wrong.push(format!("`{step}` of {run} was executed, and no journal has it"));
            continue;
        };
        if found.began.len() > attempts.started {
            let times = found.began.len();
            wrong.push(format!("`{step}` of {run} was executed {times} times in {} attempts", attempts.started));
        }
        if let Some(settled) = attempts.settled
            && let Some(late) = found.began.iter().find(|began| **began > settled)
        {
            wrong.push(format!("`{step}` of {run} was executed at {late:?}, after its outcome of {settled:?}"));
        }
    }
    for (key, attempts) in &steps {
        if attempts.settled.is_some() && executed.get(key).is_none_or(|found| found.ended == 0) {
            wrong.push(format!("`{}` of {} has a value, and was not executed to its end", key.1, key.0));
        }
    }
    wrong
}

/// The attempts of a step, as its journal contains them.
#[derive(Default)]
struct StepAttempts {
    started: usize,
    settled: Option<Timestamp>,
}
