//! The data files that this process has open, by device and inode: no lock of the operating system tells two openers of
//! one process apart, and even a failed second attempt would drop SQLite's locks of the first by closing the file.

use std::fs::Metadata;
use std::sync::{Mutex, MutexGuard, PoisonError};

static OPEN: Mutex<Vec<Id>> = Mutex::new(Vec::new());

/// What tells a file from others, whatever its names.
type Id = (u64, u64);

/// A file in the list, until this is dropped.
#[derive(Debug)]
pub(crate) struct Entry(Option<Id>);

/// Whether this process has the file open.
pub(crate) fn is_open(file: &Metadata) -> bool {
    id(file).is_some_and(|id| list().contains(&id))
}

/// Adds a file to the list; `None` when it is there already.
pub(crate) fn enter(file: &Metadata) -> Option<Entry> {
    let Some(id) = id(file) else { return Some(Entry(None)) };
    let mut list = list();
    if list.contains(&id) {
        return None;
    }
    list.push(id);
    Some(Entry(Some(id)))
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut list = list();
        list.retain(|id| Some(*id) != self.0);
    }
}

fn list() -> MutexGuard<'static, Vec<Id>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(unix)]
fn id(file: &Metadata) -> Option<Id> {
    use std::os::unix::fs::MetadataExt;
    Some((file.dev(), file.ino()))
}

/// The lock of the file beside it is all there is.
#[cfg(not(unix))]
fn id(_: &Metadata) -> Option<Id> {
    None
}
