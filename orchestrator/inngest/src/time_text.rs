//! Times as Inngest's SDKs write them: `1h30m`, `2d`, or a date such as `2030-01-01T00:00:00Z`.

use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo};
use stepladder_core::Timestamp;

/// The end of a sleep: after a duration, or at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SleepEnd {
    /// After this duration, counted from the first request.
    After(Duration),
    /// At this time.
    At(Timestamp),
}

/// Parses a duration. A day has 24 hours. Returns `None` if the text is no duration.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let signed = text.parse::<SignedDuration>().ok().or_else(|| {
        let span = text.parse::<Span>().ok()?;
        span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()
    })?;
    Duration::try_from(signed).ok()
}

/// Parses a duration or a date with a time zone. Returns `None` if the text is neither.
pub(crate) fn parse_sleep_end(text: &str) -> Option<SleepEnd> {
    if let Some(duration) = parse_duration(text) {
        return Some(SleepEnd::After(duration));
    }
    parse_time(text).map(SleepEnd::At)
}

/// Parses a date with a time zone, such as `2030-01-01T00:00:00.000Z`.
pub(crate) fn parse_time(text: &str) -> Option<Timestamp> {
    Some(Timestamp::from_millis(text.parse::<jiff::Timestamp>().ok()?.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_the_units_of_the_specification() {
        for (text, millis) in [
            ("300ms", 300),
            ("1s", 1_000),
            ("2h45m", 9_900_000),
            ("1.5h", 5_400_000),
            ("2d", 172_800_000),
            ("1w", 604_800_000),
            ("1w2d3h", 788_400_000),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "soon", "-1s", "5", "1 fortnight"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_sleep_ends_after_a_duration_or_at_a_date() {
        assert_eq!(parse_sleep_end("1s"), Some(SleepEnd::After(Duration::from_secs(1))));
        let date = parse_sleep_end("2030-01-01T00:00:00.000Z");
        assert_eq!(date, Some(SleepEnd::At(Timestamp::from_millis(1_893_456_000_000))));
        assert_eq!(parse_sleep_end("tomorrow"), None);
    }
}
