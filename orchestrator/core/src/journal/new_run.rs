//! The data from which a run is created.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::is_false;
use crate::{Event, Label, RunId, StepId, Timestamp};

/// The data of entry 0: what a run is created from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewRun {
    /// The function's id.
    pub function: Arc<str>,
    /// The event that started the run, in full, so that reading the run needs no second read.
    pub event: Event,
    /// What created the run.
    pub origin: RunOrigin,
    /// The earliest time at which the run may start, if its start is delayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begins_at: Option<Timestamp>,
    /// Whether further events may join the run until it starts.
    #[serde(default, skip_serializing_if = "is_false")]
    pub collects: bool,
    /// The run that this run replaces: it is cancelled before this run starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<RunId>,
    /// Whether this run is cancelled if the run that called it ends first.
    #[serde(default, skip_serializing_if = "is_false")]
    pub bound: bool,
    /// The labels of the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Label>,
}

impl NewRun {
    /// Creates the data of a run of this function with this event and without a delay.
    pub fn new(function: Arc<str>, event: Event, origin: RunOrigin) -> Self {
        Self {
            function,
            event,
            origin,
            begins_at: None,
            collects: false,
            replaces: None,
            bound: false,
            labels: Vec::new(),
        }
    }
}

/// What created a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the variants are explained; their fields are named by what they hold")]
pub enum RunOrigin {
    /// An event that matches a trigger of the function.
    Event,
    /// A step of another run, which waits for the end of this run.
    Invoke { parent: RunId, step: StepId },
    /// The failure of another run, which this run handles.
    Failure { of: RunId },
    /// A user reran another run.
    Rerun { of: RunId },
    /// A tick of the function's cron schedule.
    Cron,
}
