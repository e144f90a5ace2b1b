//! Hostile input: for each thing that reads what comes from outside, a function that feeds it any bytes and panics when
//! what must hold does not.
//!
//! The fuzz targets in `proof/fuzz` call these, and so do the tests of this crate, with every kept input and with
//! mutations of them. What is deliberately not here: what a function's author may do, who is trusted.

mod cel;
mod cron;
mod event;
mod function;
mod http;
mod journal;
mod script;
mod wake;

pub use cel::cel;
pub use cron::cron;
pub use event::event;
pub use http::http;
pub use journal::journal;
pub use wake::wake;

/// A reader of hostile bytes. Panics when it finds a fault.
pub type Target = fn(&[u8]);

/// Every target by the name of its corpus.
pub const TARGETS: [(&str, Target); 6] =
    [("event", event), ("journal", journal), ("cel", cel), ("cron", cron), ("http", http), ("wake", wake)];
