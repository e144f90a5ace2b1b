//! Checks that `docs/hop.md` matches the machine: the transition table, and the test of each rule.

const BOOK: &str = include_str!("../../../../docs/hop.md");
const SOURCE: &str = include_str!("../../src/hop.rs");
/// The files with tests of rules.
const TESTS: [(&str, &str); 13] = [
    ("admitting.rs", include_str!("admitting.rs")),
    ("calling.rs", include_str!("calling.rs")),
    ("ending.rs", include_str!("ending.rs")),
    ("failing.rs", include_str!("failing.rs")),
    ("inbox.rs", include_str!("inbox.rs")),
    ("keeping.rs", include_str!("keeping.rs")),
    ("registering.rs", include_str!("registering.rs")),
    ("replaying.rs", include_str!("replaying.rs")),
    ("slots.rs", include_str!("slots.rs")),
    ("starting.rs", include_str!("starting.rs")),
    ("suspending.rs", include_str!("suspending.rs")),
    ("timing.rs", include_str!("timing.rs")),
    ("versions.rs", include_str!("versions.rs")),
];

#[test]
fn the_book_has_the_transition_table_of_the_source() {
    let table: Vec<&str> =
        SOURCE.lines().filter_map(|line| line.strip_prefix("//! ")).filter(|line| line.starts_with('|')).collect();
    assert!(table.len() > 15 && BOOK.contains(&table.join("\n")), "copy the table of core/src/hop.rs into docs/hop.md");
}

#[test]
fn each_rule_in_the_book_names_a_test_and_its_file() {
    let (mut named, mut text) = (0, "");
    for word in BOOK.split('`') {
        if let Some(file) = word.strip_prefix("orchestrator/core/tests/hop/") {
            text = TESTS.iter().find(|(name, _)| *name == file).map_or("", |(_, text)| text);
        }
        if word.starts_with("rule_") || word.starts_with("rules_") {
            named += 1;
            assert!(text.contains(&format!("fn {word}()")), "there is no test `{word}` in the file before it");
        }
    }
    assert!(named >= 22);
}
