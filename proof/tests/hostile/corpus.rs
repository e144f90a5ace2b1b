//! The kept inputs: seeds by hand under their names, the fuzzer's finds under their hashes.

use std::fs;
use std::path::{Path, PathBuf};

/// An input, and the file that holds it.
pub(crate) struct Kept {
    pub(crate) file: PathBuf,
    pub(crate) bytes: Vec<u8>,
}

/// The inputs of a target, in the order of their names.
pub(crate) fn of(target: &str) -> Vec<Kept> {
    let folder = folder().join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("a readable folder").path()).collect();
    files.sort();
    let kept: Vec<Kept> =
        files.into_iter().map(|file| Kept { bytes: fs::read(&file).expect("a readable file"), file }).collect();
    assert!(!kept.is_empty(), "{} has no inputs", folder.display());
    kept
}

/// Where they are.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}
