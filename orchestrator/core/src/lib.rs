//! The rules of a durable run, as pure functions.
//!
//! A run is its [journal]: numbered entries, each with one fact. [`RunState::fold`] computes the
//! state of the run from the entries, [`admits`](RunState::admits) says whether one more fact may
//! be added, and [`decide`] says what may happen next. All results depend only on the arguments:
//! there is no I/O, no clock and no randomness; `now` and seeds are arguments.
//!
//! Storage, queues and the polling of handlers are deliberately not part of this crate: see the
//! crates `engine` and `sdk`.

pub mod activity;
pub mod admits;
pub mod bounds;
pub mod cron;
pub mod decide;
pub mod encrypted;
pub mod event;
pub mod expr;
pub mod failure;
pub mod flow;
pub mod function;
pub mod heartbeat;
pub mod hop;
pub mod id;
pub mod journal;
pub mod json;
pub mod label;
pub mod limits;
pub mod missed;
pub mod own_step;
#[doc(hidden)]
pub mod replay;
pub mod report;
pub mod retry;
pub mod row;
pub mod sentence;
pub mod signal;
pub mod slot;
pub mod source_location;
pub mod spans;
pub mod spec;
pub mod state;
pub mod system;
pub mod time;
pub mod trace;
pub mod version;
pub mod waiting;
pub mod wake;

pub use admits::Refusal;
pub use cron::CronSchedule;
pub use event::{Event, NewEvent};
pub use failure::{ErrorCode, Failure, headline};
pub use function::{ConfigError, FunctionConfig};
pub use id::{EventId, RunId, RunOrStep, StepId};
pub use journal::{Entry, Fact, Outcome, Record, Seq, StepKind};
pub use json::Json;
pub use label::Label;
pub use own_step::OwnStep;
pub use report::{AttemptReport, Usage};
pub use row::{RunRow, Status};
pub use source_location::SourceLocation;
pub use spec::Spec;
pub use state::RunState;
pub use time::Timestamp;
pub use wake::{Timer, Wake, WakeCause};
