//! Checks the table of limits: each number must be the value of the constant in its row.

use std::fs;
use std::path::{Path, PathBuf};

use stepladder_tests::binary::root;

use crate::pages::MarkdownPage;

const PAGE: &str = "docs/reference/limits.md";
const CORE: &str = "orchestrator/core/src/limits.rs";

/// A row of the table that names a constant.
struct LimitRow {
    exactly: i64,
    constant: String,
    file: PathBuf,
}

/// Returns the rows of the form `| thing | limit | exactly | [`CONSTANT`](file) | past it |`.
fn limit_rows(page: &MarkdownPage) -> Vec<LimitRow> {
    let folder = root().join(PAGE);
    let folder = folder.parent().expect("the page lies in a folder");
    let read = |cells: Vec<&str>| {
        let (constant, file) = cells.get(3)?.strip_prefix("[`")?.split_once("`](")?;
        let exactly = cells[2].replace(',', "").parse();
        Some(LimitRow {
            exactly: exactly.unwrap_or_else(|e| panic!("{e}: {cells:?}")),
            constant: constant.into(),
            file: folder.join(file.strip_suffix(')')?),
        })
    };
    page.rows().filter_map(read).collect()
}

/// Returns the value of a constant. Its expression is a sum of products of numbers and other
/// constants.
fn constant_value(constant: &str, file: &Path) -> i64 {
    let source = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let text = source
        .split_once(&format!("const {constant}: "))
        .and_then(|(_, rest)| rest.split_once("= ")?.1.split_once(';'))
        .unwrap_or_else(|| panic!("{} has no constant {constant}", file.display()))
        .0;
    // the value of a duration is its number of seconds
    let text = text.strip_prefix("Duration::from_secs(").and_then(|text| text.strip_suffix(')')).unwrap_or(text);
    let number =
        |text: &str| text.replace('_', "").parse().unwrap_or_else(|_| constant_value(text, &root().join(CORE)));
    text.split('+').map(|term| term.split('*').map(|factor| number(factor.trim())).product::<i64>()).sum()
}

#[test]
fn every_limit_on_the_page_is_that_of_the_code() {
    let rows = limit_rows(&MarkdownPage::read(PAGE));
    assert!(rows.len() > 40, "{} rows", rows.len());
    for LimitRow { exactly, constant, file } in &rows {
        assert_eq!(*exactly, constant_value(constant, file), "{constant}");
    }
    let limits = fs::read_to_string(root().join(CORE)).expect("the limits");
    // a string constant is a name, not a limit
    for line in limits.lines().filter(|line| !line.contains(": &str")) {
        let Some((name, _)) = line.strip_prefix("pub const ").and_then(|rest| rest.split_once(':')) else { continue };
        assert!(rows.iter().any(|row| row.constant == name), "{name} is not on {PAGE}");
    }
}
