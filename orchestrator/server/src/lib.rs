//! The axum router: event API, REST, a plain page; the same on a laptop and anywhere else.
//!
//! [`router()`] answers over an [`Engine`](stepladder_engine::Engine); [`serve`] puts it on a listener. Handlers
//! translate and refuse: what came in becomes a call of the engine, what it says becomes JSON (wire types, which
//! are not the domain's) or a page.
//!
//! What is deliberately not here: any decision about runs (the `engine` crate), and who may listen where (the
//! command line refuses an open server without key and token before it comes here).

mod auth;
mod body;
mod bulk;
mod compat;
mod error;
mod events;
mod fit;
mod form;
mod functions;
mod inputs;
mod intake;
mod login;
mod origin;
mod page;
mod path;
mod router;
mod runs;
mod serve;
mod signals;
mod unanswered;
mod wire;

pub use auth::secrets_fault;
pub use intake::Bounds;
pub use router::{Options, router};
pub use serve::{Connections, serve};
