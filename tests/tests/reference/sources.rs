//! Checks the shape of source files: their length, and the width of their comments.

use std::fs;
use std::path::{Path, PathBuf};

use stepladder_tests::binary::root;

/// The folders with our sources.
const FOLDERS: [&str; 5] = ["orchestrator", "cli", "functions", "proof", "tests"];
/// The maximum number of lines of a source file.
const LINES: usize = 400;
/// The maximum number of characters of a line of prose in a comment.
const COLUMNS: usize = 100;

/// Returns the Rust files below a folder. Build results and packages are not sources.
fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.expect("an entry of a folder").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !["target", "node_modules"].contains(&&*name) && !name.starts_with('.') {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    FOLDERS.iter().for_each(|folder| rust_files(&root().join(folder), &mut files));
    assert!(files.len() > 500, "{} files", files.len());
    let read = |path: PathBuf| (fs::read_to_string(&path).map(|text| (path, text))).expect("a source file");
    files.into_iter().map(read).collect()
}

/// Returns the text of a line that is only a comment.
fn comment(line: &str) -> Option<&str> {
    let line = line.trim_start();
    ["///", "//!", "//"].iter().find_map(|start| line.strip_prefix(start)).map(str::trim_start)
}

/// Returns the numbers of the lines with prose that is too wide. Code, tables and addresses may be
/// wider, because they cannot be wrapped.
fn wide_comments(text: &str) -> Vec<usize> {
    let (mut is_code, mut wide) = (false, Vec::new());
    for (at, line) in text.lines().enumerate() {
        let Some(comment) = comment(line) else {
            is_code = false;
            continue;
        };
        is_code ^= comment.starts_with("```");
        let is_fixed = is_code || comment.starts_with(['|', '{']) || comment.contains("https://");
        if line.chars().count() > COLUMNS && !is_fixed {
            wide.push(at + 1);
        }
    }
    wide
}

#[test]
fn no_comment_is_wider_than_a_hundred_columns() {
    let found = sources().into_iter().map(|(path, text)| (path, wide_comments(&text)));
    let wide: Vec<_> = found.filter(|(_, lines)| !lines.is_empty()).collect();
    assert!(wide.is_empty(), "{wide:#?}");
}

#[test]
fn no_source_file_has_more_than_400_lines() {
    let count = |(path, text): (PathBuf, String)| (path, text.lines().count());
    let long: Vec<_> = sources().into_iter().map(count).filter(|(_, lines)| *lines > LINES).collect();
    assert!(long.is_empty(), "{long:#?}");
}
