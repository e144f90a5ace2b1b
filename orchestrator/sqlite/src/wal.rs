//! Extends the write-ahead log in advance. Syncing an overwritten part of a file is faster, and
//! varies less, than syncing a file that grows. So the log gets the length that it will reach
//! anyway.
//!
//! This does not change what SQLite reads. SQLite reads the log up to the first page without a
//! valid checksum (<https://sqlite.org/fileformat2.html#walformat>), so it ignores zeros at the
//! end. The zeros are appended, so they never overwrite a page, even if SQLite writes at the same
//! time.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Weak};

use crate::identity::path_beside;

/// The number of pages in the log (16 MiB) after which SQLite moves them to the data file. With a
/// longer log, more pages are changed several times but moved only once.
pub(crate) const CHECKPOINT_PAGES: u32 = 4_000;

/// The length of the log's header, in bytes.
const HEADER_BYTES: u64 = 32;

/// The length of a page in the log with its header, in bytes.
const PAGE_BYTES: u64 = 24 + 4_096;

/// The number of bytes that are written at once. A concurrent commit waits for at most one such
/// chunk.
const CHUNK_BYTES: usize = 512 * 1024;

/// Extends a log in the background. Dropping this value stops the work.
#[derive(Debug)]
pub(crate) struct BackgroundWalGrowth {
    _alive: Arc<()>,
}

impl BackgroundWalGrowth {
    /// Extends the log of a data file on a separate thread.
    pub(crate) fn start_growth(db: &Path) -> Self {
        let log = path_beside(db, "-wal");
        let alive = Arc::new(());
        let watch = Arc::downgrade(&alive);
        let work = move || {
            if let Err(error) = grow_log(&log, HEADER_BYTES + u64::from(CHECKPOINT_PAGES) * PAGE_BYTES, &watch) {
                tracing::debug!(%error, "the write-ahead log could not be grown in advance");
            }
        };
        if let Err(error) = std::thread::Builder::new().name("sqlite-wal".into()).spawn(work) {
            tracing::debug!(%error, "the write-ahead log could not be grown in advance");
        }
        Self { _alive: alive }
    }
}

fn grow_log(log: &Path, length: u64, alive: &Weak<()>) -> std::io::Result<()> {
    let mut log = OpenOptions::new().append(true).open(log)?;
    let zeros = vec![0; CHUNK_BYTES];
    while log.metadata()?.len() < length && alive.strong_count() > 0 {
        log.write_all(&zeros)?;
        log.sync_data()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn growing_the_log_changes_no_content() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, copy) = (folder.path().join("t.db"), folder.path().join("copy.db"));
        let db = Connection::open(&path).expect("a database");
        db.pragma_update(None, "journal_mode", "wal").expect("a log");
        db.execute_batch("CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (1)").expect("a row");
        let log = folder.path().join("t.db-wal");
        let alive = Arc::new(());
        grow_log(&log, 1_000_000, &Arc::downgrade(&alive)).expect("a longer log");
        let length = std::fs::metadata(&log).expect("a log").len();
        assert!(length >= 1_000_000);
        db.execute_batch("INSERT INTO t VALUES (2)").expect("a row");
        assert_eq!(std::fs::metadata(&log).expect("a log").len(), length);
        // copies the files as a crash would leave them
        std::fs::copy(&path, &copy).expect("a copy");
        std::fs::copy(&log, folder.path().join("copy.db-wal")).expect("a copy");
        let found = Connection::open(&copy).expect("a database");
        let sum: (i64, i64) =
            found.query_row("SELECT COUNT(*), SUM(n) FROM t", [], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
        assert_eq!(sum, (2, 3));
        drop(alive);
        grow_log(&log, u64::MAX, &Weak::new()).expect("no growth after the file is closed");
    }
}
