//! Runs each target on the unchanged inputs of its corpus.

use std::fs;

use stepladder_proof::hostile::TARGETS;

use crate::corpus;

/// Maximum size of the corpus in bytes, because every clone contains it.
const MOST_BYTES: usize = 300_000;

#[test]
fn corpus_inputs_do_no_harm() {
    for (name, target) in TARGETS {
        for kept in corpus::inputs_of_target(name) {
            // a stack overflow ends the process without a message, so each input's path is printed
            // first
            println!("{}", kept.file.display());
            target(&kept.bytes);
        }
    }
}

#[test]
fn corpus_inputs_are_small_and_each_folder_belongs_to_a_target() {
    let mut folders: Vec<String> = fs::read_dir(corpus::corpus_folder())
        .expect("a readable folder")
        .map(|folder| folder.expect("a readable folder").file_name().into_string().expect("a plain name"))
        .collect();
    folders.sort();
    let mut names = TARGETS.map(|(name, _)| name);
    names.sort_unstable();
    assert_eq!(folders, names);
    let bytes: usize = names.iter().flat_map(|name| corpus::inputs_of_target(name)).map(|kept| kept.bytes.len()).sum();
    assert!(bytes <= MOST_BYTES, "{bytes} bytes");
}
