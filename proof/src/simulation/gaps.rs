//! Measures how long a run stood still without a reason: the time between when an entry could have
//! been written and when it was.

use std::time::Duration;

use stepladder_core::journal::{Entry, Fact, Record};
use stepladder_core::state::{RunState, StepState};
use stepladder_core::{RunId, StepId, Timestamp};

/// Returns the longest standstill of an ended run, and the entry that was late. `ended` returns
/// when another run ended.
pub(crate) fn longest_gap(
    run: RunId,
    records: &[Record],
    ended: impl Fn(RunId) -> Option<Timestamp>,
) -> Option<(Duration, Entry)> {
    let (first, rest) = records.split_first()?;
    let mut state = RunState::fold(run, std::slice::from_ref(first)).ok()?;
    let mut longest: Option<(Duration, Entry)> = None;
    for record in rest {
        // The entries of a record are written at the same time, so checking one of them is enough.
        // Log lines are skipped, because they wait for the next other entry.
        if let Some(entry) = record
            .entries
            .iter()
            .find(|entry| !matches!(entry.fact, Fact::LogWritten { .. } | Fact::VersionChosen { .. }))
        {
            let due = due_time(&state, entry, &ended).max(state.handler_retry_at.unwrap_or(Timestamp::from_millis(0)));
            let late = entry.at.since(due);
            if longest.as_ref().is_none_or(|(time, _)| late > *time) {
                longest = Some((late, entry.clone()));
            }
        }
        state.extend(record).ok()?;
    }
    longest
}

/// Returns the earliest time at which `entry` could have been written.
fn due_time(state: &RunState, entry: &Entry, ended: impl Fn(RunId) -> Option<Timestamp>) -> Timestamp {
    let of = |step: &StepId| state.steps.get(step).map(|step| &step.state);
    match &entry.fact {
        Fact::StepStarted { step, .. } | Fact::StepRefused { step, .. } | Fact::AttemptInterrupted { step, .. } => {
            match of(step) {
                Some(StepState::Retrying { retry_at, .. }) => *retry_at,
                Some(StepState::Running { lease_until, .. }) => *lease_until,
                _ => state.begins_at().map_or(state.last_at, |at| at.max(state.last_at)),
            }
        }
        Fact::SleepEnded { step } => match of(step) {
            Some(StepState::Sleeping { until }) => *until,
            _ => state.last_at,
        },
        Fact::InvokeEnded { step, .. } => match of(step) {
            Some(StepState::Invoking { child, .. }) => ended(*child).unwrap_or(entry.at),
            _ => state.last_at,
        },
        Fact::WaitExpired { step } => match of(step) {
            Some(StepState::Awaiting { until, .. }) => *until,
            _ => state.last_at,
        },
        // When these entries are written depends on bodies, senders and users.
        Fact::StepSucceeded { .. }
        | Fact::StepFailed { .. }
        | Fact::AttemptUnreachable { .. }
        | Fact::ExecutorUnreachable { .. }
        | Fact::ExecutorReached
        | Fact::CallStarted { .. }
        | Fact::CallEnded { .. }
        | Fact::StepAbandoned { .. }
        | Fact::EventDelivered { .. }
        | Fact::EventJoined { .. }
        | Fact::SignalReceived { .. }
        | Fact::WaitSkipped { .. }
        | Fact::RunCancelled { .. }
        | Fact::VersionChosen { .. }
        | Fact::LogWritten { .. } => entry.at,
        Fact::RunCreated(_)
        | Fact::StepCarriedOver { .. }
        | Fact::StepsWoken { .. }
        | Fact::SleepStarted { .. }
        | Fact::EventsSent { .. }
        | Fact::InvokeStarted { .. }
        | Fact::EventAwaited { .. }
        | Fact::SignalAwaited { .. }
        | Fact::HandlerFailed { .. }
        | Fact::RunCompleted { .. }
        | Fact::RunFailed { .. }
        | Fact::CollectingEnded
        | Fact::RunDelayed { .. }
        | Fact::RunAdmitted
        | Fact::RunSkipped { .. } => state.begins_at().map_or(state.last_at, |at| at.max(state.last_at)),
    }
}
