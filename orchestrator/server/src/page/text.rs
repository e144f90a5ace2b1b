//! Times, lengths of time and sizes as people read them.

use std::fmt::Write;
use std::time::Duration;

use stepladder_core::Timestamp;
use stepladder_core::journal::Failure;

/// `2026-11-24 21:47:32`, in UTC.
pub(super) fn time(at: Timestamp) -> String {
    let text = at.to_string();
    match text.get(..19) {
        Some(seconds) => seconds.replace('T', " "),
        None => text,
    }
}

/// `21:47:32.118`, in UTC: for what lies close together.
pub(super) fn clock(at: Timestamp) -> String {
    let text = at.to_string();
    text.get(11..23).map_or_else(|| text.clone(), str::to_owned)
}

/// A moment on a page: for the eye, and for the script, which adds the reader's own time.
pub(super) struct Moment {
    /// In UTC, to the second.
    pub(super) shown: String,
    /// RFC 3339, to the millisecond.
    pub(super) exact: String,
    pub(super) millis: i64,
}

impl Moment {
    pub(super) fn of(at: Timestamp) -> Self {
        Self { shown: time(at), exact: at.to_string(), millis: at.as_millis() }
    }
}

/// Short, with a unit. What is shorter than a millisecond took none.
pub(super) fn duration(d: Duration) -> String {
    let seconds = d.as_secs();
    let two = |large: u64, unit: &str, small: u64, smaller: &str| match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {smaller}"),
    };
    match seconds {
        0 => format!("{} ms", d.as_millis()),
        1..60 => format!("{:.1} s", d.as_secs_f64()),
        60..3_600 => two(seconds / 60, "min", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

/// `812 B`, `3.4 KB`, `1.2 MB`; of 1,024.
pub(super) fn size(bytes: usize) -> String {
    const KB: f64 = 1024.0;
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{:.1} KB", bytes as f64 / KB),
        _ => format!("{:.1} MB", bytes as f64 / (KB * KB)),
    }
}

/// A failure with its code.
pub(super) fn sentence(failure: &Failure) -> String {
    match &failure.code {
        None => failure.message.clone(),
        Some(code) => format!("{} ({code})", failure.message),
    }
}

/// At most so many bytes, cut between characters.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// A text that is cut where it is long, with a sign that it is.
pub(super) fn brief(text: &str, bytes: usize) -> String {
    match text.len() <= bytes {
        true => text.to_owned(),
        false => format!("{}…", cut(text, bytes)),
    }
}

/// A query of these parts, for a link: `?status=Failed&function=a%20b`; nothing without parts.
pub(super) fn query<'a>(parts: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut query = String::new();
    for (name, value) in parts {
        query.push(if query.is_empty() { '?' } else { '&' });
        escape(&mut query, name);
        query.push('=');
        escape(&mut query, value);
    }
    query
}

fn escape(query: &mut String, text: &str) {
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
    fn durations_are_short_and_have_a_unit() {
        let shown = |ms| duration(Duration::from_millis(ms));
        assert_eq!(
            [shown(0), shown(999), shown(1_500), shown(61_000), shown(7_260_000), shown(90_000_000), shown(60_000)],
            ["0 ms", "999 ms", "1.5 s", "1 min 1 s", "2 h 1 min", "1 d 1 h", "1 min"]
        );
    }

    #[test]
    fn a_query_holds_any_text() {
        assert_eq!(query([("a", "1"), ("b", "ä&=#\"< ")]), "?a=1&b=%C3%A4%26%3D%23%22%3C%20");
        assert_eq!(query([("\n&=", "1")]), "?%0A%26%3D=1", "names as well");
        assert_eq!(query([]), "");
    }

    #[test]
    fn sizes_are_short_and_texts_are_cut_between_characters() {
        assert_eq!([size(0), size(2_048), size(3 << 20)], ["0 B", "2.0 KB", "3.0 MB"]);
        assert_eq!(brief("éé", 3), "é…");
        assert_eq!(brief("éé", 4), "éé");
    }
}
