//! What a function is written with: [`Context`], [`Function`], [`Error`], and [`testing`].
//!
//! A function is an ordinary async fn over a [`Context`]. Its named [steps](Context::step) are
//! recorded, so a run can be suspended and replayed at any of them. Programs use this crate through
//! `stepladder`.
//!
//! Storage, queues and the decision when a step runs are not here. They are the engine's, which
//! knows functions only as [`Program`](stepladder_engine::Program)s.

mod blocking;
mod compensation;
mod context;
mod duration;
mod environment;
pub mod error;
mod event;
mod flow;
mod function;
mod ledger;
mod log;
mod map;
mod poll;
pub mod prelude;
pub mod runtime;
mod session;
mod shared_data;
mod single_calls;
mod step;
pub mod testing;
mod usage;
mod wait;

pub use blocking::blocking;
pub use context::Context;
pub use environment::env;
pub use error::{Error, ErrorCode, Result, ResultExt};
pub use event::{Event, EventData, FunctionFailed, Tick, ToEvent};
pub use flow::{Batch, CancelOn, Concurrency, Debounce, Rate, Singleton, Timeouts};
pub use function::Function;
pub use log::Log;
pub use map::{Map, MapResults, MapRuns};
pub use poll::PollUntil;
pub use serde_json::json;
pub use step::{Invoke, SendEvent, SendEvents, Sleep, Step};
pub use stepladder_core::missed::MissedTicks;
pub use stepladder_core::retry::Backoff;
pub use stepladder_core::{EventId, Failure, Json, NewEvent, RunId, Timestamp, Usage};
/// Implements `EventData` for a type.
///
/// On a struct, `#[event(name = "…")]` sets the event's name:
///
/// ```
/// use stepladder::prelude::*;
///
/// #[derive(Serialize, Deserialize, Event)]
/// #[event(name = "client/enhance.requested")]
/// struct EnhanceRequested { client_id: String }
///
/// assert_eq!(EnhanceRequested::NAME, "client/enhance.requested");
/// ```
///
/// On an enum, each variant contains the data of one event. The enum stands for all of them, and
/// the event's name selects the variant:
///
/// ```
/// # use stepladder::prelude::*;
/// # #[derive(Serialize, Deserialize, Event)]
/// # #[event(name = "client/created")]
/// # struct Created { id: String }
/// # #[derive(Serialize, Deserialize, Event)]
/// # #[event(name = "client/deleted")]
/// # struct Deleted { id: String }
/// #[derive(Deserialize, Event)]
/// #[serde(untagged)]
/// enum Changed { Created(Created), Deleted(Deleted) }
///
/// async fn sync(ctx: Context, event: Event<Changed>) -> Result<()> {
///     match event.data {
///         Changed::Created(Created { id }) => ctx.step("add", async || Ok(drop(id))).await,
///         Changed::Deleted(Deleted { id }) => ctx.step("remove", async || Ok(drop(id))).await,
///     }
/// }
///
/// assert_eq!(Changed::NAMES, ["client/created", "client/deleted"]);
/// ```
///
/// `#[event(crate = "…")]` sets the path of the crate, if it is not `::stepladder`.
pub use stepladder_macros::Event;
pub use usage::record_usage;
pub use uuid::Uuid;
pub use wait::{WaitForEvent, WaitForSignal};

pub(crate) use shared_data::SharedData;

/// What the expansion of `derive(Event)` uses.
#[doc(hidden)]
pub mod __private {
    pub use serde_json::Error as DecodeError;
    pub use serde_json::value::RawValue;

    /// The error for an event that no variant of an enum stands for.
    pub fn unknown_event(name: &str) -> DecodeError {
        serde::de::Error::custom(format_args!("no variant stands for the event `{name}`"))
    }
}
