//! The table of limits in docs/security.md says what the code does: each number is that of the constant it names.

use std::fs;
use std::path::{Path, PathBuf};

/// A row that names a constant.
struct Row {
    exactly: i64,
    constant: String,
    file: PathBuf,
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

/// `| thing | limit | exactly | [`CONSTANT`](file) | what is seen |`.
fn rows(page: &str) -> Vec<Row> {
    let read = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let (constant, file) = cells.get(4)?.strip_prefix("[`")?.split_once("`](")?;
        let exactly = cells[3].replace(',', "").parse();
        Some(Row {
            exactly: exactly.unwrap_or_else(|e| panic!("{e}: {line}")),
            constant: constant.into(),
            file: docs().join(file.strip_suffix(')')?),
        })
    };
    page.lines().filter_map(read).collect()
}

/// What a constant comes to: sums of products of numbers and of other constants.
fn value(constant: &str, file: &Path) -> i64 {
    let source = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let text = source
        .split_once(&format!("const {constant}: "))
        .and_then(|(_, rest)| rest.split_once("= ")?.1.split_once(';'))
        .unwrap_or_else(|| panic!("{} has no constant {constant}", file.display()))
        .0;
    // of a duration, the seconds
    let text = text.strip_prefix("Duration::from_secs(").and_then(|text| text.strip_suffix(')')).unwrap_or(text);
    let number = |text: &str| {
        text.replace('_', "")
            .parse()
            .unwrap_or_else(|_| value(text, &docs().join("../orchestrator/core/src/limits.rs")))
    };
    text.split('+').map(|term| term.split('*').map(|factor| number(factor.trim())).product::<i64>()).sum()
}

#[test]
fn every_limit_on_the_page_is_the_one_in_the_code() {
    let page = fs::read_to_string(docs().join("security.md")).expect("the page");
    let rows = rows(&page);
    for Row { exactly, constant, file } in &rows {
        assert_eq!(*exactly, value(constant, file), "{constant}");
    }
    let limits = fs::read_to_string(docs().join("../orchestrator/core/src/limits.rs")).expect("the limits");
    // what is text is a name, no limit
    for line in limits.lines().filter(|line| !line.contains(": &str")) {
        let Some((name, _)) = line.strip_prefix("pub const ").and_then(|rest| rest.split_once(':')) else { continue };
        assert!(rows.iter().any(|row| row.constant == name), "{name} is not on the page");
    }
}

#[test]
fn every_file_that_the_page_links_to_is_there() {
    let page = fs::read_to_string(docs().join("security.md")).expect("the page");
    let links: Vec<&str> = page.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(to, _)| to).collect();
    assert!(links.len() > 20);
    for link in links.iter().filter(|link| !link.starts_with("http")) {
        let (file, _) = link.split_once('#').unwrap_or((link, ""));
        assert!(docs().join(file).exists(), "{link}");
    }
}
