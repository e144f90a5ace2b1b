//! Groups of failed runs with the same error. Numbers and quoted parts of an error are ignored.

use stepladder_engine::view::RunSummary;

use crate::dashboard::text::{brief, sentence};

/// The maximum size of the key of a group, in bytes. The rest of an error is ignored.
const KEY_BYTES: usize = 160;
/// The maximum number of groups that are shown.
const GROUPS: usize = 5;

/// Runs with the same error.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ErrorGroup {
    /// The error without its numbers and quoted parts.
    pub(super) key: String,
    pub(super) runs: usize,
}

/// Returns the error of a run without what differs between runs; `None` if it has no error.
pub(super) fn error_key(run: &RunSummary) -> Option<String> {
    run.error.as_ref().map(|error| normalize(&sentence(error)))
}

/// Returns the largest groups of at least two runs, largest first.
pub(super) fn group_errors(runs: &[RunSummary]) -> Vec<ErrorGroup> {
    let mut groups: Vec<ErrorGroup> = Vec::new();
    for key in runs.iter().filter_map(error_key) {
        match groups.iter_mut().find(|group| group.key == key) {
            Some(group) => group.runs += 1,
            None => groups.push(ErrorGroup { key, runs: 1 }),
        }
    }
    groups.retain(|group| group.runs > 1);
    groups.sort_by_key(|group| std::cmp::Reverse(group.runs));
    groups.truncate(GROUPS);
    groups
}

/// Replaces what is between quotation marks, and each number of four or more digits or with letters
/// beside it. Short numbers stay, because they tell `503` from `429`.
fn normalize(error: &str) -> String {
    let line = error.lines().next().unwrap_or_default();
    let mut key = String::new();
    let mut quote = None;
    let mut word = String::new();
    for char in line.chars().chain([' ']) {
        if let Some(mark) = quote {
            if char == mark {
                quote = None;
                key.push('…');
                key.push(mark);
            }
            continue;
        }
        if char.is_alphanumeric() {
            word.push(char);
            continue;
        }
        key.push_str(if is_variable(&word) { "#" } else { &word });
        word.clear();
        key.push(char);
        if matches!(char, '`' | '"') {
            quote = Some(char);
        }
    }
    brief(key.trim_end(), KEY_BYTES)
}

fn is_variable(word: &str) -> bool {
    let digits = word.chars().filter(char::is_ascii_digit).count();
    digits > 3 || digits > 0 && word.len() > 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_between_runs_is_left_out_of_a_key() {
        for (error, key) in [
            ("503 from openai after 12 s", "503 from openai after 12 s"),
            ("request 01M8MMH6GBS2499YK6XZWM347V failed", "request # failed"),
            ("no client `acme` at port 40123\nmore", "no client `…` at port #"),
            ("missing \"a\" and \"b\"", "missing \"…\" and \"…\""),
            ("open `quote", "open `"),
        ] {
            assert_eq!(normalize(error), key, "{error}");
        }
    }
}
