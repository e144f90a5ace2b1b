//! Durable functions: ordinary async Rust made of named steps, each of which runs once and is remembered.
//!
//! This is the one crate to depend on. It passes on what functions are written with ([`prelude`], [`Context`],
//! [`Function`]) and how they are tested ([`testing`]), and adds [`App`], whose [`run`](App::run) is the whole program:
//! the command line and the local server.
//!
//! What is deliberately not here: how a run works (the crates `stepladder-core` and `stepladder-engine`).
//!
//! # Features
//! - `cli` is the command line, with the commands that talk to a server elsewhere.
//! - `local` (default) adds the local server to it: `dev`, with SQLite and the HTTP API.
//! - `aws` (default) is what runs on AWS: the roles of a Lambda function, and `--table` of the command line. A binary for
//!   Lambda has this one alone, which keeps it small.

mod app;
#[cfg(feature = "cli")]
mod cli;
#[cfg(feature = "cli")]
mod client;
mod demo;
#[cfg(feature = "cli")]
mod follow;
#[cfg(feature = "cli")]
mod journals;
#[cfg(feature = "aws")]
mod lambda;
#[cfg(feature = "cli")]
mod terminal;

pub use app::App;
pub use demo::Demo;
pub use stepladder_engine::Pace;
pub use stepladder_sdk::*;
