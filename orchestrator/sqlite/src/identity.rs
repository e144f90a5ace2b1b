//! Whether a file is a data file of ours, looked at before anything is written: a file of another program stays as it
//! is, byte for byte.

use std::fs::{File, Metadata};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use crate::open::OpenError;

/// "Stld", where SQLite keeps the id of the program that a file belongs to (<https://sqlite.org/fileformat2.html>).
pub(crate) const APPLICATION: i32 = 0x5374_6c64;
/// How every SQLite file begins, and where in its header the application's id is.
const MAGIC: &[u8] = b"SQLite format 3\0";
const HEADER: usize = 100;
const ID_AT: usize = 68;

/// Why a path names no file on a disk; `None` when it may.
pub(crate) fn name_fault(db: &Path) -> Option<&'static str> {
    let name = db.as_os_str().as_encoded_bytes();
    if name.is_empty() {
        return Some("its name is empty; name a file");
    }
    if name == b":memory:" {
        return Some("runs that are kept in memory would be lost with the process; name a file, such as /tmp/dev.db");
    }
    name.starts_with(b"file:").then_some("it is written as a URL; write the path without `file:`")
}

/// Why a thing on the disk is no file that data can be in; `None` when it can.
pub(crate) fn kind_fault(metadata: &Metadata) -> Option<&'static str> {
    if metadata.is_dir() {
        return Some("it is a folder; name a file in it");
    }
    (!metadata.is_file()).then_some("it is a pipe, a socket or a device; name an ordinary file")
}

/// Looks whether the file is empty or a data file.
pub(crate) fn check(db: &Path, canonical: &Path, mut file: &File) -> Result<(), OpenError> {
    let unusable = |why: String| OpenError::Unusable { db: db.to_owned(), why };
    let mut header = Vec::with_capacity(HEADER);
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(HEADER as u64).read_to_end(&mut header));
    read.map_err(|error| unusable(format!("it cannot be read: {error}")))?;
    if header.is_empty() {
        return Ok(());
    }
    if header.len() < HEADER || !header.starts_with(MAGIC) {
        return Err(unusable("it is no SQLite file, or damaged; restore it, or name another file with --db".into()));
    }
    let is_ours = match header[ID_AT..].first_chunk().map(|id| i32::from_be_bytes(*id)) {
        Some(APPLICATION) => true,
        // of version 0.2.0, which wrote no id
        Some(0) => is_of_no_other(canonical),
        Some(_) | None => false,
    };
    if is_ours { Ok(()) } else { Err(OpenError::Foreign { db: db.to_owned() }) }
}

/// Whether the tables of a file without an id are ours, or there is none yet.
fn is_of_no_other(path: &Path) -> bool {
    // first without the write-ahead log: that writes nothing, not even the log's index
    let in_file = tables(path, true);
    let log = std::fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0);
    let found = if in_file.as_ref().is_some_and(Vec::is_empty) && log { tables(path, false) } else { in_file };
    // a file that cannot be read so is damaged: opening it says how
    let Some(found) = found else { return true };
    found.is_empty() || ["journal", "wakes"].iter().all(|ours| found.iter().any(|table| table == ours))
}

fn tables(path: &Path, without_log: bool) -> Option<Vec<String>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let escaped = path.to_str()?.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let immutable = if without_log { "&immutable=1" } else { "" };
    let db = Connection::open_with_flags(format!("file:{escaped}?mode=ro{immutable}"), flags).ok()?;
    let mut query = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").ok()?;
    query.query_map([], |row| row.get(0)).ok()?.collect::<rusqlite::Result<_>>().ok()
}

/// SQLite's write-ahead log is named after the name by which the file was opened. Under another hard link, what is
/// only in the log would be lost.
#[cfg(unix)]
pub(crate) fn check_names(db: &Path, canonical: &Path, metadata: &Metadata) -> Result<(), OpenError> {
    use std::os::unix::fs::MetadataExt;
    if metadata.nlink() < 2 {
        return Ok(());
    }
    let unusable = |why: String| Err(OpenError::Unusable { db: db.to_owned(), why });
    if !cfg!(target_os = "linux") {
        return unusable("it has a second name (a hard link), under which it could be opened too; remove one".into());
    }
    let siblings = canonical.parent().and_then(|folder| folder.read_dir().ok()).into_iter().flatten().flatten();
    let same = |entry: &std::fs::DirEntry| {
        entry.metadata().is_ok_and(|other| (other.dev(), other.ino()) == (metadata.dev(), metadata.ino()))
    };
    let others = siblings.filter(|entry| entry.path() != canonical && same(entry)).map(|entry| entry.path());
    let unsaved = |other: &PathBuf| std::fs::metadata(beside(other, "-wal")).is_ok_and(|log| log.len() > 0);
    match others.into_iter().find(unsaved) {
        Some(other) => unusable(format!(
            "its last changes are in the log of its other name `{0}`; start with --db {0} once",
            other.display()
        )),
        None => Ok(()),
    }
}

/// Hard links cannot be counted here.
#[cfg(not(unix))]
pub(crate) fn check_names(_: &Path, _: &Path, _: &Metadata) -> Result<(), OpenError> {
    Ok(())
}

/// A file that was there before keeps its rights: whoever gave it others may have meant it.
#[cfg(unix)]
pub(crate) fn warn_of_readers(db: &Path, known: Option<&Metadata>) {
    use std::os::unix::fs::PermissionsExt;
    let Some(mode) = known.map(|file| file.permissions().mode()).filter(|mode| mode & 0o077 != 0) else { return };
    let (db, mode) = (db.display(), mode & 0o777);
    tracing::warn!("other users can open the data file `{db}` (mode {mode:o}); `chmod 600 {db}` keeps it to yourself");
}

/// Rights are the folder's here.
#[cfg(not(unix))]
pub(crate) fn warn_of_readers(_: &Path, _: Option<&Metadata>) {}

/// The file beside this one whose name is longer by this.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
