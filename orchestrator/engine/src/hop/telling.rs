//! Which facts of a run are reported as an [`Activity`]. Each is reported once, after its write, by
//! the process whose write succeeded.

use std::time::Duration;

use stepladder_core::decide::ReadyStep;
use stepladder_core::journal::{Entry, Fact};
use stepladder_core::state::{RunEnd, RunOutcome, RunState};
use stepladder_core::{RunId, Status, StepId};

use crate::activity::{Activity, StepChange};

/// Reports that a run has ended.
pub(crate) fn log_end(state: &RunState, end: &RunEnd) {
    let error = match &end.how {
        RunOutcome::Failed(error) => Some(error.message.as_str()),
        RunOutcome::Completed(_) | RunOutcome::Cancelled(_) | RunOutcome::Skipped(_) => None,
    };
    let (run, function) = (state.run, &state.created.function);
    let took = end.at.since(state.created_at);
    Activity::RunEnded { run, function, status: end.how.status(), took, error }.emit();
}

/// Reports that a run was skipped: it ends as it is created.
pub(crate) fn log_skipped(run: RunId, function: &str) {
    let (status, took) = (Status::Skipped, Duration::ZERO);
    Activity::RunEnded { run, function, status, took, error: None }.emit();
}

/// Whether a fact that is the first of its kind starts the run: its handler was run.
pub(crate) fn starts_run(fact: &Fact) -> bool {
    fact.is_requested_by_handler()
        || matches!(fact, Fact::HandlerFailed { .. } | Fact::RunCompleted { .. } | Fact::RunFailed { .. })
}

/// Whether [`log_attempt`] reports a fact.
pub(crate) fn is_logged(fact: &Fact) -> bool {
    matches!(fact, Fact::StepSucceeded { .. } | Fact::StepFailed { .. } | Fact::AttemptInterrupted { .. })
}

/// Reports that a run has started.
pub(crate) fn log_start(state: &RunState) {
    Activity::RunStarted { run: state.run, function: &state.created.function }.emit();
}

/// Reports that the body of a step starts.
pub(crate) fn log_step_start(state: &RunState, ready: &ReadyStep) {
    emit_step(state, &ready.step, ready.attempt, StepChange::Started);
}

/// Reports how an attempt ended, and the time that it took.
pub(crate) fn log_attempt(state: &RunState, entry: &Entry, took: Duration) {
    if let Fact::StepSucceeded { step, attempt, .. } = &entry.fact {
        emit_step(state, step, *attempt, StepChange::Succeeded { took });
    } else if let Fact::StepFailed { step, attempt, error, retry_at, .. } = &entry.fact {
        let retry_at = *retry_at;
        let change = match error.is_not_yet() {
            true => StepChange::Checked { took, retry_at },
            false => StepChange::Failed { took, error: &error.message, retry_at },
        };
        emit_step(state, step, *attempt, change);
    } else if let Fact::AttemptInterrupted { step, attempt } = &entry.fact {
        emit_step(state, step, *attempt, StepChange::Interrupted);
    }
}

/// Reports that a step waits for a slot of the limit with this key.
pub(crate) fn log_wait(state: &RunState, ready: &ReadyStep, limit: &str) {
    emit_step(state, &ready.step, ready.attempt, StepChange::Enqueued { limit });
}

fn emit_step(state: &RunState, step: &StepId, attempt: u32, change: StepChange<'_>) {
    Activity::Step { run: state.run, function: &state.created.function, step, attempt, change }.emit();
}
