//! Checks that the files and tests named in documents exist.

use std::fs;
use std::path::PathBuf;

use stepladder_tests::binary::root;

use crate::pages::{self, MarkdownPage};

/// The folders with which the path of a file in a document may begin.
const FOLDERS: [&str; 8] = ["orchestrator/", "cli/", "release/", "functions/", "proof/", "tests/", "infra/", "docs/"];

/// Converts a path in a document to the path of the file. A path without one of the [`FOLDERS`] is
/// below `orchestrator/`.
fn repository_file(path: &str) -> PathBuf {
    let is_whole = FOLDERS.iter().any(|folder| path.starts_with(folder));
    if is_whole { root().join(path) } else { root().join("orchestrator").join(path) }
}

/// Returns whether a code span is a path: it must not contain spaces, patterns or placeholders.
fn is_path(span: &str) -> bool {
    FOLDERS.iter().any(|folder| span.starts_with(folder))
        && !span.contains([' ', '*', '<', '…', '{', '$', ':', '('])
        && !span.contains("NN")
}

#[test]
fn every_path_in_a_document_exists() {
    let mut missing = Vec::new();
    for page in pages::all().iter().filter(|page| !page.path.ends_with("CHANGELOG.md")) {
        let folder = root().join(page.path.parent().expect("a file lies in a folder"));
        // the page of a crate names files relative to the folder of the crate
        let near = page.code_spans().filter(|span| span.starts_with("src/") || span.starts_with("sql/"));
        let near = near.map(|span| (span, folder.join(span)));
        let named = page.code_spans().filter(|span| is_path(span)).map(|span| (span, root().join(span)));
        missing.extend(
            near.chain(named)
                .filter(|(_, path)| !path.exists())
                .map(|(span, _)| format!("{}: {span}", page.path.display())),
        );
    }
    assert!(missing.is_empty(), "not there:\n{}", missing.join("\n"));
}

/// Checks that an item occurs in the file that a page names for it: "`Backoff::delay` in `….rs`".
#[test]
fn every_item_that_contributing_names_is_in_its_file() {
    let page = MarkdownPage::read("CONTRIBUTING.md");
    let text = page.text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut places = 0;
    for (before, after) in text.match_indices("` in `").map(|(at, between)| (&text[..at], &text[at + between.len()..]))
    {
        let item = before.rsplit('`').next().and_then(|item| item.rsplit("::").next()).expect("a code span");
        let path = after.split('`').next().expect("a code span");
        if path.ends_with(".rs") {
            let source = fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
            assert!(source.contains(item), "`{item}` is not in {path}");
            places += 1;
        }
    }
    assert!(places >= 8, "{places} places");
}

/// Checks that each test named on a page exists in the file that the page names before the test.
fn check_tests(path: &str, least: usize) {
    let page = MarkdownPage::read(path);
    let (mut names, mut source) = (0, String::new());
    for span in page.code_spans() {
        if span.ends_with(".rs") {
            source = fs::read_to_string(repository_file(span)).unwrap_or_else(|e| panic!("{path} names {span}: {e}"));
        } else if span.matches('_').count() > 2
            && span.chars().all(|c| c.is_ascii_lowercase() || "_0123456789".contains(c))
        {
            assert!(source.contains(&format!("fn {span}(")), "{path}: {span} is not in the file named before it");
            names += 1;
        }
    }
    assert!(names >= least, "{path} names {names} tests");
}

#[test]
fn every_test_that_a_page_names_exists() {
    check_tests("docs/features.md", 60);
    check_tests("docs/correctness.md", 40);
    check_tests("docs/hop.md", 40);
    check_tests("docs/changing-code.md", 8);
    check_tests("docs/security.md", 1);
}

/// Returns the numbers with which these lines begin, after a prefix.
fn numbers<'a>(lines: impl Iterator<Item = &'a str>, before: &str, after: &str) -> Vec<u32> {
    let of = |line: &str| line.strip_prefix(before)?.split_once(after)?.0.trim().parse().ok();
    lines.filter_map(of).collect()
}

#[test]
fn each_rule_has_a_text_a_transition_and_a_test() {
    let page = MarkdownPage::read("docs/correctness.md");
    let (_, rules) = page.text.split_once("\n## The rules\n").expect("a section of rules");
    let (rules, _) = rules.split_once("\n### Where a rule does not apply").expect("a section of exceptions");
    let rules = numbers(rules.lines(), "", ". **");
    assert_eq!(rules, (1..=37).collect::<Vec<_>>(), "docs/correctness.md");
    let page = MarkdownPage::read("docs/hop.md");
    let (_, table) = page.text.split_once("\n| rule | ").expect("a table of rules");
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| -")).collect();
    assert_eq!(numbers(rows.iter().copied(), "| ", " | "), rules, "docs/hop.md");
    for row in rows {
        assert!(row.contains(".rs`: `"), "docs/hop.md names no test in {row}");
    }
}

#[test]
fn the_example_of_an_adapters_suite_is_the_one_that_runs() {
    let source = fs::read_to_string(root().join("orchestrator/sqlite/tests/conformance.rs")).expect("a test");
    let (_, source) = source.split_once("\n\n").expect("a comment comes first");
    let contributing: Vec<String> =
        MarkdownPage::read("CONTRIBUTING.md").text.lines().map(|l| l.trim().to_owned()).collect();
    let expected: Vec<&str> = source.trim_end().lines().map(str::trim).collect();
    assert!(contributing.windows(expected.len()).any(|lines| lines == expected), "CONTRIBUTING.md shows another one");
}
