//! The output of the command line, and its exit codes.
//!
//! Colours are always written; they are removed if the output is a pipe, or if `NO_COLOR` is set.
//! If the reader closes the pipe (`stepladder runs | head -1`), the command ends silently.

pub(crate) mod table;
pub(crate) mod text;

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

use owo_colors::OwoColorize;
use serde::Serialize;
use stepladder_api::StepStatus;
use stepladder_core::Status;

/// Why a command ends before it is done.
#[derive(Debug)]
pub(crate) enum StopReason {
    /// The command cannot do its work. The line says why, and what to do.
    Problem(String),
    /// The command did its work, but a run that it followed did not complete. All output was
    /// printed.
    Failed,
    /// The command was stopped immediately by a second Ctrl-C.
    #[cfg(feature = "local")]
    Interrupted,
    /// The command line is invalid. clap has already printed the reason.
    Usage,
    /// The reader of the output has closed the pipe.
    ClosedPipe,
}

pub(crate) type CommandResult = Result<(), StopReason>;

impl StopReason {
    pub(crate) fn problem(sentence: impl Display) -> Self {
        Self::Problem(sentence.to_string())
    }

    /// Prints the problem, if there is one, and returns the exit code.
    pub(crate) fn exit(self) -> ExitCode {
        match self {
            Self::Problem(sentence) => {
                let line = text::one_line(&sentence, usize::MAX);
                // if this fails, the failure cannot be reported anywhere
                let _ = writeln!(anstream::stderr(), "{} {line}", "error:".red().bold());
                ExitCode::FAILURE
            }
            Self::Failed => ExitCode::FAILURE,
            #[cfg(feature = "local")]
            // 128 + SIGINT, as shells do
            Self::Interrupted => ExitCode::from(130),
            Self::Usage => ExitCode::from(2),
            Self::ClosedPipe => ExitCode::SUCCESS,
        }
    }
}

/// Prints one or more lines.
pub(crate) fn print(line: impl Display) -> CommandResult {
    let mut out = anstream::stdout().lock();
    check_written(writeln!(out, "{line}").and_then(|()| out.flush()))
}

/// Converts a value to JSON.
///
/// # Errors
/// The value cannot be converted. This would be a defect of this program.
pub(crate) fn json(value: &impl Serialize) -> Result<String, StopReason> {
    serde_json::to_string(value).map_err(|e| StopReason::problem(format!("the output cannot be written as JSON: {e}")))
}

/// Prints a remark to standard error, because it is not part of the output.
pub(crate) fn print_remark(line: impl Display) -> CommandResult {
    check_written(writeln!(anstream::stderr(), "{line}"))
}

/// Converts the result of writing to the result of a command.
pub(crate) fn check_written(result: io::Result<()>) -> CommandResult {
    result.map_err(|e| match e.kind() {
        ErrorKind::BrokenPipe => StopReason::ClosedPipe,
        _ => StopReason::Problem(format!("the output cannot be written: {e}")),
    })
}

/// Returns whether the output goes to a terminal, where lines can be updated in place.
pub(crate) fn is_watched() -> bool {
    io::stdout().is_terminal() && io::stderr().is_terminal()
}

/// Formats a status in its colour.
pub(crate) fn status(status: Status) -> String {
    match status {
        Status::Scheduled => status.cyan().to_string(),
        Status::Running => status.blue().to_string(),
        Status::Completed => status.green().to_string(),
        Status::Failed => status.red().to_string(),
        Status::Cancelled | Status::Skipped => status.yellow().to_string(),
    }
}

/// Formats the status of a step in its colour.
pub(crate) fn step_status(status: StepStatus) -> String {
    match status {
        StepStatus::Completed => status.green().to_string(),
        StepStatus::Failed => status.red().to_string(),
        StepStatus::Retrying | StepStatus::Abandoned => status.yellow().to_string(),
        StepStatus::Running => status.blue().to_string(),
        StepStatus::Scheduled
        | StepStatus::Sleeping
        | StepStatus::Invoking
        | StepStatus::Awaiting
        | StepStatus::Unknown => status.cyan().to_string(),
    }
}
