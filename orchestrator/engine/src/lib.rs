//! The engine: the async shell around the core. The engine does all I/O, and the core makes the
//! decisions.
//!
//! Storage, queue and clock are traits ([`ports`], [`clock`]) that adapters implement. Functions
//! are executed by [executors](executor) that front ends such as the SDK implement. The [`Engine`]
//! accepts events, executes hops, sweeps and answers queries. [`Workers`] receive wakes from the
//! queue and call the engine for each wake. The crate `stepladder-testkit` contains an adapter in
//! memory and the conformance suite.

pub mod activity;
pub mod clock;
pub mod config;
mod control;
mod engine;
pub mod executor;
mod functions;
mod hop;
mod intake;
pub mod local;
pub mod permanent;
pub mod ports;
mod query;
pub mod retries;
mod runs;
mod runtime;
mod slots;
mod subscriptions;
mod sweep;
pub mod telemetry;
mod workers;

pub use config::{Config, Pace};
pub use control::{BulkResult, Cancellation, CheckpointReceipt, OwnRun, RerunOptions, RunControl};
pub use engine::{Engine, EngineError};
pub use executor::{Execution, Executor};
pub use functions::{
    AppDescription, Catalog, Connect, FixedFunctions, FunctionControl, Functions, REFRESH_AFTER, RegisteredApp,
    RegisteredFunction, StoredFunctions, check,
};
pub use hop::RunningBody;
pub use intake::{IdSeed, Intake, PIECE, PieceLimits, RequestProgress};
pub use query::{
    ActivityKind, AlertLimits, COUNTED_LIVE_RUNS, CostPoint, CostSpan, CostSums, EventDetail, Health, ListingDepth,
    Load, MAX_ROWS_READ, MAX_TICKETS, MAX_TIMERS, Query, RunActivity, RunAtEntry, RunFilter, RunPage, RunProblem,
    SEARCHED_REMOTE_RUNS, SEARCHED_RUNS, StatusCounts, TrendPoint, TrendSpan, Trends, WaitQueueView, ordinal, view,
};
pub use stepladder_core as core;
pub use subscriptions::{HeartbeatEffect, HeartbeatReceipt, SignalReceipt, Subscriptions};
pub use sweep::SweepReport;
pub use workers::Workers;
