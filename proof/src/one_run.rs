//! Invariants of one journal:
//!
//! - A step has at most one outcome, and only from an attempt that was running.
//! - Two attempts of a step never run at the same time.
//! - A step that starts at most once does not start again after an attempt without an outcome.
//! - An event is delivered at most once, and only to a step that waits for it.
//! - Nothing follows the end.

mod calls;
mod heartbeats;
mod kind;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use stepladder_core::journal::{Entry, Fact, RunOrigin, StepKind};
use stepladder_core::state::RevealedOutcome;
use stepladder_core::{StepId, Timestamp};

use crate::RunJournal;
use calls::ExecutorProgress;
use heartbeats::HeartbeatProgress;
use kind::kind_of;

/// The state of a step, according to the entries read so far.
#[derive(Default)]
struct StepProgress {
    /// The number of the latest attempt.
    attempt: u32,
    /// The end of the running attempt's lease; `None` if no attempt runs.
    running: Option<Timestamp>,
    /// The earliest time at which the step may go on.
    due: Option<Timestamp>,
    /// Whether the step waits for a time, a child, an event or a callback.
    waits: bool,
    /// The kind of the step; `None` until an entry shows the kind.
    kind: Option<StepKind>,
    /// The heartbeats of the wait, if it asks for them.
    heartbeats: Option<HeartbeatProgress>,
    settled: bool,
    /// Whether the handler dropped the step.
    abandoned: bool,
    /// Whether the handler has failed since the running attempt started, so that the attempt
    /// outlives the handler's own.
    outlives: bool,
    /// Whether the latest attempt may have taken effect without an outcome.
    uncertain: bool,
}

/// Returns a sentence for each violation.
pub(crate) fn check(journal: &RunJournal) -> Vec<String> {
    let mut broken = Vec::new();
    let mut known: HashMap<StepId, StepProgress> = HashMap::new();
    let mut is_rerun = false;
    let mut ended = false;
    let mut handler = 0;
    // Whether the run still collects events.
    let mut collects = false;
    // The events of the run, including the one that started it.
    let mut entered = HashSet::new();
    let (mut said, mut outcomes) = (HashSet::new(), 0);
    let mut executor = ExecutorProgress::default();
    for (n, entry) in journal.entries.iter().enumerate() {
        let mut wrong = |what: &str| {
            broken.push(format!("{what}: entry {n} of {}, {:.200}", journal.run, format!("{:?}", entry.fact)));
        };
        if ended {
            wrong("something was written after the end");
        }
        match &entry.fact {
            Fact::RunCreated(created) if n == 0 => {
                is_rerun = matches!(created.origin, RunOrigin::Rerun { .. });
                entered.insert(created.event.id);
                collects = created.collects;
            }
            _ if n == 0 => wrong("the run does not begin with its creation"),
            Fact::RunCreated(_) => wrong("the run was created again"),
            Fact::HandlerFailed { attempt, .. } => {
                handler += 1;
                if *attempt != handler {
                    wrong("an attempt of the handler is missing");
                }
                // The next attempt of the handler may start a step that the failed attempt dropped.
                for step in known.values_mut().filter(|step| step.abandoned) {
                    (step.settled, step.abandoned) = (false, false);
                }
                // The failed handler drops its steps. A step that is still running counts as
                // dropped only when its worker reports it.
                known.values_mut().for_each(|step| step.outlives = step.running.is_some());
            }
            Fact::EventDelivered { event, steps } => {
                if !entered.insert(event.id) {
                    wrong("an event entered a second time");
                }
                for step in steps {
                    if let Err(what) = apply_entry(step_entry(&mut known, step), entry) {
                        wrong(what);
                    }
                }
            }
            Fact::EventJoined { event, closes, .. } => {
                if !collects && !is_rerun {
                    wrong("an event joined a run that had begun, or takes none");
                }
                if !entered.insert(event.id) {
                    wrong("an event joined a second time");
                }
                collects &= !closes;
            }
            Fact::CollectingEnded if !std::mem::take(&mut collects) => wrong("a run began that had begun"),
            Fact::LogWritten { attempt, lines } => {
                if lines.iter().any(|line| !said.insert((*attempt, line.after, line.nth))) {
                    wrong("a line was said twice");
                }
                if *attempt != handler + 1 || lines.iter().any(|line| line.after > outcomes) {
                    wrong("a line was said before its time, or after it");
                }
            }
            Fact::StepCarriedOver { .. } if !is_rerun => {
                wrong("an outcome was carried over, but the run is not a rerun")
            }
            fact if collects && fact.is_requested_by_handler() => {
                wrong("a run that collects events went on before it began")
            }
            _ => {}
        }
        if let Err(what) = executor.apply(entry, journal.entries.get(n + 1)) {
            wrong(what);
        }
        outcomes += RevealedOutcome::from_entry(entry).len() as u64;
        if let Fact::StepStarted { step, .. } = &entry.fact
            && executor.is_answer(entry)
        {
            // a call executes each step that it reaches: its executor knows no due times
            step_entry(&mut known, step).due = None;
        }
        ended |= entry.fact.is_end();
        if let Some(step) = entry.fact.step()
            && let Err(what) = apply_entry(step_entry(&mut known, step), entry)
        {
            wrong(what);
        }
    }
    broken
}

fn step_entry<'a>(known: &'a mut HashMap<StepId, StepProgress>, step: &StepId) -> &'a mut StepProgress {
    known.entry(step.clone()).or_default()
}

