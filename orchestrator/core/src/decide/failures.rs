//! The failures of steps that may not start, or not start again.

use std::fmt;
use std::time::Duration;

use crate::decide::Want;
use crate::state::Step;
use crate::{ErrorCode, Failure};

/// Creates the failure for a step that starts at most once and has an attempt without an outcome.
/// `what` says what happened to the attempt, as the predicate of a sentence.
pub(crate) fn outcome_unknown(step: &str, what: impl fmt::Display) -> Failure {
    Failure::with_code(
        format!("step `{step}` {what}; it starts at most once, so find out whether it took effect"),
        ErrorCode::OutcomeUnknown,
    )
}

/// Creates the failure for a step that starts at most once and was interrupted.
pub(super) fn interrupted_once(step: &str) -> Failure {
    outcome_unknown(step, "was interrupted: its worker died, or the function dropped it")
}

/// Creates the failure for a step with a timeout that no worker allows.
pub(super) fn too_long(step: &str, timeout: Duration, longest: Duration) -> Failure {
    Failure::with_code(
        format!(
            "step `{step}` has a time-out of {timeout:?}, but a worker has at most {longest:?} for a step; \
             split the step, shorten its time-out or give the workers more time"
        ),
        ErrorCode::TimeoutTooLong,
    )
}

/// Creates the failure for a step that was interrupted too often.
pub(super) fn interrupted(step: &str, times: u32) -> Failure {
    Failure::with_code(
        format!(
            "step `{step}` was interrupted {times} times in a row: its worker died each time before it ended \
             (out of memory? out of time?)"
        ),
        ErrorCode::Interrupted,
    )
}

/// Creates the failure for a step that the journal contains under the same id with another kind.
pub(super) fn other_kind(want: &Want, step: &Step) -> Failure {
    let message = format!("nondeterminism: {}", want.describe_kind_mismatch(step.kind));
    Failure::with_code(message, ErrorCode::Nondeterminism)
}
