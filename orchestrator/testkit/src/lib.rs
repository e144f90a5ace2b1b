//! Test equipment for the engine:
//!
//! - an adapter that keeps everything in [`memory`],
//! - a [virtual clock](clock),
//! - the [conformance suite](mod@conformance) that every adapter must pass,
//! - a backend that [intercepts](intercept) calls to count, delay or fail them.
//!
//! The server and the Lambda roles do not use this crate. `TestApp` of the SDK does.

pub mod clock;
pub mod conformance;
pub mod intercept;
pub mod memory;
