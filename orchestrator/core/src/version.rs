//! Comparison of two versions of a function's code.

use std::cmp::Ordering;

/// Compares two versions as people read them. Numbers in a version are compared by value, and the
/// rest as text. `2` is older than `10`, `1.9` is older than `1.10`, and `2026-01-31` is older than
/// `2026-02-01`. `None` is older than any version.
pub fn compare_versions(a: Option<&str>, b: Option<&str>) -> Ordering {
    let (Some(a), Some(b)) = (a, b) else { return a.cmp(&b) };
    let (mut left, mut right) = (a, b);
    while !left.is_empty() && !right.is_empty() {
        let ((l, l_rest), (r, r_rest)) = (split_part(left), split_part(right));
        let order = match (starts_with_digit(l), starts_with_digit(r)) {
            (true, true) => {
                let (l, r) = (l.trim_start_matches('0'), r.trim_start_matches('0'));
                l.len().cmp(&r.len()).then_with(|| l.cmp(r))
            }
            (_, _) => l.cmp(r),
        };
        if order.is_ne() {
            return order;
        }
        (left, right) = (l_rest, r_rest);
    }
    // `01` and `1` are different versions, so they must not be equal
    left.len().cmp(&right.len()).then_with(|| a.cmp(b))
}

/// Splits a string after its leading digits. If the string starts with something else, splits it
/// before its first digit.
fn split_part(text: &str) -> (&str, &str) {
    let digits = starts_with_digit(text);
    text.split_at(text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len()))
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_people_read_them() {
        let ordered = ["1", "1.9", "1.10", "2", "10", "2026-01-31", "2026-02-01", "a", "v1", "v2", "v10"];
        for (i, a) in ordered.iter().enumerate() {
            assert_eq!(compare_versions(None, Some(a)), Ordering::Less);
            for (j, b) in ordered.iter().enumerate() {
                assert_eq!(compare_versions(Some(a), Some(b)), i.cmp(&j), "{a} {b}");
            }
        }
        assert_eq!(compare_versions(Some("01"), Some("1")), compare_versions(Some("1"), Some("01")).reverse());
        assert_ne!(compare_versions(Some("01"), Some("1")), Ordering::Equal);
    }
}
