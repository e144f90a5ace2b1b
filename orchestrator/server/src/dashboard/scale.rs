//! The time axis of a waterfall, in percent. Long spans in which nothing executes are compressed;
//! otherwise a month of sleep would leave no room for the seconds around it. The axis shows the
//! length of each compressed span.

use std::time::Duration;

use stepladder_core::Timestamp;

use super::text::format_duration;

/// The maximum part of the axis for idle spans, relative to the part for spans in which something
/// executes.
const IDLE_SHARE: f64 = 0.8;
/// A span is compressed if it is this many times longer than its share of the axis.
const COMPRESS_FACTOR: f64 = 2.0;

/// A time axis, from the start of a run to the end of the run or to now.
pub(super) struct TimeScale {
    spans: Vec<ScaleSpan>,
}

/// A part of the axis with a uniform scale.
struct ScaleSpan {
    from: i64,
    to: i64,
    x: f64,
    width: f64,
    compressed: bool,
}

/// A compressed span of time, as the axis shows it.
pub(super) struct CompressedSpan {
    /// The position of the middle of the span, in percent.
    pub(super) x: String,
    pub(super) from: String,
    pub(super) width: String,
    /// The length of the span as text, such as `2 minutes`.
    pub(super) length: String,
}

/// Returns a time in milliseconds, limited so that times can be subtracted without overflow. A
/// damaged journal may contain any number.
fn millis(at: Timestamp) -> i64 {
    let most = Timestamp::MAX.as_millis();
    at.as_millis().clamp(-most, most)
}

impl TimeScale {
    /// Creates an axis from `begin` to `end`. In the time spans of `busy`, something is executing.
    pub(super) fn new(begin: Timestamp, end: Timestamp, busy: Vec<(Timestamp, Timestamp)>) -> Self {
        let (begin, end) = (millis(begin), millis(end).max(millis(begin) + 1));
        let mut spans = spans(begin, end, busy);
        let of = |idle: bool| spans.iter().filter(move |span| span.compressed == idle);
        let executing: i64 = of(false).map(|span| span.to - span.from).sum();
        let share = (executing as f64).max(1.0) * IDLE_SHARE / of(true).count().max(1) as f64;
        let any = executing > 0;
        let mut whole = 0.0;
        for span in &mut spans {
            let length = (span.to - span.from) as f64;
            span.compressed &= any && length > share * COMPRESS_FACTOR;
            span.width = if span.compressed { share } else { length };
            whole += span.width;
        }
        let mut x = 0.0;
        for span in &mut spans {
            span.width *= 100.0 / whole;
            span.x = x;
            x += span.width;
        }
        Self { spans }
    }

    /// Returns the position of a time on the axis, in percent. A time outside the axis is placed at
    /// the nearer end.
    pub(super) fn position_of(&self, at: Timestamp) -> f64 {
        let at = millis(at);
        let Some(span) = self.spans.iter().find(|span| at < span.to).or(self.spans.last()) else { return 0.0 };
        let part = (at - span.from) as f64 / (span.to - span.from) as f64;
        span.x + part.clamp(0.0, 1.0) * span.width
    }

    pub(super) fn compressed(&self) -> Vec<CompressedSpan> {
        let of = |span: &ScaleSpan| CompressedSpan {
            x: format_percent(span.x + span.width / 2.0),
            from: format_percent(span.x),
            width: format_percent(span.width),
            length: format_duration(Duration::from_millis((span.to - span.from).unsigned_abs())),
        };
        self.spans.iter().filter(|span| span.compressed).map(of).collect()
    }
}

/// Divides the axis into busy and idle spans. `compressed` is set for idle spans.
fn spans(begin: i64, end: i64, busy: Vec<(Timestamp, Timestamp)>) -> Vec<ScaleSpan> {
    let span = |from, to, idle| ScaleSpan { from, to, x: 0.0, width: 0.0, compressed: idle };
    let mut busy: Vec<(i64, i64)> =
        busy.iter().map(|&(from, to)| (millis(from).max(begin), millis(to).min(end))).collect();
    busy.sort_unstable();
    let (mut spans, mut at) = (Vec::new(), begin);
    for (from, to) in busy {
        let from = from.max(at);
        if to <= from {
            continue;
        }
        if from > at {
            spans.push(span(at, from, true));
        }
        spans.push(span(from, to, false));
        at = to;
    }
    if at < end {
        spans.push(span(at, end, true));
    }
    spans
}

/// Formats a percentage for an HTML attribute.
pub(super) fn format_percent(x: f64) -> String {
    format!("{x:.3}%")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn is_close(found: f64, wanted: f64) -> bool {
        (found - wanted).abs() < 0.01
    }

    #[test]
    fn a_busy_run_is_drawn_evenly() {
        let scale = TimeScale::new(at(100), at(300), vec![(at(100), at(300))]);
        assert!(
            is_close(scale.position_of(at(100)), 0.0)
                && is_close(scale.position_of(at(150)), 25.0)
                && is_close(scale.position_of(at(300)), 100.0)
        );
        assert!(
            is_close(scale.position_of(at(0)), 0.0) && is_close(scale.position_of(at(9_999)), 100.0),
            "outside is at the ends"
        );
        assert!(scale.compressed().is_empty());
    }

    #[test]
    fn a_month_of_sleep_leaves_room_for_the_seconds_around_it() {
        const MONTH: i64 = 30 * 86_400_000;
        let scale =
            TimeScale::new(at(0), at(MONTH + 2_000), vec![(at(0), at(1_000)), (at(MONTH + 1_000), at(MONTH + 2_000))]);
        assert!(scale.position_of(at(1_000)) > 25.0, "{}", scale.position_of(at(1_000)));
        assert!(is_close(scale.position_of(at(1_000)), 100.0 - scale.position_of(at(MONTH + 1_000))));
        assert_eq!(scale.compressed().iter().map(|s| &s.length[..]).collect::<Vec<_>>(), ["30 d"]);
    }

    #[test]
    fn a_run_that_only_waits_is_drawn_evenly() {
        let scale = TimeScale::new(at(0), at(1_000), Vec::new());
        assert!(is_close(scale.position_of(at(500)), 50.0) && scale.compressed().is_empty());
        let nothing = TimeScale::new(at(5), at(5), vec![(at(5), at(5))]);
        assert!(nothing.position_of(at(5)).is_finite());
    }

    #[test]
    fn steps_at_the_same_time_count_once() {
        let scale = TimeScale::new(at(0), at(100), vec![(at(0), at(60)), (at(40), at(100)), (at(10), at(20))]);
        assert!(is_close(scale.position_of(at(50)), 50.0));
    }
}
