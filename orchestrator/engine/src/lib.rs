//! The async shell around the core: what a run needs from the world, and the hop that moves it.
//!
//! The world comes in through [ports] (storage, queue, clock), functions through the [program] seam. The
//! [`Engine`] ingests events, hops, sweeps and answers questions; [`Workers`] pull wakes from the queue and let the
//! engine hop. The [`memory`] adapter serves tests; [`mod@conformance`] is the suite that every adapter passes.

pub mod check;
pub mod clock;
pub mod config;
pub mod conformance;
mod engine;
pub mod intercept;
pub mod local;
pub mod memory;
pub mod permanent;
pub mod ports;
pub mod program;
mod versions;
pub mod view;
mod workers;

pub use config::{Config, Pace};
pub use engine::{
    Bulk, Engine, EngineError, EventLook, Executing, Found, Health, IdSeed, LineView, MOST_LOOKED_AT, MOST_PLACES,
    MOST_TIMERS, Page, Rerun, RunFilter, RunLook, RunSearch, Signalled, Swept,
};
pub use engine::{PIECE, Progress, Within};
pub use program::{Program, Session};
pub use stepladder_core as core;
pub use workers::Workers;
