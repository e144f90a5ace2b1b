//! The harness of the end-to-end tests. It starts the real binary on a free port with a separate
//! data file, and the services that the functions call. It injects faults between them, and waits
//! for conditions with a time limit.
//!
//! It uses only what users use: the command line, HTTP and the environment. Nothing here depends on
//! the engine's internals.

pub mod aimock;
pub mod api;
pub mod aws_faults;
pub mod aws_json;
mod aws_parts;
pub mod binary;
pub mod collector;
pub mod database;
pub mod deployed;
pub mod dynamodb_local;
pub mod journal;
pub mod lambda_api;
pub mod lambda_pump;
pub mod load;
pub mod logging;
pub mod ministack;
pub mod openai;
pub mod owned_server;
pub mod parts;
pub mod postgres;
pub mod proxy;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub mod refusing_disk;
pub mod server;
pub mod stub_server;
pub mod wait;

pub use api::ApiClient;
pub use aws_json::{AwsJson, http_builder};
pub use journal::JsonJournal;
pub use server::ServerProcess;
pub use wait::{wait_calmly, wait_for};
