//! The async shell around the core: what a run needs from the world, and the hop that moves it.
//!
//! The world comes in through [ports] (storage, queue, clock), functions through the [program] seam. The
//! [`Engine`] ingests events, hops, sweeps and answers questions; [`Workers`] pull wakes from the queue and let the
//! engine hop. The crate `stepladder-testkit` has an adapter in memory and the conformance suite.

pub mod clock;
pub mod config;
mod control;
mod engine;
mod functions;
mod hop;
mod intake;
pub mod local;
pub mod permanent;
pub mod ports;
pub mod program;
mod query;
mod runs;
mod runtime;
mod slots;
mod subscriptions;
mod sweep;
mod workers;

pub use config::{Config, Pace};
pub use control::{Bulk, Control, Rerun};
pub use engine::{Engine, EngineError};
pub use functions::{Functions, check};
pub use hop::Executing;
pub use intake::{IdSeed, Intake, PIECE, Progress, Within};
pub use program::{Program, Session};
pub use query::{
    EventLook, Found, Health, LineView, MOST_LOOKED_AT, MOST_PLACES, MOST_TIMERS, Page, Query, RunFilter, RunLook,
    RunSearch, view,
};
pub use stepladder_core as core;
pub use subscriptions::{Signalled, Subscriptions};
pub use sweep::Swept;
pub use workers::Workers;
