//! Formats durations for messages to people.

use std::time::Duration;

use jiff::SignedDuration;

/// Formats a duration such as `1h 30m`.
pub(crate) fn format_duration(duration: Duration) -> String {
    format!("{:#}", SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_in_their_units() {
        assert_eq!(format_duration(Duration::from_millis(90_500)), "1m 30s 500ms");
        assert_eq!(format_duration(Duration::from_secs(7_200)), "2h");
        assert_eq!(format_duration(Duration::ZERO), "0s");
        assert!(format_duration(Duration::MAX).ends_with("ns"));
    }
}
