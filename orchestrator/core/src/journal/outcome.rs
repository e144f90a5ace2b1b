//! What kind of step an outcome belongs to, and how the step ended.

use serde::{Deserialize, Serialize};

use crate::Json;
use crate::journal::Failure;

/// The kind of a step. A recorded outcome of one kind is never returned to a step of another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StepKind {
    /// A step with a body.
    Run,
    /// A sleep.
    Sleep,
    /// A step that sends events.
    Send,
    /// A call of another function.
    Invoke,
    /// A wait for an event.
    Event,
    /// A wait for a callback.
    Signal,
}

/// How a step ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// The step succeeded with this value.
    Value(Json),
    /// The step failed with this failure and is not retried.
    Failed(Failure),
}
