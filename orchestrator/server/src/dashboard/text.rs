//! Formats times, texts and links for pages.

use std::fmt::Write;

pub(super) use stepladder_api::text::{format_duration, format_size, format_time_of_day};
use stepladder_core::Timestamp;
use stepladder_core::journal::Failure;

/// Formats a time in UTC, to the second: `2026-11-24 21:47:32`.
pub(super) fn format_time(at: Timestamp) -> String {
    let text = at.to_string();
    match text.get(..19) {
        Some(seconds) => seconds.replace('T', " "),
        None => text,
    }
}

/// A time on a page, as text and in an exact form. The script uses the exact form to add the
/// reader's local time.
pub(super) struct ShownTime {
    /// The time in UTC, to the second.
    pub(super) shown: String,
    /// The time as RFC 3339, to the millisecond.
    pub(super) exact: String,
    pub(super) millis: i64,
}

impl ShownTime {
    pub(super) fn from_timestamp(at: Timestamp) -> Self {
        Self { shown: format_time(at), exact: at.to_string(), millis: at.as_millis() }
    }
}

/// Formats a failure with its name and its code.
pub(super) fn sentence(failure: &Failure) -> String {
    match &failure.code {
        None => failure.headline().into_owned(),
        Some(code) => format!("{} ({code})", failure.headline()),
    }
}

/// Returns a sentence with a capital letter at its start and a full stop at its end. An address at
/// the start keeps its letters.
pub(super) fn capitalized(sentence: &str) -> String {
    let mut chars = sentence.chars();
    let is_address = sentence.split(' ').next().is_some_and(|word| word.contains("://"));
    let first = chars.next().map(|first| if is_address { first.to_string() } else { first.to_uppercase().to_string() });
    let first = first.unwrap_or_default();
    let end = if sentence.ends_with(['.', '!', '?', '…']) { "" } else { "." };
    format!("{first}{}{end}", chars.as_str())
}

/// Truncates a string to at most `bytes` bytes, between two characters.
pub(super) fn truncate(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// Truncates a string that is longer than `bytes`, and appends `…`.
pub(super) fn brief(text: &str, bytes: usize) -> String {
    match text.len() <= bytes {
        true => text.to_owned(),
        false => format!("{}…", truncate(text, bytes)),
    }
}

/// Formats the query of a link, such as `?status=Failed&function=a%20b`. The result is empty if
/// there are no parts.
pub(super) fn query_string<'a>(parts: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut query = String::new();
    for (name, value) in parts {
        query.push(if query.is_empty() { '?' } else { '&' });
        escape_query(&mut query, name);
        query.push('=');
        escape_query(&mut query, value);
    }
    query
}

fn escape_query(query: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => query.push(byte as char),
            other => _ = write!(query, "%{other:02X}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_holds_any_text() {
        assert_eq!(query_string([("a", "1"), ("b", "ä&=#\"< ")]), "?a=1&b=%C3%A4%26%3D%23%22%3C%20");
        assert_eq!(query_string([("\n&=", "1")]), "?%0A%26%3D=1", "names as well");
        assert_eq!(query_string([]), "");
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(brief("éé", 3), "é…");
        assert_eq!(brief("éé", 4), "éé");
    }
}
