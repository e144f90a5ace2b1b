//! The kinds of activity that a process reports in its log.
//!
//! Metrics, saved log queries and `stepladder dev` recognise a log line by its kind, so the
//! sentence of the line may change. The engine's `activity` module emits the lines.

use std::str::FromStr;

/// The log field that contains the [name](ActivityKind::name) of the line's kind.
pub const ACTIVITY_FIELD: &str = "activity";

/// The tracing target of log lines about runs and their steps.
pub const RUN_TARGET: &str = "stepladder::run";

/// The tracing target of log lines about sweeps.
pub const SWEEP_TARGET: &str = "stepladder::sweep";

/// The tracing target of log lines about errors that no retry can fix.
pub const PERMANENT_TARGET: &str = "stepladder::permanent";

/// What happened, without details such as the run or the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActivityKind {
    /// A run executed its handler for the first time.
    RunStarted,
    /// A run ended. The line also reports its `status`.
    RunEnded,
    /// The body of a step started.
    StepStarted,
    /// An attempt of a step returned a value.
    StepSucceeded,
    /// An attempt of a step failed. Another attempt may follow.
    StepFailed,
    /// A polling step checked its condition, which was not met yet.
    StepChecked,
    /// The worker of an attempt died.
    StepInterrupted,
    /// A step found no free slot and was enqueued.
    StepEnqueued,
    /// A sweep was completed.
    SweepCompleted,
    /// An operation failed with an error that no retry can fix.
    PermanentError,
}

impl ActivityKind {
    /// All kinds of activity.
    pub const ALL: [Self; 10] = [
        Self::RunStarted,
        Self::RunEnded,
        Self::StepStarted,
        Self::StepSucceeded,
        Self::StepFailed,
        Self::StepChecked,
        Self::StepInterrupted,
        Self::StepEnqueued,
        Self::SweepCompleted,
        Self::PermanentError,
    ];

    /// Returns the name of this kind: the value of the log field `activity`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RunStarted => "run_started",
            Self::RunEnded => "run_ended",
            Self::StepStarted => "step_started",
            Self::StepSucceeded => "step_succeeded",
            Self::StepFailed => "step_failed",
            Self::StepChecked => "step_checked",
            Self::StepInterrupted => "step_interrupted",
            Self::StepEnqueued => "step_enqueued",
            Self::SweepCompleted => "sweep_completed",
            Self::PermanentError => "permanent_error",
        }
    }

    /// The tracing target under which lines of this kind are emitted.
    #[must_use]
    pub const fn target(self) -> &'static str {
        match self {
            Self::RunStarted
            | Self::RunEnded
            | Self::StepStarted
            | Self::StepSucceeded
            | Self::StepFailed
            | Self::StepChecked
            | Self::StepInterrupted
            | Self::StepEnqueued => RUN_TARGET,
            Self::SweepCompleted => SWEEP_TARGET,
            Self::PermanentError => PERMANENT_TARGET,
        }
    }
}

/// The error for a string that is not the name of an activity kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a kind of activity")]
pub struct UnknownActivity(String);

impl FromStr for ActivityKind {
    type Err = UnknownActivity;

    fn from_str(name: &str) -> Result<Self, UnknownActivity> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| UnknownActivity(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_found_by_its_name() {
        for kind in ActivityKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        let error = "run started".parse::<ActivityKind>().unwrap_err();
        assert_eq!(error.to_string(), "`run started` is not a kind of activity");
    }
}
