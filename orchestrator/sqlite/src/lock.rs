//! The lock that makes a process the only one on a data file (rule 30). The operating system releases it when the
//! process ends, however it ends.
//!
//! A file may have several names: a symbolic link, a hard link, a bind mount. So the lock belongs to the file:
//!
//! - Within this process, a list of the files that are open, by device and inode.
//! - On Linux, a `flock` of the data file. It is independent of the byte ranges that SQLite locks with `fcntl`.
//!   Elsewhere the two exclude each other, so a data file with a second hard link is rejected there.
//! - Everywhere, the lock of the file beside it with `.lock` added to its name, symbolic links resolved: version 0.2.0
//!   takes this one alone.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use crate::open::OpenError;
use crate::{identity, opened};

/// Held as long as it lives.
#[derive(Debug)]
pub(crate) struct Lock {
    /// The data file without symbolic links: SQLite's own files are beside this one.
    path: PathBuf,
    _beside: File,
    // Closing any descriptor of a file drops the process's `fcntl` locks on it, SQLite's among them. So this one is
    // closed last, when no connection is left.
    _file: File,
    _opened: opened::Entry,
}

impl Lock {
    /// Makes the data file if it is missing, and takes its lock. Leaves a file that is not a data file as it is.
    pub(crate) fn take(db: &Path) -> Result<Self, OpenError> {
        let unusable = |why: String| OpenError::Unusable { db: db.to_owned(), why };
        if let Some(why) = identity::name_fault(db) {
            return Err(unusable(why.into()));
        }
        // before it is opened: opening a FIFO waits for its other end
        let known = std::fs::metadata(db).ok();
        if let Some(metadata) = &known {
            if let Some(why) = identity::kind_fault(metadata) {
                return Err(unusable(why.into()));
            }
            if opened::is_open(metadata) {
                return Err(OpenError::InUse { db: db.to_owned() });
            }
        }
        let file = private().read(true).open(db).map_err(|error| unusable(not_writable(&error)))?;
        let metadata = file.metadata().map_err(|error| unusable(error.to_string()))?;
        let entry = opened::enter(&metadata).ok_or_else(|| OpenError::InUse { db: db.to_owned() })?;
        let path = db.canonicalize().map_err(|error| unusable(error.to_string()))?;
        #[cfg(target_os = "linux")]
        lock(&file, db, &path)?;
        identity::check(db, &path, &file)?;
        let beside = lock_beside(db, &path)?;
        identity::check_names(db, &path, &metadata)?;
        identity::warn_of_readers(db, known.as_ref());
        Ok(Self { path, _beside: beside, _file: file, _opened: entry })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn lock_beside(db: &Path, canonical: &Path) -> Result<File, OpenError> {
    let path = identity::beside(canonical, ".lock");
    let cannot = |error| OpenError::Lock { path: path.clone(), error };
    for suffix in [".lock", "-wal", "-shm"] {
        let sibling = identity::beside(canonical, suffix);
        if let Some(why) = std::fs::metadata(&sibling).ok().as_ref().and_then(identity::kind_fault) {
            return Err(OpenError::Unusable { db: sibling, why: why.into() });
        }
    }
    let file = private().open(&path).map_err(cannot)?;
    lock(&file, db, &path)?;
    Ok(file)
}

fn lock(file: &File, db: &Path, path: &Path) -> Result<(), OpenError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { db: db.to_owned() }),
        Err(TryLockError::Error(error)) => Err(OpenError::Lock { path: path.to_owned(), error }),
    }
}

/// Opens for writing; makes a missing file, which its owner alone can read and write. SQLite gives its log and the log's
/// index the rights of the data file.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn not_writable(error: &std::io::Error) -> String {
    use std::io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem};
    let advice = match error.kind() {
        PermissionDenied | ReadOnlyFilesystem => "give this user the right to write it and its folder",
        NotFound => "make its folder",
        _ => "check that the disk works and has room",
    };
    format!("it cannot be written ({error}); {advice}, or name another file with --db")
}
