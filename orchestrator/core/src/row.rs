//! A run as listings show it. Written when the run is created and when it ends, never between.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{EventId, RunId, Timestamp};

/// One row of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRow {
    /// Which run.
    pub run: RunId,
    /// Of which function.
    pub function: Arc<str>,
    /// Started by which event.
    pub event: EventId,
    /// When it was created.
    pub created_at: Timestamp,
    /// How and when it ended; `None` while it lives.
    pub ended: Option<(Timestamp, Status)>,
}

/// The status of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Status {
    /// Created; none of its steps has begun.
    Scheduled,
    /// Under way: a step runs, or it waits for something.
    Running,
    /// Ended with a value.
    Completed,
    /// Ended with an error.
    Failed,
    /// Ended on request.
    Cancelled,
    /// Ended before it began.
    Skipped,
}

impl Status {
    /// All of them, in the order of a run's life.
    pub const ALL: [Status; 6] =
        [Self::Scheduled, Self::Running, Self::Completed, Self::Failed, Self::Cancelled, Self::Skipped];

    /// Whether a run of this status is over.
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
    /// Case does not matter.
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|s| s.to_string().eq_ignore_ascii_case(text)).ok_or_else(|| {
            format!("`{text}` is not a status; use Scheduled, Running, Completed, Failed, Cancelled or Skipped")
        })
    }
}
