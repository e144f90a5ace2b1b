//! Which encoded values may be at a place of a run. A value that was moved to another place was not
//! written by the function.

use std::sync::Arc;

use stepladder_core::encrypted::{PayloadContext, PayloadPlace};
use stepladder_core::{RunId, StepId};

/// The encoded value that a place of a run may contain.
pub(super) enum Expected<'a> {
    /// The result of this step. A rerun may contain that of the original run.
    Step { id: &'a StepId, is_carried: bool },
    /// The result of a called function.
    Output,
    /// The data of an error, or the state of a poll.
    Error,
    /// The data of an event of this name, or the input of the function.
    Event(&'a str),
    /// Anything but the result of a step.
    NotStep,
}

impl Expected<'_> {
    /// Checks whether a value that was encoded for `context` may be here.
    pub(super) fn check(&self, context: &PayloadContext, run: RunId, function: &Arc<str>) -> Result<(), String> {
        let PayloadContext { place, name, function: of, run: by } = context;
        let is_own = of.as_ref() == Some(function);
        let fits = match self {
            Self::Step { id, is_carried } => {
                let is_of_step = *place == PayloadPlace::Step && name.as_deref() == Some(&***id);
                is_of_step && is_own && (*is_carried || *by == Some(run))
            }
            Self::Output => *place == PayloadPlace::Output,
            Self::Error => *place == PayloadPlace::Error,
            Self::Event(event) => match place {
                PayloadPlace::Event => name.as_deref() == Some(*event),
                PayloadPlace::Input => is_own,
                PayloadPlace::Step | PayloadPlace::Output | PayloadPlace::Error => false,
            },
            Self::NotStep => *place != PayloadPlace::Step,
        };
        if fits {
            return Ok(());
        }
        let origin = String::from_utf8(context.to_bytes()).unwrap_or_default();
        Err(format!("it was encrypted for another place and moved here: {origin}"))
    }
}
