//! A front end for functions that are written with Inngest's SDKs and run in other processes.
//!
//! An app registers its functions ([`Registration`]); their settings become configs of the engine.
//! The executor calls the app over HTTP: it sends the event and the recorded outcomes, and the app
//! answers with operations. [`Apps`] registers, polls and lists apps, and has the routes that the
//! packages request.
//!
//! The wire format is that of the public specification of Inngest's SDKs. What the format allows
//! and this version does not support is refused with a sentence, and never ignored. Which steps
//! start and what is stored is deliberately not decided here, but by the engine.

mod answer;
mod apps;
mod call;
mod canonical;
mod checkpoints;
mod convert;
mod discovery;
mod endpoint;
mod endpoint_routes;
mod execution;
mod executor;
mod failure;
mod gateway;
mod keys;
mod lambda;
mod operation;
mod race;
mod registration;
mod routes;
mod run_routes;
mod signature;
mod step_id;
mod syncs;
mod time_text;
mod transport;

pub use apps::{Apps, AppsSettings, SyncError, SyncedApp};
pub use executor::AppConnector;
pub use keys::{KEYS_REFRESH_AFTER, KeySource};
pub use lambda::{InvokeFunction, NotInvoked};
pub use registration::{RegisteredFunction, Registration, RegistrationError};
pub use routes::{guarded_routes, open_routes, refusing_routes};
pub use signature::{SigningKey, SigningKeys};
pub use syncs::AppStatus;
