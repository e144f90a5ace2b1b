//! What a function is written with.
//!
//! A function is an ordinary async fn over a [`Context`]; its named [steps](Context::step) are remembered, so that it
//! can be stopped and replayed at any of them. This crate has the [`Context`], the [`Function`] that carries it, the
//! [`Error`] that says what to retry, and [`testing`] to run it all on a virtual clock.
//!
//! What is deliberately not here: storage, queues, and when a step may run; that is the engine, which knows this crate
//! only through its [`Program`](stepladder_engine::Program) seam.

mod blocking;
mod board;
mod context;
mod environment;
pub mod error;
mod event;
mod flow;
mod function;
mod log;
mod map;
mod once;
mod poll;
pub mod prelude;
mod session;
mod states;
mod step;
pub mod testing;
mod undo;
mod usage;
mod wait;

pub use blocking::blocking;
pub use context::{Context, Moment};
pub use environment::{env, override_env};
pub use error::{Error, Result, ResultExt};
pub use event::{Event, EventData, FunctionFailed, Tick, ToEvent};
pub use flow::{Batch, CancelOn, Concurrency, Debounce, Rate, Singleton};
pub use function::Function;
pub use log::Log;
pub use map::{Map, MapResults};
pub use poll::PollUntil;
pub use serde_json::json;
pub use states::States;
pub use step::Step;
pub use stepladder_core::missed::MissedTicks;
pub use stepladder_core::retry::{Backoff, Retry};
pub use stepladder_core::{EventId, Failure, Json, NewEvent, RunId, Timestamp, Usage};
pub use usage::usage;
pub use uuid::Uuid;
pub use wait::{WaitForEvent, WaitForSignal};
