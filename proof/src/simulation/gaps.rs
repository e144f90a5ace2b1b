//! Measures how long a run stood still without a reason: the time between when an entry could have
//! been written and when it was.

use std::time::Duration;

use stepladder_core::journal::{Entry, Fact, Record};
use stepladder_core::state::{RunState, StepState};
use stepladder_core::{RunId, StepId, Timestamp};

/// More than the largest difference between two clocks.
const CLOCKS: Duration = Duration::from_secs(5);

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
        // A checkpoint: the call has executed the step meanwhile.
        Fact::StepStarted { .. } if state.call.is_some() => entry.at,
        Fact::StepStarted { step, .. } | Fact::StepRefused { step, .. } | Fact::AttemptInterrupted { step, .. } => {
            match of(step) {
                Some(StepState::Retrying { retry_at, .. }) => *retry_at,
                Some(StepState::Running { lease_until, .. }) => *lease_until,
                _ => state.begins_at().map_or(state.last_at, |at| at.max(state.last_at)),
            }
        }
        Fact::SleepEnded { step } => match of(step) {
            // It waits for the next call if the function has dropped the sleep.
            Some(StepState::Sleeping { until }) if state.calls > 0 && *until <= state.last_at + CLOCKS => entry.at,
            Some(StepState::Sleeping { until }) => *until,
            _ => state.last_at,
        },
        Fact::InvokeEnded { step, .. } => match of(step) {
            Some(StepState::Invoking { child, .. }) => ended(*child).unwrap_or(entry.at),
            _ => state.last_at,
        },
        Fact::WaitExpired { step } => match of(step) {
            Some(StepState::Awaiting { until, .. } | StepState::Invoking { until: Some(until), .. }) => *until,
            _ => state.last_at,
        },
        Fact::HeartbeatMissed { step, .. } => of(step).and_then(StepState::heartbeat_due).unwrap_or(state.last_at),
        // A function is called once anything that it waits for is over. A wait that was over at the
        // latest entry, by the clock of any worker, may belong to a step that the function has
        // dropped.
        Fact::CallStarted { .. } => {
            let ends = state.steps.values().filter_map(|step| end_of_wait(&step.state, &ended));
            let next = ends.filter(|end| *end > state.last_at + CLOCKS).min().unwrap_or(state.last_at);
            let lease = state.call.as_ref().map_or(state.last_at, |call| call.lease_until);
            next.max(lease).max(state.begins_at().unwrap_or(lease))
        }
        // When these entries are written depends on bodies, senders and users.
        Fact::StepSucceeded { .. }
        | Fact::StepFailed { .. }
        | Fact::AttemptUnreachable { .. }
        | Fact::ExecutorUnreachable { .. }
        | Fact::ExecutorReached
        | Fact::CallEnded { .. }
        | Fact::StepAbandoned { .. }
        | Fact::EventDelivered { .. }
        | Fact::EventJoined { .. }
        | Fact::SignalReceived { .. }
        | Fact::SignalFailed { .. }
        | Fact::HeartbeatReceived { .. }
        | Fact::WaitSkipped { .. }
        | Fact::RunCancelled { .. }
        | Fact::VersionChosen { .. }
        | Fact::LogWritten { .. }
        | Fact::LabelsAdded { .. } => entry.at,
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

/// Returns when a step goes on by itself; `None` if the step does not wait.
fn end_of_wait(state: &StepState, ended: impl Fn(RunId) -> Option<Timestamp>) -> Option<Timestamp> {
    match state {
        StepState::Retrying { retry_at: due, .. } | StepState::Sleeping { until: due } => Some(*due),
        StepState::Awaiting { until, .. } => Some(state.heartbeat_due().unwrap_or(*until)),
        StepState::Invoking { child, until, .. } => {
            Some(ended(*child).into_iter().chain(*until).min().unwrap_or(Timestamp::MAX))
        }
        StepState::Running { lease_until, .. } => Some(*lease_until),
        StepState::Wanted | StepState::Done | StepState::Abandoned => None,
    }
}
