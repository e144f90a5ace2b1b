//! Checks that `docs/reference/error-codes.md` has every error code of the SDK, and no others.

use std::collections::BTreeSet;
use std::fs;

use stepladder_tests::binary::root;

use crate::pages::{self, Page};

const PAGE: &str = "docs/reference/error-codes.md";

/// Returns the error codes in the SDK's source: `Self::PollTimeout => "poll-timeout"`.
fn codes_of_the_sdk(source: &str) -> BTreeSet<&str> {
    let arms = source.lines().filter_map(|line| line.trim().strip_prefix("Self::")?.split_once(" => \""));
    arms.filter_map(|(_, code)| code.strip_suffix("\",")).collect()
}

#[test]
fn the_page_has_every_code() {
    let source = fs::read_to_string(root().join("orchestrator/sdk/src/error/code.rs")).expect("the codes of the SDK");
    let of_sdk = codes_of_the_sdk(&source);
    assert!(of_sdk.len() > 10, "{of_sdk:?}");
    let page = Page::read(PAGE);
    let listed: BTreeSet<&str> = page.rows().flat_map(|cells| cells[0].split('`').skip(1).step_by(2)).collect();
    let missing: Vec<&&str> = of_sdk.difference(&listed).collect();
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
