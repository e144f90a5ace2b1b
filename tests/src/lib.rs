//! The harness of the end-to-end tests: it starts the real binary on a port and a file of its own, the services
//! that the functions call, and faults between them; and it waits for conditions, with a limit.
//!
//! It knows the project only by what a user sees: the command line, HTTP and the environment. Nothing here reaches
//! into the engine.

pub mod aimock;
pub mod api;
pub mod aws_faults;
pub mod aws_json;
mod aws_parts;
pub mod binary;
pub mod database;
pub mod deployed;
pub mod double;
pub mod dynamodb_local;
pub mod journal;
pub mod lambda_api;
pub mod lambda_pump;
pub mod load;
pub mod ministack;
pub mod openai;
pub mod parts;
pub mod postgres;
pub mod proxy;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub mod refusing_disk;
pub mod server;
pub mod tied;
pub mod wait;

pub use api::Api;
pub use aws_json::AwsJson;
pub use journal::Journal;
pub use server::Server;
pub use wait::{wait_calmly, wait_for};
