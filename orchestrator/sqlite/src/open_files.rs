//! The data files that this process has open, by device and inode.
//!
//! This list is needed because a lock of the operating system does not protect a file from a second
//! opening by the same process. Even a failed second attempt would drop SQLite's own locks, because
//! it closes the file.

use std::fs::Metadata;

use parking_lot::Mutex;

static OPEN_FILES: Mutex<Vec<FileId>> = Mutex::new(Vec::new());

/// The device and the inode of a file, which are the same under each name of the file.
type FileId = (u64, u64);

/// An entry in the list of open files. Dropping the entry removes the file from the list.
#[derive(Debug)]
pub(crate) struct OpenFile(Option<FileId>);

/// Returns whether this process has the file open.
pub(crate) fn is_open(file: &Metadata) -> bool {
    file_id(file).is_some_and(|id| OPEN_FILES.lock().contains(&id))
}

/// Adds a file to the list of open files. Returns `None` if the file is already in the list.
pub(crate) fn register(file: &Metadata) -> Option<OpenFile> {
    let Some(id) = file_id(file) else { return Some(OpenFile(None)) };
    let mut open = OPEN_FILES.lock();
    if open.contains(&id) {
        return None;
    }
    open.push(id);
    Some(OpenFile(Some(id)))
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        OPEN_FILES.lock().retain(|id| Some(*id) != self.0);
    }
}

#[cfg(unix)]
fn file_id(file: &Metadata) -> Option<FileId> {
    use std::os::unix::fs::MetadataExt;
    Some((file.dev(), file.ino()))
}

/// Returns `None`, because other systems only have the lock of the file beside the data file.
#[cfg(not(unix))]
fn file_id(_: &Metadata) -> Option<FileId> {
    None
}
