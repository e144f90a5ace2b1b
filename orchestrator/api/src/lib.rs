//! The JSON of the REST interface: one set of types, which the server writes and its clients read.
//!
//! These types are the interface's, not the engine's: a change inside the engine does not change
//! what clients read. Times are RFC 3339 in UTC, except for an event's `ts`, which is integer
//! milliseconds. A client ignores fields that it does not know, and reads an unknown word of an
//! enum as `Unknown`, so that a newer server does not break it.
//!
//! What is deliberately not here: the conversion from the engine's read models, which the server
//! owns, and the shapes that only clients of Inngest probe.

mod event;
mod function;
mod journal;
mod request;
mod run;
mod step;
pub mod text;
mod time;

pub use event::{Event, EventsAnswer};
pub use function::{Concurrency, CronSchedule, Function, FunctionPaused, FunctionResumed, LimitScope, Trigger};
pub use journal::{JournalEntry, JournalPage};
pub use request::{NewEvent, RerunAllRequest, RerunRequest};
pub use run::{
    Failure, HandlerError, LogLevel, LogLine, Origin, Run, RunCancelled, RunDetail, RunRef, SignalCompleted,
};
pub use step::{Attempt, Step, StepKind, StepStatus, Usage};
pub use time::Time;

use serde::{Deserialize, Serialize};
use stepladder_core::RunId;

/// The envelope of a response.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Data<T> {
    /// What was asked for.
    pub data: T,
}

/// One page of a list of runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items, newest first.
    pub data: Vec<T>,
    /// The `cursor` of the request for the next page; `None` on the last page.
    pub cursor: Option<RunId>,
}

/// The response to a request that cannot be served.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ErrorAnswer {
    /// One sentence: what is wrong, and what to do.
    pub error: String,
}

/// What stands in the place of a value that is too large for a response.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LeftOut {
    /// Where the value is.
    pub stepladder_left_out: Link,
}

/// Where a value that was left out can be read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Link {
    /// The size of the value.
    pub bytes: usize,
    /// The path of the value at the same server.
    pub href: String,
}
