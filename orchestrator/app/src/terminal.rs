//! What the command line writes, and how it ends.
//!
//! Colours are written always and taken out where nobody sees them: in a pipe, under `NO_COLOR`. A reader that goes
//! away (`stepladder runs | head -1`) ends the command silently.

pub(crate) mod table;
pub(crate) mod text;

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

use owo_colors::OwoColorize;
use serde::Serialize;
use stepladder_api::StepStatus;
use stepladder_core::Status;

/// Why a command ends before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It cannot do what it was asked for; one line that says why and what to do.
    Problem(String),
    /// It did what it was asked for, and what it looked at has failed; all has been said.
    Failed,
    /// Asked twice to stop.
    #[cfg(feature = "local")]
    Interrupted,
    /// The command line makes no sense; clap has said why.
    Usage,
    /// Nobody reads what it writes.
    ClosedPipe,
}

/// How a command ends.
pub(crate) type Done = Result<(), Stop>;

impl Stop {
    pub(crate) fn problem(sentence: impl Display) -> Self {
        Self::Problem(sentence.to_string())
    }

    /// Says what there is to say, and gives the process's exit code.
    pub(crate) fn exit(self) -> ExitCode {
        match self {
            Self::Problem(sentence) => {
                let line = text::one_line(&sentence, usize::MAX);
                // there is nowhere left to report that this cannot be written
                let _ = writeln!(anstream::stderr(), "{} {line}", "error:".red().bold());
                ExitCode::FAILURE
            }
            Self::Failed => ExitCode::FAILURE,
            #[cfg(feature = "local")]
            // 128 + SIGINT, as shells count
            Self::Interrupted => ExitCode::from(130),
            Self::Usage => ExitCode::from(2),
            Self::ClosedPipe => ExitCode::SUCCESS,
        }
    }
}

/// Writes one line, or several.
pub(crate) fn print(line: impl Display) -> Done {
    let mut out = anstream::stdout().lock();
    written(writeln!(out, "{line}").and_then(|()| out.flush()))
}

/// Writes a value as JSON.
///
/// # Errors
/// Where a type of this program cannot be written, which is a defect of it.
pub(crate) fn json(value: &impl Serialize) -> Result<String, Stop> {
    serde_json::to_string(value).map_err(|e| Stop::problem(format!("the output cannot be written as JSON: {e}")))
}

/// Writes a remark that is not the command's output.
pub(crate) fn remark(line: impl Display) -> Done {
    written(writeln!(anstream::stderr(), "{line}"))
}

/// What came of writing.
pub(crate) fn written(result: io::Result<()>) -> Done {
    result.map_err(|e| match e.kind() {
        ErrorKind::BrokenPipe => Stop::ClosedPipe,
        _ => Stop::Problem(format!("the output cannot be written: {e}")),
    })
}

/// Whether a person watches: then lines may move.
pub(crate) fn is_watched() -> bool {
    io::stdout().is_terminal() && io::stderr().is_terminal()
}

/// A status in its colour.
pub(crate) fn status(status: Status) -> String {
    match status {
        Status::Scheduled => status.cyan().to_string(),
        Status::Running => status.blue().to_string(),
        Status::Completed => status.green().to_string(),
        Status::Failed => status.red().to_string(),
        Status::Cancelled | Status::Skipped => status.yellow().to_string(),
    }
}

/// A step's status in its colour.
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
