//! What the kind of a fact says about its run.

use super::{Entry, Fact};

impl Fact {
    /// Returns whether the fact proves that the handler was running, because only a request of a
    /// handler causes it. Outcomes prove nothing, because they may arrive while the handler waits.
    pub fn is_requested_by_handler(&self) -> bool {
        matches!(
            self,
            Self::StepStarted { .. }
                | Self::CallStarted { .. }
                | Self::StepsWoken { .. }
                | Self::SleepStarted { .. }
                | Self::EventsSent { .. }
                | Self::InvokeStarted { .. }
                | Self::EventAwaited { .. }
                | Self::SignalAwaited { .. }
        )
    }

    /// Returns whether this kind of fact starts the run, because it proves that the handler was
    /// executed.
    pub(crate) fn starts_run(&self) -> bool {
        self.is_requested_by_handler()
            || matches!(self, Self::HandlerFailed { .. } | Self::RunCompleted { .. } | Self::RunFailed { .. })
    }

    /// Returns whether something arrived that no hop has handled yet. `before` says whether that
    /// was so before this fact.
    pub(crate) fn leaves_arrival(&self, before: bool) -> bool {
        matches!(self, Self::EventDelivered { .. } | Self::SignalReceived { .. } | Self::SignalFailed { .. })
            || (before && matches!(self, Self::HeartbeatReceived { .. }))
    }

    /// Returns whether the fact is allowed while a run collects events. These facts are: a further
    /// event, the end of collecting, and an end of the run without a handler.
    pub fn may_precede_start(&self) -> bool {
        matches!(
            self,
            Self::EventJoined { .. }
                | Self::CollectingEnded
                | Self::RunFailed { .. }
                | Self::RunCancelled { .. }
                | Self::RunSkipped { .. }
        )
    }

    /// Returns whether the fact ends the run.
    pub fn is_end(&self) -> bool {
        matches!(
            self,
            Self::RunCompleted { .. } | Self::RunFailed { .. } | Self::RunCancelled { .. } | Self::RunSkipped { .. }
        )
    }

    /// Returns whether losing this entry in a crash is harmless, because it contains no outcome. A
    /// lost log line is written again by the next replay. The start of a step that starts at most
    /// once must not be lost, because without it the step would start again. On one machine, a
    /// write that contains only such facts needs no sync: the next synced write includes it.
    pub fn is_bookkeeping(&self) -> bool {
        matches!(
            self,
            Self::StepStarted { at_most_once: false, .. }
                | Self::AttemptInterrupted { .. }
                | Self::AttemptUnreachable { .. }
                | Self::ExecutorUnreachable { .. }
                | Self::ExecutorReached
                | Self::CallStarted { .. }
                | Self::CallEnded { .. }
                | Self::RunAdmitted
                | Self::LogWritten { .. }
                | Self::VersionChosen { .. }
        )
    }
}

/// Returns whether an entry is the start of an attempt with its outcome among these other entries.
/// Such a step was executed during a call of the executor.
pub(crate) fn is_executed(entry: &Entry, others: &[Entry]) -> bool {
    let Fact::StepStarted { step, attempt, .. } = &entry.fact else { return false };
    others.iter().any(|other| match &other.fact {
        Fact::StepSucceeded { step: of, attempt: number, .. } | Fact::StepFailed { step: of, attempt: number, .. } => {
            of == step && number == attempt
        }
        _ => false,
    })
}
