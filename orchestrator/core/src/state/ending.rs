//! How a run ended.

use std::sync::Arc;

use crate::journal::{Entry, Fact, Failure, Outcome};
use crate::row::Status;
use crate::{Json, Timestamp};

/// How a run ended, and when.
#[derive(Clone, Debug)]
pub struct RunEnd {
    /// When.
    pub at: Timestamp,
    /// How.
    pub how: RunOutcome,
}

impl RunEnd {
    /// The end that an entry records, if it records one.
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
    /// With a value.
    Completed(Json),
    /// With an error.
    Failed(Failure),
    /// On request.
    Cancelled(Arc<str>),
    /// Before it began.
    Skipped(Arc<str>),
}

impl RunOutcome {
    /// The word for it.
    pub fn status(&self) -> Status {
        match self {
            Self::Completed(_) => Status::Completed,
            Self::Failed(_) => Status::Failed,
            Self::Cancelled(_) => Status::Cancelled,
            Self::Skipped(_) => Status::Skipped,
        }
    }

    /// What a run that waits for this one is told.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Completed(output) => Outcome::Value(output.clone()),
            Self::Failed(error) => Outcome::Failed(error.clone()),
            Self::Cancelled(reason) => Outcome::Failed(Failure {
                message: format!("the invoked run was cancelled: {reason}"),
                code: Some("cancelled".into()),
            }),
            Self::Skipped(reason) => Outcome::Failed(Failure {
                message: format!("the invoked run was skipped: {reason}"),
                code: Some("skipped".into()),
            }),
        }
    }
}
