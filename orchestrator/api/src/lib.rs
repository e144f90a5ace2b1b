//! The JSON of the REST interface: one set of types, which the server writes and its clients read.
//!
//! These types belong to the interface, not to the engine: a change inside the engine does not
//! change what clients read. Times are RFC 3339 in UTC, except for an event's `ts`, which is a
//! number of milliseconds. A client ignores fields that it does not know, and reads an unknown
//! value of an enum as `Unknown`. So a newer server does not break a client.
//!
//! Two things are deliberately not part of this crate: the conversion from the engine's read
//! models, which belongs to the server, and responses that only clients of Inngest read.

mod app;
mod event;
mod function;
mod journal;
mod request;
mod run;
mod step;
pub mod text;
mod time;

pub use app::{App, AppRemoved, AppSynced, SyncAppRequest};
pub use event::{Event, EventsResponse};
pub use function::{Concurrency, CronSchedule, Function, FunctionPaused, FunctionResumed, LimitScope, Trigger};
pub use journal::{JournalEntry, JournalPage};
pub use request::{NewEvent, RerunAllRequest, RerunRequest, SignalFailure};
pub use run::{
    Failure, HandlerError, HeartbeatEffect, LogLevel, LogLine, Run, RunCancelled, RunDetail, RunOrigin, RunRef,
    SignalCompleted, SignalHeartbeat,
};
pub use step::{Attempt, Step, StepKind, StepStatus, Usage};
pub use time::Time;

use serde::{Deserialize, Serialize};
use stepladder_core::RunId;

/// The envelope of a successful response.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DataResponse<T> {
    /// The requested value.
    pub data: T,
}

/// One page of a list of runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items, newest first.
    pub data: Vec<T>,
    /// The value of the parameter `cursor` in the request for the next page; `None` on the last
    /// page.
    pub cursor: Option<RunId>,
    /// How many runs a search for a text has read; `None` for other listings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub searched: Option<usize>,
}

/// The response to a request that was refused or that failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ErrorResponse {
    /// One sentence that says what is wrong and what to do.
    pub error: String,
}

/// The replacement for a value that is too large for a response.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OmittedValue {
    /// A link to the value that was left out.
    pub stepladder_left_out: ValueLink,
}

/// A link to a value that was left out of a response.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ValueLink {
    /// The size of the value, in bytes.
    pub bytes: usize,
    /// The path of the value on the same server.
    pub href: String,
}
