//! Formats durations, ages, JSON and strings from outside for a terminal.

use std::time::Duration;

use stepladder_api::text::format_duration;
use stepladder_core::Timestamp;
use stepladder_engine::clock::{Clock, SystemClock};

/// Parses a duration such as `50ms`, `2s`, `1m 30s` or `30d`. A day has 24 hours.
///
/// # Errors
/// A sentence that contains an example.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let span: Option<jiff::Span> = text.trim().parse().ok();
    span.and_then(|span| span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok())
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| format!("`{text}` is not a duration; write it like 50ms, 2s or 1m"))
}

/// Returns the time of this machine's clock.
pub(crate) fn now() -> Timestamp {
    SystemClock.now()
}

/// Formats a time relative to now, such as `12.0 s ago` or `in 3 m 12 s`.
pub(crate) fn format_relative_time(at: Timestamp, now: Timestamp) -> String {
    if at > now {
        format!("in {}", format_duration(at.since(now)))
    } else {
        format!("{} ago", format_duration(now.since(at)))
    }
}

/// Formats a string from outside as one line of at most `longest` characters, without line breaks
/// and control characters.
pub(crate) fn one_line(text: &str, longest: usize) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    let line = words.join(" ");
    if line.chars().count() <= longest {
        return line;
    }
    let cut: String = line.chars().take(longest.saturating_sub(1)).collect();
    format!("{cut}…")
}

/// Indents JSON, and keeps the order of its keys. An encrypted value is described.
pub(crate) fn pretty_json(json: &str) -> String {
    let json = &*stepladder_core::encrypted::described(json);
    let pretty = || {
        let mut out = Vec::new();
        let mut from = serde_json::Deserializer::from_str(json);
        let mut to = serde_json::Serializer::pretty(&mut out);
        serde_transcode::transcode(&mut from, &mut to).ok()?;
        String::from_utf8(out).ok()
    };
    pretty().unwrap_or_else(|| json.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_parsed_with_their_units() {
        assert_eq!(parse_duration("50ms"), Ok(Duration::from_millis(50)));
        assert_eq!(parse_duration("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(parse_duration("1m"), Ok(Duration::from_secs(60)));
        assert_eq!(parse_duration("1h 30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(parse_duration("30d"), Ok(Duration::from_secs(2_592_000)));
        assert_eq!(parse_duration("0s"), Ok(Duration::ZERO));
    }

    #[cfg(feature = "local")]
    #[test]
    fn a_text_that_is_no_duration_is_refused_with_an_example() {
        for text in ["", "5", "ms", "-2s", "soon"] {
            assert!(parse_duration(text).expect_err(text).contains("write it like 50ms"), "{text}");
        }
    }

    #[test]
    fn a_time_is_shown_by_its_distance_from_now() {
        let now = Timestamp::from_millis(1_767_225_610_000);
        let relative = |ms: i64| format_relative_time(Timestamp::from_millis(now.as_millis() + ms), now);
        assert_eq!([relative(-10_000), relative(60_000), relative(0)], ["10.0 s ago", "in 1 m", "0 ms ago"]);
    }

    #[test]
    fn a_text_from_outside_cannot_break_the_line_or_move_the_cursor() {
        assert_eq!(one_line("a\n\tb\u{1b}[2Jc\r\n", 80), "a b [2Jc");
        assert_eq!(one_line("abcdef", 4), "abc…");
        assert_eq!(one_line("abcd", 4), "abcd");
    }

    #[test]
    fn pretty_json_keeps_the_order_of_the_keys() {
        assert_eq!(pretty_json(r#"{"b":1,"a":[]}"#), "{\n  \"b\": 1,\n  \"a\": []\n}");
        assert_eq!(pretty_json("not json"), "not json");
        let encrypted = r#"[{"stepladder/encrypted":{"key":"k1","for":{"place":"step"},"data":"AAA="}}]"#;
        assert_eq!(pretty_json(encrypted), "[\n  \"encrypted with key k1, 2 bytes\"\n]");
    }
}
