//! Wakes and timers: the messages that make a run continue. They may be repeated, but must not be
//! lost.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{RunId, RunOrStep, StepId, Timestamp};

/// A request to continue a run. The journal says what is to be done, not the wake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wake {
    /// The run.
    pub run: RunId,
    /// Why it was sent.
    pub cause: WakeCause,
    /// The queue's fairness group: the function's id or the key of its limit.
    pub group: Arc<str>,
}

/// Why a wake was sent. It is for people who read logs. Only a cause with a [step](WakeCause::step)
/// limits what the hop does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WakeCause {
    /// The run was created.
    Created,
    /// The function in `group` has a cron tick at this minute, counted from the epoch. This wake
    /// creates its run.
    Tick(i64),
    /// A step ended; the next step is due.
    Next,
    /// One of several steps that may run in parallel.
    Step(StepId),
    /// A sleep or a retry is due.
    Due,
    /// The lease of another worker ended: check whether its attempt finished.
    Lease,
    /// A slot may be free.
    Slot,
    /// A child run ended.
    ChildEnded,
    /// An event or a callback arrived.
    Arrived,
    /// An event in the run's inbox may match a wait that the run was just registering.
    Offered,
    /// The storage failed; the hop is repeated.
    Again,
    /// The hourly check that the run still makes progress.
    Watchdog,
    /// The run was cancelled.
    Cancelled,
    /// The time limit for the run's start or end has passed.
    Deadline,
    /// An invocation had too little time left for a body. The next hop starts the body in any case,
    /// so that the run is not handed on forever. With a step, the wake is for this step only.
    Fresh(Option<StepId>),
}

impl WakeCause {
    /// Returns the cause of a wake that promotes a ticket: a step's ticket has a wake of its own.
    pub fn of_ticket(of: RunOrStep) -> Self {
        match of {
            RunOrStep::Run => Self::Slot,
            RunOrStep::Step(step) => Self::Step(step),
        }
    }

    /// Returns the only step that the wake is for; `None` if it is for the whole run.
    pub fn step(&self) -> Option<&StepId> {
        match self {
            Self::Step(step) | Self::Fresh(Some(step)) => Some(step),
            Self::Fresh(None)
            | Self::Created
            | Self::Tick(_)
            | Self::Next
            | Self::Due
            | Self::Lease
            | Self::Slot
            | Self::ChildEnded
            | Self::Arrived
            | Self::Offered
            | Self::Again
            | Self::Watchdog
            | Self::Cancelled
            | Self::Deadline => None,
        }
    }

    /// Returns the wake's cause, replaced by `reason` unless the hop depends on it. The hop depends
    /// on a step, a tick, the watchdog and the inbox.
    pub fn replaced_unless_needed(self, reason: WakeCause) -> WakeCause {
        let is_tick = matches!(self, Self::Tick(_));
        let stays = is_tick || self.step().is_some() || matches!(self, Self::Watchdog | Self::Offered);
        if stays { self } else { reason }
    }
}

/// A wake to be sent at a later time. The sweep finds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// When it is due.
    pub due: Timestamp,
    /// The run.
    pub run: RunId,
    /// The run's function: the queue's fairness group.
    pub group: Arc<str>,
    /// What it is for. A run has at most one timer per purpose and due time.
    pub purpose: TimerPurpose,
}

/// What a timer is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TimerPurpose {
    /// A sleep or a retry is due, of this step or of the whole run.
    #[serde(rename = "Step")]
    Due(RunOrStep),
    /// The hourly check of the run, in case a wake was lost (rule 12).
    Watchdog,
    /// The time limit for the run's start or end.
    Deadline,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purpose_reads_as_version_0_2_0_wrote_it() {
        for (purpose, stored) in [
            (TimerPurpose::Due(RunOrStep::Run), r#"{"Step":""}"#),
            (TimerPurpose::Due(RunOrStep::Step("pay".into())), r#"{"Step":"pay"}"#),
            (TimerPurpose::Watchdog, r#""Watchdog""#),
            (TimerPurpose::Deadline, r#""Deadline""#),
        ] {
            assert_eq!(serde_json::to_string(&purpose).unwrap(), stored);
            assert_eq!(serde_json::from_str::<TimerPurpose>(stored).unwrap(), purpose);
        }
    }
}
