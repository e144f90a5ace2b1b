//! A run as listings show it. The row is written when the run is created and again when it ends,
//! but not in between.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{EventId, RunId, Timestamp};

/// The row of a run in a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRow {
    /// The run's id.
    pub run: RunId,
    /// The id of the run's function.
    pub function: Arc<str>,
    /// The event that started the run.
    pub event: EventId,
    /// When the run was created.
    pub created_at: Timestamp,
    /// When and with which status the run ended; `None` while it is live.
    pub ended: Option<(Timestamp, Status)>,
}

/// The status of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Status {
    /// The run was created, and none of its steps has started.
    Scheduled,
    /// The run has started: it executes a step or waits for something.
    Running,
    /// The run ended with a value.
    Completed,
    /// The run ended with an error.
    Failed,
    /// The run was cancelled.
    Cancelled,
    /// The run ended before it started.
    Skipped,
}

impl Status {
    /// All statuses, in the order of a run's life.
    pub const ALL: [Status; 6] =
        [Self::Scheduled, Self::Running, Self::Completed, Self::Failed, Self::Cancelled, Self::Skipped];

    /// Returns the status in lower case.
    pub fn word(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }

    /// Returns whether this is the status of a run that has ended.
    pub fn is_end(self) -> bool {
        match self {
            Self::Scheduled | Self::Running => false,
            Self::Completed | Self::Failed | Self::Cancelled | Self::Skipped => true,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Scheduled => "Scheduled",
            Self::Running => "Running",
            Self::Completed => "Completed",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
            Self::Skipped => "Skipped",
        })
    }
}

impl FromStr for Status {
    type Err = String;
    /// Parses the name of a status, in upper or lower case.
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|s| s.to_string().eq_ignore_ascii_case(text)).ok_or_else(|| {
            format!("`{text}` is not a status; use Scheduled, Running, Completed, Failed, Cancelled or Skipped")
        })
    }
}
