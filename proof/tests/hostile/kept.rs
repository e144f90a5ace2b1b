//! Runs each target on the unchanged inputs of its corpus.

use std::fs;

use stepladder_proof::hostile::TARGETS;

use crate::corpus;

/// Maximum size of the corpus in bytes, because every clone contains it.
const MOST_BYTES: usize = 300_000;

#[test]
fn kept_inputs_harm_nobody() {
    for (name, target) in TARGETS {
        for kept in corpus::of(name) {
            // a stack overflow ends the process without a message, so each input's path is printed
            // first
            println!("{}", kept.file.display());
            target(&kept.bytes);
        }
    }
}

#[test]
fn the_kept_inputs_stay_small_and_each_folder_is_a_targets() {
    let mut folders: Vec<String> = fs::read_dir(corpus::folder())
        .expect("a readable folder")
        .map(|folder| folder.expect("a readable folder").file_name().into_string().expect("a plain name"))
        .collect();
    folders.sort();
    let mut names = TARGETS.map(|(name, _)| name);
    names.sort_unstable();
    assert_eq!(folders, names);
    let bytes: usize = names.iter().flat_map(|name| corpus::of(name)).map(|kept| kept.bytes.len()).sum();
    assert!(bytes <= MOST_BYTES, "{bytes} bytes");
}