/// Applies one entry to the state of its step.
fn apply_entry(step: &mut StepProgress, entry: &Entry) -> Result<(), &'static str> {
    if step.settled {
        return Err("the step has its outcome already");
    }
    let kind = kind_of(&entry.fact);
    if kind.is_some_and(|kind| *step.kind.get_or_insert(kind) != kind) {
        return Err("the step was of another kind before");
    }
    match &entry.fact {
        Fact::StepStarted { attempt, lease_until, at_most_once, .. } => {
            if *at_most_once && step.uncertain {
                return Err("a step that starts at most once started again");
            }
            step.uncertain = true;
            if step.running.is_some_and(|until| entry.at < until) {
                return Err("two attempts run at once");
            }
            if step.due.is_some_and(|due| entry.at < due) {
                return Err("it was tried again before its time");
            }
            if *attempt != step.attempt + 1 {
                return Err("the attempt is not the next one");
            }
            (step.attempt, step.running, step.outlives) = (*attempt, Some(*lease_until), false);
        }
        Fact::StepSucceeded { attempt, .. } => {
            end_attempt(step, *attempt)?;
            step.settled = true;
        }
        Fact::StepAbandoned { attempt, .. } => {
            end_attempt(step, *attempt)?;
            (step.settled, step.abandoned) = (!step.outlives, !step.outlives);
        }
        Fact::StepFailed { attempt, retry_at, .. } => {
            end_attempt(step, *attempt)?;
            step.uncertain = false;
            (step.settled, step.due) = (retry_at.is_none(), *retry_at);
        }
        // The worker of a step that starts at most once writes this only before the body has begun.
        Fact::AttemptInterrupted { attempt, .. } => {
            end_attempt(step, *attempt)?;
            step.uncertain = false;
        }
        Fact::AttemptUnreachable { attempt, retry_at, .. } => {
            end_attempt(step, *attempt)?;
            step.uncertain = false;
            (step.attempt, step.due) = (*attempt - 1, Some(*retry_at));
        }
        Fact::StepRefused { .. } | Fact::StepCarriedOver { .. } | Fact::EventsSent { .. } => step.settled = true,
        Fact::SleepStarted { until, .. } => {
            if std::mem::replace(&mut step.waits, true) {
                return Err("the timer was set twice");
            }
            step.due = Some(*until);
        }
        Fact::WaitSkipped { .. } => step.due = Some(entry.at),
        Fact::InvokeStarted { until, .. } => {
            if std::mem::replace(&mut step.waits, true) {
                return Err("the child was asked for twice");
            }
            // without a deadline the call never expires
            step.due = Some(until.unwrap_or(Timestamp::MAX));
        }
        Fact::SleepEnded { .. } | Fact::InvokeEnded { .. } => {
            if !step.waits {
                return Err("what ended had not begun");
            }
            if step.kind == Some(StepKind::Sleep) && step.due.is_some_and(|due| entry.at < due) {
                return Err("the timer ended before its time");
            }
            step.settled = true;
        }
        Fact::EventAwaited { until, .. } | Fact::SignalAwaited { until, .. } => {
            if std::mem::replace(&mut step.waits, true) {
                return Err("it was waited for twice");
            }
            step.due = Some(*until);
            step.heartbeats = HeartbeatProgress::new(entry);
        }
        Fact::HeartbeatReceived { .. } => {
            step.heartbeats.as_mut().ok_or("no heartbeat was waited for")?.receive(entry)?
        }
        Fact::HeartbeatMissed { .. } => {
            step.heartbeats.as_ref().ok_or("no heartbeat was waited for")?.miss(entry)?;
            step.settled = true;
        }
        Fact::EventDelivered { event, .. } => {
            if !step.waits {
                return Err("an event entered where none was waited for");
            }
            if step.due.is_some_and(|until| until < event.received_at) {
                return Err("an event entered that came after the time of the wait");
            }
            step.settled = true;
        }
        // A callback may arrive before the step waits for it.
        Fact::SignalReceived { .. } | Fact::SignalFailed { .. } => step.settled = true,
        Fact::WaitExpired { .. } => {
            if !step.waits {
                return Err("what expired was not waited for");
            }
            if step.due.is_some_and(|until| entry.at < until) {
                return Err("the wait expired before its time");
            }
            if step.heartbeats.as_ref().is_some_and(HeartbeatProgress::is_over) {
                return Err("the wait expired, and a heartbeat was missed before");
            }
            step.settled = true;
        }
        Fact::RunCreated(_)
        | Fact::EventJoined { .. }
        | Fact::CollectingEnded
        | Fact::RunDelayed { .. }
        | Fact::RunAdmitted
        | Fact::StepsWoken { .. }
        | Fact::VersionChosen { .. }
        | Fact::LogWritten { .. }
        | Fact::LabelsAdded { .. }
        | Fact::HandlerFailed { .. }
        | Fact::ExecutorUnreachable { .. }
        | Fact::ExecutorReached
        | Fact::CallStarted { .. }
        | Fact::CallEnded { .. }
        | Fact::RunCompleted { .. }
        | Fact::RunFailed { .. }
        | Fact::RunCancelled { .. }
        | Fact::RunSkipped { .. } => {}
    }
    Ok(())
}

/// Checks that the ending attempt is the one that is running.
fn end_attempt(step: &mut StepProgress, attempt: u32) -> Result<(), &'static str> {
    if step.running.take().is_none() || attempt != step.attempt {
        return Err("this attempt was not running");
    }
    Ok(())
}
