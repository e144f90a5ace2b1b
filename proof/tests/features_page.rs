//! What docs/features.md names is there: each file, and each test in it.

use std::fs;
use std::path::{Path, PathBuf};

/// Where a path of the page begins.
fn file(path: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let is_at_the_root = path.starts_with("tests/") || path.starts_with("functions/");
    if is_at_the_root { root.join(path) } else { root.join("orchestrator").join(path) }
}

#[test]
fn every_test_that_the_page_names_is_there() {
    let page = fs::read_to_string(file("functions/../docs/features.md")).expect("the page");
    let (mut names, mut source) = (0, String::new());
    for quoted in page.split('`').skip(1).step_by(2) {
        if quoted.ends_with(".rs") {
            source = fs::read_to_string(file(quoted)).unwrap_or_else(|e| panic!("{quoted}: {e}"));
        } else if quoted.matches('_').count() > 2 {
            assert!(source.contains(&format!("fn {quoted}(")), "{quoted} is not where the page says");
            names += 1;
        }
    }
    assert!(names > 25, "{names}");
}
