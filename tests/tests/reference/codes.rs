//! Checks that `docs/reference/error-codes.md` lists every error code of Stepladder, and no others.

use std::collections::BTreeSet;
use std::fs;

use stepladder_tests::binary::root;

use crate::pages::{self, MarkdownPage};

const PAGE: &str = "docs/reference/error-codes.md";

/// Returns the error codes in the source of the core, which have the form `PollTimeout =
/// "poll-timeout",`.
fn own_codes(source: &str) -> BTreeSet<&str> {
    let variants = source.lines().filter_map(|line| line.trim().split_once(" = \""));
    variants.filter_map(|(_, code)| code.strip_suffix("\",")).collect()
}

#[test]
fn the_page_has_every_code() {
    let source =
        fs::read_to_string(root().join("orchestrator/core/src/failure/code.rs")).expect("the codes of Stepladder");
    let own = own_codes(&source);
    assert!(own.len() > 10, "{own:?}");
    let page = MarkdownPage::read(PAGE);
    let listed: BTreeSet<&str> = page.rows().flat_map(|cells| cells[0].split('`').skip(1).step_by(2)).collect();
    let missing: Vec<&&str> = own.difference(&listed).collect();
    assert!(missing.is_empty(), "{PAGE} lacks {missing:?}");
    let mut sources = String::new();
    for folder in ["orchestrator", "functions"] {
        for path in pages::files(&root().join(folder), "rs").iter().filter(|path| path.iter().any(|part| part == "src"))
        {
            sources += &fs::read_to_string(root().join(path)).expect("a source file");
        }
    }
    let unused: Vec<&&str> = listed.iter().filter(|code| !sources.contains(&format!("\"{code}\""))).collect();
    assert!(unused.is_empty(), "no code has {unused:?}");
}
