//! Reads the Markdown files of the repository.

use std::fs;
use std::path::{Path, PathBuf};

use stepladder_tests::binary::root;

/// One Markdown file.
pub(crate) struct MarkdownPage {
    /// The path, relative to the root of the repository.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl MarkdownPage {
    pub(crate) fn read(path: &str) -> Self {
        let text = fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        Self { path: path.into(), text }
    }

    /// Returns the lines that are outside code blocks.
    pub(crate) fn prose(&self) -> impl Iterator<Item = &str> {
        let mut in_code = false;
        self.text.lines().filter(move |line| {
            let is_fence = line.trim_start().starts_with("```");
            in_code ^= is_fence;
            !in_code && !is_fence
        })
    }

    /// Returns the code spans that are outside code blocks.
    pub(crate) fn code_spans(&self) -> impl Iterator<Item = &str> {
        self.prose().flat_map(|line| line.split('`').skip(1).step_by(2))
    }

    /// Returns the cells of each row of the tables, without the rows of dashes.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Vec<&str>> {
        self.prose().filter_map(|line| {
            let cells = line.strip_prefix("| ")?.strip_suffix(" |")?;
            (!cells.starts_with("---")).then(|| cells.split(" | ").map(str::trim).collect())
        })
    }
}

/// Returns all Markdown files, sorted by path.
pub(crate) fn all() -> Vec<MarkdownPage> {
    let mut found = files(root(), "md");
    found.retain(|path| !path.starts_with("proof/fuzz/corpus"));
    found.iter().map(|path| MarkdownPage::read(path.to_str().expect("a path of ours is UTF-8"))).collect()
}

/// Returns all files with this extension below a folder, as paths relative to the root of the
/// repository. Skips hidden folders, and folders that builds and installations create.
pub(crate) fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.expect("an entry of a folder").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_symlink() {
                continue; // a file of another place in the repository
            }
            if path.is_dir() {
                let is_ours = !name.starts_with('.') && !["target", "node_modules"].contains(&name.as_str());
                folders.extend(is_ours.then_some(path));
            } else if path.extension().is_some_and(|other| other == extension) {
                found.push(path.strip_prefix(root()).expect("below the root").to_path_buf());
            }
        }
    }
    found.sort_unstable();
    found
}
