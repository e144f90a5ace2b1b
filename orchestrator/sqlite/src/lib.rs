//! Store and queue of the engine in one SQLite file, for one process at a time.
//!
//! Every write goes to one thread (`writer.rs`), which puts whatever waits into one transaction: many commits, one sync.
//! Journals, events, runs, wakes, timers and waiting lines are rows; who holds a slot and which deliveries are out is
//! kept in memory, because both are void once the process ends. The file is locked while it is open, so a process that
//! opens it knows that its predecessor is dead: what that one had received is delivered again, the slots that it held
//! are free, and the heads of the lines are woken.
//!
//! Not here: anything that decides. The engine does that; this is its [`Backend`](stepladder_engine::ports::Backend).

mod fault;
mod held;
mod identity;
mod lock;
mod open;
mod opened;
mod prune;
mod readers;
mod rows;
mod schema;
mod store;
mod wal;
mod writer;

pub use open::{OpenError, Options};
pub use prune::Pruned;

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use stepladder_engine::clock::Clock;

/// The adapter. Closing is dropping: what was answered is on disk.
pub struct Sqlite {
    clock: Arc<dyn Clock>,
    readers: Arc<readers::Readers>,
    writer: writer::Writer,
    held: Arc<held::Held>,
    /// The number of the latest wake.
    wakes: AtomicI64,
    _stretching: wal::Stretching,
    /// Released last, when the file is closed.
    _lock: lock::Lock,
}

impl std::fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sqlite").field("path", &self.readers.path()).finish_non_exhaustive()
    }
}
