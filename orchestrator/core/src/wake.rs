//! Wakes and timers: the messages that make a run continue. A wake may be repeated, but must not be
//! lost.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{RunId, RunOrStep, StepId, Timestamp};

/// A request to continue a run. A wake does not say what to do next: the journal does.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Wake {
    /// The run to continue.
    pub run: RunId,
    /// Why the wake was sent.
    pub cause: WakeCause,
    /// The queue's fairness group: the function's id or the key of its limit.
    pub group: Arc<str>,
}

/// Why a wake was sent. The cause is mainly for people who read logs: only a cause with a
/// [step](WakeCause::step) limits what the hop does.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WakeCause {
    /// The run was created.
    Created,
    /// The cron schedule of the function in `group` has a tick in this minute, counted from the
    /// epoch. This wake creates the run of the tick.
    Tick(i64),
    /// A step ended, so the next step is due.
    Next,
    /// This step may start. It is one of several steps that may run in parallel.
    Step(StepId),
    /// A sleep or a retry is due.
    Due,
    /// The lease of another worker expired: the hop checks whether that worker's attempt finished.
    Lease,
    /// A slot may be free.
    Slot,
    /// A called run ended.
    ChildEnded,
    /// An event or a callback arrived.
    Arrived,
    /// An event in the run's inbox may match a wait that the run was registering at that time.
    Offered,
    /// The storage failed, so the hop is repeated.
    Again,
    /// The hourly check that the run still makes progress.
    Watchdog,
    /// The run was cancelled.
    Cancelled,
    /// The time limit for the run's start or end has passed.
    Deadline,
    /// A heartbeat of this step's wait is due at this time. If the wait has got another heartbeat
    /// since, a later wake is for the next one, and this wake is for nothing.
    Heartbeat {
        /// The step that waits for a callback.
        step: StepId,
        /// When the heartbeat is due.
        due: Timestamp,
    },
    /// A Lambda invocation had too little time left to execute a body. The next hop executes it in
    /// any case, so that the run is not passed on forever. With a step, the wake is for this step
    /// only.
    Fresh(Option<StepId>),
}

impl WakeCause {
    /// Returns the cause of a wake that promotes a ticket. The wake for a step's ticket is for that
    /// step only.
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
            | Self::Deadline
            | Self::Heartbeat { .. } => None,
        }
    }

    /// Returns this cause if the hop depends on it; otherwise returns `reason`. The hop depends on
    /// causes with a step or a tick, on heartbeats, on the watchdog and on the inbox.
    pub fn replaced_unless_needed(self, reason: WakeCause) -> WakeCause {
        let is_tick = matches!(self, Self::Tick(_));
        let stays =
            is_tick || self.step().is_some() || matches!(self, Self::Watchdog | Self::Offered | Self::Heartbeat { .. });
        if stays { self } else { reason }
    }
}

/// A wake that is sent at a later time, when the sweep finds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Timer {
    /// When the timer is due.
    pub due: Timestamp,
    /// The run to wake.
    pub run: RunId,
    /// The id of the run's function, which is the queue's fairness group.
    pub group: Arc<str>,
    /// What the timer is for. A run has at most one timer per purpose and due time.
    pub purpose: TimerPurpose,
}

/// What a timer is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TimerPurpose {
    /// A sleep or a retry of this step, or of the whole run, is due.
    #[serde(rename = "Step")]
    Due(RunOrStep),
    /// The hourly check of the run, in case a wake was lost (rule 12).
    Watchdog,
    /// The time limit for the run's start or end.
    Deadline,
    /// A heartbeat of this step's wait is due.
    Heartbeat(StepId),
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
            (TimerPurpose::Heartbeat("pay".into()), r#"{"Heartbeat":"pay"}"#),
        ] {
            assert_eq!(serde_json::to_string(&purpose).unwrap(), stored);
            assert_eq!(serde_json::from_str::<TimerPurpose>(stored).unwrap(), purpose);
        }
    }
}
