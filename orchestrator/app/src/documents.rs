//! Compiles the Rust examples in the documents, as documentation tests.

#[doc = include_str!("../../../README.md")]
struct Readme;

#[doc = include_str!("../../../docs/functions.md")]
struct Functions;

#[doc = include_str!("../../../docs/waiting.md")]
struct Waiting;

#[doc = include_str!("../../../docs/cron.md")]
struct Cron;
