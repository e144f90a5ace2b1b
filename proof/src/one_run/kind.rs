//! The kind of step that an entry shows.

use stepladder_core::journal::{Fact, StepKind};

/// Returns the kind of step that an entry belongs to; `None` if the entry does not show it.
pub(super) fn kind_of(fact: &Fact) -> Option<StepKind> {
    match fact {
        Fact::StepStarted { .. }
        | Fact::StepSucceeded { .. }
        | Fact::StepFailed { .. }
        | Fact::AttemptInterrupted { .. }
        | Fact::AttemptUnreachable { .. }
        | Fact::StepAbandoned { .. } => Some(StepKind::Run),
        Fact::StepCarriedOver { kind, .. } => Some(*kind),
        Fact::SleepStarted { .. } | Fact::SleepEnded { .. } => Some(StepKind::Sleep),
        Fact::EventsSent { .. } => Some(StepKind::Send),
        Fact::InvokeStarted { .. } | Fact::InvokeEnded { .. } => Some(StepKind::Invoke),
        Fact::EventAwaited { .. } | Fact::EventDelivered { .. } => Some(StepKind::Event),
        Fact::SignalAwaited { .. }
        | Fact::SignalReceived { .. }
        | Fact::SignalFailed { .. }
        | Fact::HeartbeatReceived { .. }
        | Fact::HeartbeatMissed { .. } => Some(StepKind::Signal),
        // These entries occur for steps with a body, for calls, and for waits.
        Fact::StepRefused { .. } | Fact::WaitExpired { .. } | Fact::WaitSkipped { .. } => None,
        Fact::RunCreated(_)
        | Fact::EventJoined { .. }
        | Fact::CollectingEnded
        | Fact::RunDelayed { .. }
        | Fact::RunAdmitted
        | Fact::StepsWoken { .. }
        | Fact::VersionChosen { .. }
        | Fact::LogWritten { .. }
        | Fact::LabelsAdded { .. }
        | Fact::HandlerFailed { .. }
        | Fact::ExecutorUnreachable { .. }
        | Fact::ExecutorReached
        | Fact::CallStarted { .. }
        | Fact::CallEnded { .. }
        | Fact::RunCompleted { .. }
        | Fact::RunFailed { .. }
        | Fact::RunCancelled { .. }
        | Fact::RunSkipped { .. } => None,
    }
}
