//! Hostile input. For each decoder of outside data there is a function that feeds it arbitrary
//! bytes, and panics if an invariant is broken.
//!
//! The fuzz targets in `proof/fuzz` call these functions. The tests of this crate call them with
//! every input of the corpus, and with mutations of those inputs. What is deliberately not here:
//! input from the author of a function, which is trusted.

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

/// A function that takes hostile bytes and panics if an invariant is broken.
pub type FuzzTarget = fn(&[u8]);

/// All targets, each with the name of its corpus.
pub const TARGETS: [(&str, FuzzTarget); 6] =
    [("event", event), ("journal", journal), ("cel", cel), ("cron", cron), ("http", http), ("wake", wake)];
