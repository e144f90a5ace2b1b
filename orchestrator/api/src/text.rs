//! How durations, sizes and prices are shown to people. The dashboard and the command line share
//! these formats.

use std::time::Duration;

use jiff::fmt::friendly::{FractionalUnit, Spacing, SpanPrinter};
use jiff::{RoundMode, SignedDuration, SpanRound, ToSpan, Unit};
use stepladder_core::Timestamp;

use crate::Usage;

/// Formats a duration in at most two units: `7 ms`, `1.2 s`, `3 m 12 s`, `2 h 5 m`, `12 d 3 h`.
///
/// The duration is truncated, not rounded: the real duration exceeds the shown one by less than one
/// of its smallest units.
pub fn format_duration(duration: Duration) -> String {
    let printer = SpanPrinter::new().spacing(Spacing::BetweenUnitsAndDesignators).zero_unit(Unit::Millisecond);
    let seconds = duration.as_secs();
    let (smallest, printer) = match seconds {
        0 => (Unit::Millisecond, printer),
        1..60 => (Unit::Millisecond, printer.fractional(Some(FractionalUnit::Second)).precision(Some(1))),
        60..3_600 => (Unit::Second, printer),
        3_600..86_400 => (Unit::Minute, printer),
        _ => (Unit::Hour, printer),
    };
    // a span can represent milliseconds of up to 10,000 years; a longer duration is shown as 10,000
    // years
    let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX).min(MAX_MILLIS);
    let round = SpanRound::new().largest(Unit::Day).smallest(smallest).mode(RoundMode::Trunc).days_are_24_hours();
    match millis.milliseconds().round(round) {
        Ok(span) => printer.span_to_string(&span),
        Err(_) => printer.duration_to_string(&SignedDuration::from_millis(millis)),
    }
}

/// The longest duration that is shown: 10,000 years of 365 days.
const MAX_MILLIS: i64 = 10_000 * 365 * 86_400_000;

/// Formats a number of bytes in units of 1,024: `812 B`, `3.4 KB`, `1.2 MB`.
pub fn format_size(bytes: usize) -> String {
    const KB: f64 = 1024.0;
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{:.1} KB", bytes as f64 / KB),
        _ => format!("{:.1} MB", bytes as f64 / (KB * KB)),
    }
}

/// Formats the time of day in UTC, to the millisecond: `21:47:32.118`.
pub fn format_time_of_day(at: Timestamp) -> String {
    let text = at.to_string();
    text.get(11..23).map_or_else(|| text.clone(), str::to_owned)
}

/// Formats a price with three significant digits: `$0.0000338`. The price is given in billionths of
/// a dollar.
pub fn format_dollars(nanodollars: u64) -> String {
    if nanodollars == 0 {
        return "$0".into();
    }
    let dollars = nanodollars as f64 / 1e9;
    // the number of digits after the point, up to the third significant digit
    let digits = (2.0 - dollars.log10().floor()).clamp(2.0, 9.0) as usize;
    format!("${dollars:.digits$}")
}

/// Formats the usage of a model: `gpt-5-mini: 1200 tokens in (200 cached), 300 out, $0.000850`. The
/// caller passes the model's name in a form that can be shown.
pub fn format_usage(model: &str, usage: &Usage) -> String {
    let Usage { model: _, input_tokens, cached_input_tokens, output_tokens, micro_dollars } = usage;
    let cached = if *cached_input_tokens > 0 { format!(" ({cached_input_tokens} cached)") } else { String::new() };
    let price =
        micro_dollars.map_or_else(|| "price not known".into(), |micro| format_dollars(micro.saturating_mul(1_000)));
    format!("{model}: {input_tokens} tokens in{cached}, {output_tokens} out, {price}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_has_at_most_two_units() {
        let shown = |ms| format_duration(Duration::from_millis(ms));
        for (ms, text) in [
            (0, "0 ms"),
            (7, "7 ms"),
            (999, "999 ms"),
            (1_000, "1.0 s"),
            (1_204, "1.2 s"),
            (12_999, "12.9 s"),
            (59_999, "59.9 s"),
            (60_000, "1 m"),
            (192_999, "3 m 12 s"),
            (3_600_000, "1 h"),
            (7_559_999, "2 h 5 m"),
            (90_000_000, "1 d 1 h"),
            (30 * 86_400_000, "30 d"),
        ] {
            assert_eq!(shown(ms), text);
        }
        assert_eq!(format_duration(Duration::from_micros(999)), "0 ms");
        assert_eq!(format_duration(Duration::MAX), "3650000 d");
    }

    #[test]
    fn a_size_has_a_unit() {
        assert_eq!(
            [format_size(0), format_size(1_023), format_size(2_048), format_size(3 << 20)],
            ["0 B", "1023 B", "2.0 KB", "3.0 MB"]
        );
    }

    #[test]
    fn a_price_has_three_significant_digits() {
        let shown = [0, 1, 28_725, 37_900_000, 1_234_567_890, 123_456_789_000_000].map(format_dollars);
        assert_eq!(shown, ["$0", "$0.000000001", "$0.0000287", "$0.0379", "$1.23", "$123456.79"]);
    }

    #[test]
    fn usage_says_when_its_price_is_not_known() {
        let mut used = Usage {
            model: "m".into(),
            input_tokens: 1_200,
            cached_input_tokens: 200,
            output_tokens: 300,
            micro_dollars: Some(850),
        };
        assert_eq!(format_usage("m", &used), "m: 1200 tokens in (200 cached), 300 out, $0.000850");
        (used.cached_input_tokens, used.micro_dollars) = (0, None);
        assert_eq!(format_usage("m", &used), "m: 1200 tokens in, 300 out, price not known");
    }
}
