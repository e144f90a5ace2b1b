//! The lock that prevents other processes from opening a data file (rule 30). The operating system
//! releases the lock when the process ends, even if it is killed.
//!
//! A file may have several names: a symbolic link, a hard link, a bind mount. Therefore the lock
//! applies to the file itself, not to a name:
//!
//! - Within this process, a list contains the open files by device and inode.
//! - On Linux, the data file is locked with `flock`. This lock is independent of the byte ranges
//!   that SQLite locks with `fcntl`. On other systems the two kinds of lock exclude each other, so
//!   a data file with a second hard link is rejected there.
//! - On all systems, a second file is locked: the one beside the data file with the suffix `.lock`,
//!   after symbolic links are resolved. Version 0.2.0 locks only this file.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use crate::open::OpenError;
use crate::{identity, open_files};

/// The lock of a data file. Dropping it releases the lock.
#[derive(Debug)]
pub(crate) struct DataFileLock {
    /// The path of the data file, with symbolic links resolved. SQLite's own files are beside this
    /// path.
    path: PathBuf,
    _beside: File,
    // This descriptor must be closed after all connections. Closing any descriptor of a file drops
    // all `fcntl` locks of the process on the file, including SQLite's.
    _file: File,
    _open_file: open_files::OpenFile,
}

impl DataFileLock {
    /// Acquires the lock, and creates the data file if it is missing. If the file is not a data
    /// file, it is not changed.
    pub(crate) fn acquire(db: &Path) -> Result<Self, OpenError> {
        if let Some(reason) = identity::name_problem(db) {
            return Err(OpenError::unusable(db, reason));
        }
        // this comes before the file is opened, because opening a FIFO waits for its other end
        let existing = std::fs::metadata(db).ok();
        if let Some(metadata) = &existing {
            if let Some(reason) = identity::type_problem(metadata) {
                return Err(OpenError::unusable(db, reason));
            }
            if open_files::is_open(metadata) {
                return Err(OpenError::InUse { db: db.to_owned() });
            }
        }
        let unusable = |error: std::io::Error| OpenError::unusable_by_io(db, error.to_string(), error);
        let not_writable = |error| OpenError::unusable_by_io(db, not_writable(&error), error);
        let file = owner_only().read(true).open(db).map_err(not_writable)?;
        let metadata = file.metadata().map_err(unusable)?;
        let open_file = open_files::register(&metadata).ok_or_else(|| OpenError::InUse { db: db.to_owned() })?;
        let path = db.canonicalize().map_err(unusable)?;
        #[cfg(target_os = "linux")]
        lock(&file, db, &path)?;
        identity::check(db, &path, &file)?;
        let beside = lock_beside(db, &path)?;
        identity::check_names(db, &path, &metadata)?;
        identity::warn_of_readers(db, existing.as_ref());
        Ok(Self { path, _beside: beside, _file: file, _open_file: open_file })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn lock_beside(db: &Path, canonical: &Path) -> Result<File, OpenError> {
    for suffix in [".lock", "-wal", "-shm"] {
        let sibling = identity::path_beside(canonical, suffix);
        if let Some(reason) = std::fs::metadata(&sibling).ok().as_ref().and_then(identity::type_problem) {
            return Err(OpenError::unusable(&sibling, reason));
        }
    }
    let path = identity::path_beside(canonical, ".lock");
    let file = owner_only().open(&path).map_err(|source| OpenError::Lock { path: path.clone(), source })?;
    lock(&file, db, &path)?;
    Ok(file)
}

fn lock(file: &File, db: &Path, path: &Path) -> Result<(), OpenError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { db: db.to_owned() }),
        Err(TryLockError::Error(source)) => Err(OpenError::Lock { path: path.to_owned(), source }),
    }
}

/// Returns options that open a file for writing. A missing file is created so that only its owner
/// can read and write it. SQLite creates its log and the log's index with the same permissions.
fn owner_only() -> OpenOptions {
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
        NotFound => "create its folder",
        _ => "check that the disk works and has free space",
    };
    format!("it cannot be written ({error}); {advice}, or name another file with --db")
}
