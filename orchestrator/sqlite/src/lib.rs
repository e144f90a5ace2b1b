//! The store and the queue of the engine in one SQLite file, for one process at a time.
//!
//! - One thread writes (`writer.rs`). It puts all waiting commits into one transaction, with one
//!   sync.
//! - Journals, events, runs, wakes, timers and wait queues are rows.
//! - Slots of steps and deliveries to workers are kept in memory, because they are no longer valid
//!   once the process ends.
//! - The file is locked while it is open. So a process that opens the file knows that the previous
//!   process is dead. The new process delivers the wakes of the previous process again, frees its
//!   slots, and wakes the first tickets of each wait queue.
//!
//! This crate makes no decisions about runs. The engine makes them; this crate is its
//! [`Backend`](stepladder_engine::ports::Backend).

mod error;
mod identity;
mod lock;
mod memory;
mod open;
mod open_files;
mod prune;
mod readers;
mod rows;
mod schema;
mod store;
mod wal;
mod writer;

pub use open::{OpenError, SqliteOptions};

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use stepladder_engine::clock::Clock;

/// The store and the queue in a data file. Dropping this value closes the file; by then all
/// acknowledged writes are on disk.
pub struct Sqlite {
    clock: Arc<dyn Clock>,
    readers: Arc<readers::ReadConnections>,
    writer: writer::JobWriter,
    memory: Arc<memory::MemoryState>,
    latest_wake: AtomicI64,
    _log_growth: wal::BackgroundWalGrowth,
    // this field is dropped last, after the connections are closed
    _lock: lock::DataFileLock,
}

impl std::fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sqlite").field("path", &self.readers.path()).finish_non_exhaustive()
    }
}
