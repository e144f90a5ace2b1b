//! What is told of runs, for logs and metrics: events of the target `stepladder::run`. Whoever reads them goes by their
//! messages and fields, times in milliseconds.
//!
//! Each is told once for each fact, by the process whose write of that fact succeeded, and after it: metrics count them.

use std::sync::Arc;
use std::time::Duration;

use stepladder_core::decide::ReadyStep;
use stepladder_core::journal::{Entry, Fact};
use stepladder_core::state::{RunEnd, RunOutcome, RunState};
use stepladder_core::{RunId, Status};

/// Tells whoever follows this process's runs that one has ended.
pub(crate) fn log_end(state: &RunState, end: &RunEnd) {
    let (run, function, status) = (state.run, &state.created.function, end.how.status());
    let ms = millis(end.at.since(state.created_at));
    match &end.how {
        RunOutcome::Failed(error) => {
            tracing::info!(target: "stepladder::run", %run, %function, %status, ms, error = error.message, "run ended");
        }
        RunOutcome::Completed(_) | RunOutcome::Cancelled(_) | RunOutcome::Skipped(_) => {
            tracing::info!(target: "stepladder::run", %run, %function, %status, ms, "run ended");
        }
    }
}

/// Tells them that a run was skipped: it ends as it is created.
pub(crate) fn log_skipped(run: RunId, function: &str) {
    tracing::info!(target: "stepladder::run", %run, %function, status = %Status::Skipped, ms = 0_u64, "run ended");
}

/// Whether a fact that is the first of its kind starts the run: its handler was run.
pub(crate) fn starts_run(fact: &Fact) -> bool {
    fact.is_requested_by_handler()
        || matches!(fact, Fact::HandlerFailed { .. } | Fact::RunCompleted { .. } | Fact::RunFailed { .. })
}

/// Whether [`say`] has something to say of a fact.
pub(crate) fn is_logged(fact: &Fact) -> bool {
    matches!(fact, Fact::StepSucceeded { .. } | Fact::StepFailed { .. } | Fact::AttemptInterrupted { .. })
}

/// Tells them that a run has started.
pub(crate) fn log_start(state: &RunState) {
    let (run, function) = (state.run, &state.created.function);
    tracing::info!(target: "stepladder::run", %run, %function, "run started");
}

/// Tells them what became of an attempt, after so long.
pub(crate) fn log_attempt(state: &RunState, entry: &Entry, took: Duration) {
    let (run, function, ms) = (state.run, &state.created.function, millis(took));
    if let Fact::StepSucceeded { step, attempt, .. } = &entry.fact {
        tracing::info!(target: "stepladder::run", %run, %function, %step, attempt, ms, "step succeeded");
    }
    if let Fact::StepFailed { step, attempt, error, retry_at, .. } = &entry.fact
        && error.is_not_yet()
    {
        let retry_at = retry_at.map(tracing::field::display);
        tracing::info!(target: "stepladder::run", %run, %function, %step, attempt, ms, retry_at, "step checked");
    } else if let Fact::StepFailed { step, attempt, error, retry_at, .. } = &entry.fact {
        let retry_at = retry_at.map(tracing::field::display);
        tracing::info!(target: "stepladder::run", %run, %function, %step, attempt, ms, error = error.message, retry_at, "step failed");
    }
    if let Fact::AttemptInterrupted { step, attempt } = &entry.fact {
        tracing::info!(target: "stepladder::run", %run, %function, %step, attempt, "step interrupted");
    }
}

/// Tells them that a step waits in the line of this key.
pub(crate) fn log_wait(state: &RunState, ready: &ReadyStep, key: &Arc<str>) {
    let (run, function, step, attempt) = (state.run, &state.created.function, &ready.step, ready.attempt);
    tracing::info!(target: "stepladder::run", %run, %function, %step, attempt, %key, "step waits");
}

/// A duration as it is told.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
