//! The HTTP server: the event API, the REST interface and the dashboard.
//!
//! [`router()`] creates the routes for an [`Engine`](stepladder_engine::Engine); [`serve`] runs
//! them on a listener. A handler translates a request into a call of the engine, and translates the
//! result into JSON (the crate `stepladder-api`) or into a page.
//!
//! Decisions about runs are deliberately not made here, but in the crate `stepladder-engine`. The
//! command line checks that a public server has an event key and a token.

mod alerts;
mod apps;
#[cfg(feature = "compression")]
mod compression;
mod dashboard;
mod error;
mod guard;
#[cfg(feature = "prometheus")]
mod metrics;
mod path;
mod rest;
mod router;
mod serve;

pub use alerts::{Alert, AlertBoard, AlertMonitor, AlertSink, DiskProbe, DiskSpace};
pub use apps::{AppDirectory, AppListing};
#[cfg(feature = "compression")]
pub use compression::compressed;
pub use guard::auth::secrets_fault;
pub use guard::intake::IntakeBounds;
#[cfg(feature = "prometheus")]
pub use metrics::{MAX_FUNCTIONS, RunMetrics};
pub use router::{ServerOptions, router};
pub use serve::{ConnectionLimits, serve};
