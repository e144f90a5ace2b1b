//! The axum router: event API, REST, a plain page; the same on a laptop and anywhere else.
//!
//! [`router()`] answers over an [`Engine`](stepladder_engine::Engine); [`serve`] puts it on a listener. Handlers
//! translate and refuse: what came in becomes a call of the engine, what it says becomes JSON (wire types, which
//! are not the domain's) or a page.
//!
//! What is deliberately not here: any decision about runs (the `engine` crate), and who may listen where (the
//! command line refuses an open server without key and token before it comes here).

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
