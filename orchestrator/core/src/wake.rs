//! Wakes and timers: the messages that make a run move. They may be repeated freely and lost never.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{RunId, StepId, Timestamp};

/// "Move this run." What there is to do is read from the journal, not from the wake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wake {
    /// Which run.
    pub run: RunId,
    /// Why it was sent.
    pub cause: WakeCause,
    /// The queue's fairness group: the function's id, or the key of its limit.
    pub group: Arc<str>,
}

/// Why a wake was sent. For people who read logs; only a cause that names its [step](Cause::step) narrows what the hop
/// does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WakeCause {
    /// The run was created.
    Created,
    /// A cron line of the function in `group` comes at this minute (counted from the epoch): the run begins by this.
    Tick(i64),
    /// A step ended, the next is due.
    Next,
    /// This step, out of many that may run side by side.
    Step(StepId),
    /// A timer's time has come, or a retry's.
    Due,
    /// Somebody else's lease is over: look whether they finished.
    Lease,
    /// A slot may be free.
    Slot,
    /// A run that this one invoked has ended.
    ChildEnded,
    /// What the run waits for has arrived: an event, a signal.
    Arrived,
    /// An event may have met the run while it registered: it lies in the run's inbox.
    Offered,
    /// The storage failed; the same again.
    Again,
    /// The hourly look whether the run still moves.
    Watchdog,
    /// The run was cancelled.
    Cancelled,
    /// The time within which the run was to begin, or to end, is over.
    Deadline,
    /// An invocation had too little time left for what is to start: this one starts it, however little it has itself, so
    /// that nothing is handed on for ever. For this step alone, where that one's wake was.
    Fresh(Option<StepId>),
}

impl WakeCause {
    /// The step that the wake is for, if it is for one alone.
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

    /// The same wake for another reason. One that names its step or its tick, comes from the watchdog or speaks of the
    /// inbox goes on doing so: what the hop does depends on it.
    pub fn replaced_unless_needed(self, reason: WakeCause) -> WakeCause {
        let is_tick = matches!(self, Self::Tick(_));
        let stays = is_tick || self.step().is_some() || matches!(self, Self::Watchdog | Self::Offered);
        if stays { self } else { reason }
    }
}

/// Something to be done at a later minute, kept where the sweep finds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// When.
    pub due: Timestamp,
    /// Whose.
    pub run: RunId,
    /// The run's function: the queue's fairness group.
    pub group: Arc<str>,
    /// What for. A run has at most one timer of a purpose at a time due.
    pub purpose: TimerPurpose,
}

/// What a timer is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TimerPurpose {
    /// Wake the run for this step: a sleep ends, a retry is due.
    Step(StepId),
    /// Look after the run: rule 12.
    Watchdog,
    /// The run was to begin, or to end, by then.
    Deadline,
}
