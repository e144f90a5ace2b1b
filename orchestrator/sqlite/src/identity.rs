//! Checks, before anything is written, whether a file is a data file of this program. A file of
//! another program is never changed.

use std::fs::{File, Metadata};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use crate::open::OpenError;

/// "Stld", the application id in the header of a data file (<https://sqlite.org/fileformat2.html>).
pub(crate) const APPLICATION_ID: i32 = 0x5374_6c64;

/// The first bytes of each SQLite file.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// The length of the header, in bytes.
const HEADER_BYTES: usize = 100;

/// The offset of the application id in the header.
const APPLICATION_ID_OFFSET: usize = 68;

/// Returns why a path cannot name a file on a disk; `None` if it can.
pub(crate) fn name_problem(db: &Path) -> Option<&'static str> {
    let name = db.as_os_str().as_encoded_bytes();
    if name.is_empty() {
        return Some("its name is empty; name a file");
    }
    if name == b":memory:" {
        return Some("runs that are kept in memory would be lost with the process; name a file, such as /tmp/dev.db");
    }
    name.starts_with(b"file:").then_some("it is written as a URL; write the path without `file:`")
}

/// Returns why the file at a path is not an ordinary file; `None` if it is one.
pub(crate) fn type_problem(metadata: &Metadata) -> Option<&'static str> {
    if metadata.is_dir() {
        return Some("it is a folder; name a file in it");
    }
    (!metadata.is_file()).then_some("it is a pipe, a socket or a device; name an ordinary file")
}

/// Checks that the file is empty or is a data file of this program.
pub(crate) fn check(db: &Path, canonical: &Path, mut file: &File) -> Result<(), OpenError> {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(HEADER_BYTES as u64).read_to_end(&mut header));
    read.map_err(|error| OpenError::unusable_by_io(db, format!("it cannot be read: {error}"), error))?;
    if header.is_empty() {
        return Ok(());
    }
    if header.len() < HEADER_BYTES || !header.starts_with(MAGIC) {
        let reason = "it is not a SQLite file, or it is damaged; restore it, or name another file with --db";
        return Err(OpenError::unusable(db, reason));
    }
    let is_ours = match header[APPLICATION_ID_OFFSET..].first_chunk().map(|id| i32::from_be_bytes(*id)) {
        Some(APPLICATION_ID) => true,
        // version 0.2.0 wrote no application id
        Some(0) => has_our_tables_or_none(canonical),
        Some(_) | None => false,
    };
    if is_ours { Ok(()) } else { Err(OpenError::Foreign { db: db.to_owned() }) }
}

/// Returns whether a file without an application id has either no tables or those of a data file.
fn has_our_tables_or_none(path: &Path) -> bool {
    // tries without the write-ahead log first, because that writes nothing, not even the index of
    // the log
    let in_file = table_names(path, true);
    let log = std::fs::metadata(path_beside(path, "-wal")).is_ok_and(|log| log.len() > 0);
    let found = if in_file.as_ref().is_some_and(Vec::is_empty) && log { table_names(path, false) } else { in_file };
    // a file that cannot be read is damaged; opening it will report the details
    let Some(found) = found else { return true };
    found.is_empty() || ["journal", "wakes"].iter().all(|ours| found.iter().any(|table| table == ours))
}

fn table_names(path: &Path, without_log: bool) -> Option<Vec<String>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let escaped = path.to_str()?.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let immutable = if without_log { "&immutable=1" } else { "" };
    let db = Connection::open_with_flags(format!("file:{escaped}?mode=ro{immutable}"), flags).ok()?;
    let mut query = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").ok()?;
    query.query_map([], |row| row.get(0)).ok()?.collect::<rusqlite::Result<_>>().ok()
}

/// Rejects a hard link if the latest changes are in the write-ahead log beside another name of the
/// file. SQLite derives the name of the log from the name under which the file is opened, so these
/// changes would be lost.
#[cfg(unix)]
pub(crate) fn check_names(db: &Path, canonical: &Path, metadata: &Metadata) -> Result<(), OpenError> {
    use std::os::unix::fs::MetadataExt;
    if metadata.nlink() < 2 {
        return Ok(());
    }
    if !cfg!(target_os = "linux") {
        let reason = "it has a second name (a hard link), under which it could be opened too; remove one";
        return Err(OpenError::unusable(db, reason));
    }
    let siblings = canonical.parent().and_then(|folder| folder.read_dir().ok()).into_iter().flatten().flatten();
    let same = |entry: &std::fs::DirEntry| {
        entry.metadata().is_ok_and(|other| (other.dev(), other.ino()) == (metadata.dev(), metadata.ino()))
    };
    let others = siblings.filter(|entry| entry.path() != canonical && same(entry)).map(|entry| entry.path());
    let unsaved = |other: &PathBuf| std::fs::metadata(path_beside(other, "-wal")).is_ok_and(|log| log.len() > 0);
    match others.into_iter().find(unsaved) {
        Some(other) => Err(OpenError::unusable(
            db,
            format!(
                "its last changes are in the log of its other name `{0}`; start with --db {0} once",
                other.display()
            ),
        )),
        None => Ok(()),
    }
}

/// Does nothing, because hard links cannot be counted on this system.
#[cfg(not(unix))]
pub(crate) fn check_names(_: &Path, _: &Path, _: &Metadata) -> Result<(), OpenError> {
    Ok(())
}

/// Logs a warning if other users can open an existing file. The permissions of the file are not
/// changed, because they may be intended.
#[cfg(unix)]
pub(crate) fn warn_of_readers(db: &Path, existing: Option<&Metadata>) {
    use std::os::unix::fs::PermissionsExt;
    let Some(mode) = existing.map(|file| file.permissions().mode()).filter(|mode| mode & 0o077 != 0) else { return };
    let (db, mode) = (db.display(), mode & 0o777);
    tracing::warn!("other users can open the data file `{db}` (mode {mode:o}); `chmod 600 {db}` keeps it to yourself");
}

/// Does nothing, because on this system the folder has the permissions.
#[cfg(not(unix))]
pub(crate) fn warn_of_readers(_: &Path, _: Option<&Metadata>) {}

/// Returns the path with a suffix appended to its file name.
pub(crate) fn path_beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
