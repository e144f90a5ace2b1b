//! The length of the write-ahead log. Syncing what overwrites a file is faster, and more evenly so, than syncing what
//! makes it longer, so the log gets the length that it reaches anyway before it is written that far.
//!
//! The content is SQLite's alone. It reads the log up to the first page without a valid checksum
//! (<https://sqlite.org/fileformat2.html#walformat>), so zeros at the end are no content; and they are appended, so
//! they never come over a page, however much is written meanwhile.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

/// Pages in the log after which they are moved to the data file: 16 MiB. More of them change several times before, and
/// are moved once.
pub(crate) const PAGES: u32 = 4_000;
/// Bytes of the log's header, of a page's header, and of a page.
const HEADER: u64 = 32;
const PAGE: u64 = 24 + 4_096;
/// Written at a time: a commit that comes meanwhile waits for one piece at most.
const PIECE: usize = 512 * 1024;

/// Work on the log, until this is dropped.
#[derive(Debug)]
pub(crate) struct Stretching {
    _alive: Arc<()>,
}

impl Stretching {
    /// Lengthens the log of a data file, beside whatever else happens.
    pub(crate) fn start(db: &Path) -> Self {
        let mut name = db.as_os_str().to_owned();
        name.push("-wal");
        let log = PathBuf::from(name);
        let alive = Arc::new(());
        let watch = Arc::downgrade(&alive);
        let work = move || {
            if let Err(error) = stretch(&log, HEADER + u64::from(PAGES) * PAGE, &watch) {
                tracing::debug!(%error, "the write-ahead log grows as it is written");
            }
        };
        if let Err(error) = std::thread::Builder::new().name("sqlite-wal".into()).spawn(work) {
            tracing::debug!(%error, "the write-ahead log grows as it is written");
        }
        Self { _alive: alive }
    }
}

fn stretch(log: &Path, length: u64, alive: &Weak<()>) -> std::io::Result<()> {
    let mut log = OpenOptions::new().append(true).open(log)?;
    let zeros = vec![0; PIECE];
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
    fn a_longer_log_loses_nothing_and_adds_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, copy) = (folder.path().join("t.db"), folder.path().join("copy.db"));
        let db = Connection::open(&path).expect("a database");
        db.pragma_update(None, "journal_mode", "wal").expect("a log");
        db.execute_batch("CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (1)").expect("a row");
        let log = folder.path().join("t.db-wal");
        let alive = Arc::new(());
        stretch(&log, 1_000_000, &Arc::downgrade(&alive)).expect("a longer log");
        let length = std::fs::metadata(&log).expect("a log").len();
        assert!(length >= 1_000_000);
        db.execute_batch("INSERT INTO t VALUES (2)").expect("a row");
        assert_eq!(std::fs::metadata(&log).expect("a log").len(), length);
        // what a process finds that opens the files as a crash leaves them
        std::fs::copy(&path, &copy).expect("a copy");
        std::fs::copy(&log, folder.path().join("copy.db-wal")).expect("a copy");
        let found = Connection::open(&copy).expect("a database");
        let sum: (i64, i64) =
            found.query_row("SELECT COUNT(*), SUM(n) FROM t", [], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
        assert_eq!(sum, (2, 3));
        drop(alive);
        stretch(&log, u64::MAX, &Weak::new()).expect("nothing is done once the file is closed");
    }
}
