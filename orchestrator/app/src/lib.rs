//! Durable functions: ordinary async Rust made of named steps. The result of each step is
//! remembered, so that a finished step is not executed again.
//!
//! This is the only crate that a program depends on. It exports everything that is needed to write
//! functions ([`prelude`], [`Context`], [`Function`]) and to test them ([`testing`]). [`App`] is
//! the whole program: the command line, the local server and the roles on AWS.
//!
//! The crates `stepladder-core` and `stepladder-engine` execute runs. Their types are not exported,
//! except the few that functions use, such as [`Timestamp`].
//!
//! # Features
//! - `cli`: the command line, with the commands that talk to a server elsewhere.
//! - `local` (default): the local server `dev`, with SQLite and the HTTP API. Includes `cli`.
//! - `aws`: the roles of a Lambda function, and `--table` of the command line. A binary
//!   for Lambda has only this feature, which keeps the binary small.
//! - `otel`: traces and metrics over OTLP, for the local server and on Lambda; `otel-grpc`: also
//!   over gRPC.
//! - `encryption`: `Encryption`, which encrypts values before they reach the journal.

mod app;
#[cfg(any(feature = "local", feature = "aws"))]
mod apps;
#[cfg(feature = "cli")]
mod cli;
#[cfg(feature = "cli")]
mod client;
mod dev_setup;
#[cfg(doctest)]
mod documents;
#[cfg(feature = "cli")]
mod follow;
#[cfg(feature = "cli")]
mod journals;
#[cfg(feature = "aws")]
mod lambda;
#[cfg(feature = "cli")]
mod mcp;
#[cfg(any(feature = "local", feature = "aws"))]
mod storage;
#[cfg(any(feature = "local", feature = "aws"))]
mod telemetry;
#[cfg(feature = "cli")]
mod terminal;

pub use app::App;
pub use dev_setup::DevSetup;
/// How many steps one hop executes. Set this with [`App::pace`]:
///
/// ```
/// use stepladder::{App, Pace};
///
/// let app = App::new().pace(Pace::WithinBudget);
/// ```
pub use stepladder_engine::Pace;
#[doc(hidden)]
pub use stepladder_sdk::__private;
#[cfg(feature = "encryption")]
pub use stepladder_sdk::Encryption;
pub use stepladder_sdk::runtime::override_env;
pub use stepladder_sdk::{
    Backoff, Batch, CancelOn, Check, Concurrency, Context, Debounce, EncodedPayload, Error, ErrorCode, Event,
    EventData, EventId, Failure, FirstSuccess, Function, FunctionFailed, Invoke, ItemMap, ItemResult, ItemResults,
    ItemSettings, Json, Log, Map, MapItem, MapResults, MapRuns, MapSteps, MissedTicks, NewEvent, PayloadCodec,
    PayloadContext, PayloadPlace, PollUntil, Rate, Result, ResultExt, RunId, SendEvent, SendEvents, Singleton, Sleep,
    StartedStep, Step, Tick, Timeouts, Timestamp, ToEvent, Usage, Uuid, WaitForEvent, WaitForSignal,
};
pub use stepladder_sdk::{blocking, env, error, json, prelude, record_usage, secret, testing};
