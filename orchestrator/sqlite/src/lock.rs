//! The lock that makes a process the only one on a data file (rule 30). The operating system releases it when the
//! process ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use crate::open::OpenError;

/// Held as long as it lives.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of a data file: that of the file beside it with `.lock` added to its name. Not the data file's
    /// own: SQLite's locks are bound to that one.
    pub(crate) fn take(db: &Path) -> Result<Self, OpenError> {
        let mut name = db.as_os_str().to_owned();
        name.push(".lock");
        let path = PathBuf::from(name);
        let cannot = |error| OpenError::Lock { path: path.clone(), error };
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(cannot)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse { db: db.to_owned() }),
            Err(TryLockError::Error(error)) => Err(cannot(error)),
        }
    }
}
