//! Test equipment for the engine:
//!
//! - [`memory`]: an adapter that keeps everything in memory,
//! - [`clock`]: a virtual clock,
//! - [`conformance`](mod@conformance): the suite that every adapter must pass,
//! - [`intercept`]: a backend that counts calls, delays them or lets them fail.
//!
//! The server and the Lambda roles do not use this crate. `TestApp` of the SDK does.

pub mod clock;
pub mod conformance;
pub mod intercept;
pub mod memory;
