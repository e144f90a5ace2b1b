//! Logs what runs, sweeps and workers do, for metrics and for people.
//!
//! Each log line has the field `activity`, which names its [`ActivityKind`]. Times are in
//! milliseconds. Metrics count the lines. Therefore each fact is logged exactly once: by the
//! process that wrote it to the journal, after the write.

use std::time::Duration;

use stepladder_core::activity::{ActivityKind, PERMANENT_TARGET, RUN_TARGET, SWEEP_TARGET};
use stepladder_core::{RunId, Status, StepId, Timestamp};
use tracing::field::display;

/// Something that a process did, with its details.
#[derive(Debug, Clone, Copy)]
pub enum Activity<'a> {
    /// A run executed its handler for the first time.
    RunStarted {
        /// The run.
        run: RunId,
        /// The id of the run's function.
        function: &'a str,
    },
    /// A run ended.
    RunEnded {
        /// The run.
        run: RunId,
        /// The id of the run's function.
        function: &'a str,
        /// The status with which the run ended.
        status: Status,
        /// The time since the run was created.
        took: Duration,
        /// The message of the error, if the run failed.
        error: Option<&'a str>,
    },
    /// Something happened to an attempt of a step.
    Step {
        /// The run.
        run: RunId,
        /// The id of the run's function.
        function: &'a str,
        /// The step.
        step: &'a StepId,
        /// The number of the attempt, from 1.
        attempt: u32,
        /// What happened to the attempt.
        change: StepChange<'a>,
    },
    /// A sweep was completed.
    SweepCompleted {
        /// The number of timers that the sweep fired.
        timers: usize,
        /// The number of runs that the sweep checked because their watchdog was due.
        watched: usize,
    },
    /// An operation failed with an error that no retry can fix.
    PermanentError {
        /// The run that the error concerns, if any.
        run: Option<RunId>,
        /// The operation that failed, for example `move a run`.
        doing: &'a str,
        /// The message of the error.
        error: &'a str,
        /// What an operator can do about the error.
        advice: &'a str,
    },
}

/// What happened to an attempt of a step.
#[derive(Debug, Clone, Copy)]
pub enum StepChange<'a> {
    /// The body of the step started.
    Started,
    /// The body of the step returned a value.
    Succeeded {
        /// The execution time of the body.
        took: Duration,
    },
    /// The body of the step failed.
    Failed {
        /// The execution time of the body.
        took: Duration,
        /// The message of the error.
        error: &'a str,
        /// The time of the next attempt, if there is one.
        retry_at: Option<Timestamp>,
    },
    /// The body of the step checked a condition that is not true yet (`ctx.poll_until`).
    Checked {
        /// The execution time of the body.
        took: Duration,
        /// The time of the next check, if there is one.
        retry_at: Option<Timestamp>,
    },
    /// The worker of the attempt died.
    Interrupted,
    /// The step found no free slot and was enqueued.
    Enqueued {
        /// The key of the limit.
        limit: &'a str,
    },
}

impl Activity<'_> {
    /// Returns the kind of this activity. Logs and metrics use its name.
    #[must_use]
    pub const fn kind(&self) -> ActivityKind {
        match self {
            Self::RunStarted { .. } => ActivityKind::RunStarted,
            Self::RunEnded { .. } => ActivityKind::RunEnded,
            Self::Step { change, .. } => match change {
                StepChange::Started => ActivityKind::StepStarted,
                StepChange::Succeeded { .. } => ActivityKind::StepSucceeded,
                StepChange::Failed { .. } => ActivityKind::StepFailed,
                StepChange::Checked { .. } => ActivityKind::StepChecked,
                StepChange::Interrupted => ActivityKind::StepInterrupted,
                StepChange::Enqueued { .. } => ActivityKind::StepEnqueued,
            },
            Self::SweepCompleted { .. } => ActivityKind::SweepCompleted,
            Self::PermanentError { .. } => ActivityKind::PermanentError,
        }
    }

    /// Writes the log line of this activity.
    pub fn emit(&self) {
        let activity = self.kind().name();
        match *self {
            Self::RunStarted { run, function } => {
                tracing::info!(target: RUN_TARGET, activity, %run, %function, "run started");
            }
            Self::RunEnded { run, function, status, took, error } => {
                let ms = millis(took);
                tracing::info!(target: RUN_TARGET, activity, %run, %function, %status, ms, error, "run ended");
            }
            Self::Step { run, function, step, attempt, change } => match change {
                StepChange::Started => {
                    tracing::info!(target: RUN_TARGET, activity, %run, %function, %step, attempt, "step started");
                }
                StepChange::Succeeded { took } => {
                    let ms = millis(took);
                    tracing::info!(target: RUN_TARGET, activity, %run, %function, %step, attempt, ms, "step succeeded");
                }
                StepChange::Failed { took, error, retry_at } => {
                    let (ms, retry_at) = (millis(took), retry_at.map(display));
                    tracing::info!(
                        target: RUN_TARGET, activity, %run, %function, %step, attempt, ms, error, retry_at, "step failed"
                    );
                }
                StepChange::Checked { took, retry_at } => {
                    let (ms, retry_at) = (millis(took), retry_at.map(display));
                    tracing::info!(
                        target: RUN_TARGET, activity, %run, %function, %step, attempt, ms, retry_at, "step checked"
                    );
                }
                StepChange::Interrupted => {
                    tracing::info!(target: RUN_TARGET, activity, %run, %function, %step, attempt, "step interrupted");
                }
                StepChange::Enqueued { limit } => {
                    tracing::info!(
                        target: RUN_TARGET, activity, %run, %function, %step, attempt, key = %limit,
                        "step waits for a slot"
                    );
                }
            },
            Self::SweepCompleted { timers, watched } => {
                tracing::info!(target: SWEEP_TARGET, activity, timers, watched, "sweep completed");
            }
            Self::PermanentError { run, doing, error, advice } => {
                let run = run.map(display);
                tracing::error!(target: PERMANENT_TARGET, activity, run, doing, %error, advice, "permanent error");
            }
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
