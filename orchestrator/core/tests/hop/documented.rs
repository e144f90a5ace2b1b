//! Checks that `docs/hop.md` matches the machine: the transition table, and the test of each rule.

const BOOK: &str = include_str!("../../../../docs/hop.md");
const SOURCE: &str = include_str!("../../src/hop.rs");
const TESTS: [&str; 8] = [
    include_str!("admitting.rs"),
    include_str!("calling.rs"),
    include_str!("ending.rs"),
    include_str!("failing.rs"),
    include_str!("replaying.rs"),
    include_str!("slots.rs"),
    include_str!("starting.rs"),
    include_str!("timing.rs"),
];

#[test]
fn the_book_has_the_transition_table_of_the_source() {
    let table: Vec<&str> =
        SOURCE.lines().filter_map(|line| line.strip_prefix("//! ")).filter(|line| line.starts_with('|')).collect();
    assert!(table.len() > 15 && BOOK.contains(&table.join("\n")), "copy the table of core/src/hop.rs into docs/hop.md");
}

#[test]
fn each_rule_in_the_book_names_a_test() {
    let named = BOOK.split('`').filter(|word| word.starts_with("rule_") || word.starts_with("rules_"));
    let named: Vec<&str> = named.collect();
    assert!(named.len() >= 22);
    for test in named {
        assert!(TESTS.iter().any(|file| file.contains(&format!("fn {test}()"))), "there is no test `{test}`");
    }
}
