//! The HTTP server: event API, REST interface and dashboard.
//!
//! [`router()`] serves an [`Engine`](stepladder_engine::Engine); [`serve`] runs the router on a
//! listener. Handlers translate a request into a call of the engine, and its response into JSON
//! (the crate `stepladder-api`) or into a page.
//!
//! What is deliberately not here: decisions about runs (the crate `stepladder-engine`), and the
//! check that a public server has an event key and a token (the command line).

mod dashboard;
mod error;
mod guard;
mod path;
mod rest;
mod router;
mod serve;

pub use guard::auth::secrets_fault;
pub use guard::intake::Bounds;
pub use router::{Options, router};
pub use serve::{Connections, serve};
