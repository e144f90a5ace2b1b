//! How a run ended.

use std::sync::Arc;

use crate::journal::{Entry, Fact, Failure, Outcome};
use crate::row::Status;
use crate::{ErrorCode, Json, Timestamp};

/// When and how a run ended.
#[derive(Clone, Debug)]
pub struct RunEnd {
    /// When the run ended.
    pub at: Timestamp,
    /// How the run ended.
    pub how: RunOutcome,
}

impl RunEnd {
    /// Returns the end that an entry records; `None` for every other entry.
    pub fn from(entry: &Entry) -> Option<Self> {
        let how = match &entry.fact {
            Fact::RunCompleted { output } => RunOutcome::Completed(output.clone()),
            Fact::RunFailed { error } => RunOutcome::Failed(error.clone()),
            Fact::RunCancelled { reason } => RunOutcome::Cancelled(reason.clone()),
            Fact::RunSkipped { reason } => RunOutcome::Skipped(reason.clone()),
            _ => return None,
        };
        Some(Self { at: entry.at, how })
    }
}

/// How a run ended.
#[derive(Clone, Debug)]
pub enum RunOutcome {
    /// The handler returned this value.
    Completed(Json),
    /// The handler failed with this error.
    Failed(Failure),
    /// The run was cancelled for this reason.
    Cancelled(Arc<str>),
    /// The run ended before it started, for this reason.
    Skipped(Arc<str>),
}

impl RunOutcome {
    /// Returns the status of a run that ended this way.
    pub fn status(&self) -> Status {
        match self {
            Self::Completed(_) => Status::Completed,
            Self::Failed(_) => Status::Failed,
            Self::Cancelled(_) => Status::Cancelled,
            Self::Skipped(_) => Status::Skipped,
        }
    }

    /// Returns the outcome of the step that called this run.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Completed(output) => Outcome::Value(output.clone()),
            Self::Failed(error) => Outcome::Failed(error.clone()),
            Self::Cancelled(reason) => Outcome::Failed(Failure::with_code(
                format!("the invoked run was cancelled: {reason}"),
                ErrorCode::Cancelled,
            )),
            Self::Skipped(reason) => Outcome::Failed(Failure::with_code(
                format!("the invoked run was skipped: {reason}"),
                ErrorCode::Skipped,
            )),
        }
    }
}
