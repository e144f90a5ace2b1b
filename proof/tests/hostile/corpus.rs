//! The corpus: inputs written by hand, with telling names, and inputs that the fuzzer found, named
//! by their hashes.

use std::fs;
use std::path::{Path, PathBuf};

/// An input of the corpus.
pub(crate) struct CorpusInput {
    pub(crate) file: PathBuf,
    pub(crate) bytes: Vec<u8>,
}

/// Reads the corpus of a target, sorted by name.
pub(crate) fn inputs_of_target(target: &str) -> Vec<CorpusInput> {
    let folder = corpus_folder().join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("a readable folder").path()).collect();
    files.sort();
    let kept: Vec<CorpusInput> =
        files.into_iter().map(|file| CorpusInput { bytes: fs::read(&file).expect("a readable file"), file }).collect();
    assert!(!kept.is_empty(), "{} has no inputs", folder.display());
    kept
}

/// Returns the folder of the corpus.
pub(crate) fn corpus_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}
