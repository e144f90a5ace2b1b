//! The time axis of a timeline, in percent.
//!
//! The true scale is linear. The compressed scale cuts long spans in which nothing executes;
//! otherwise a month of sleep would leave no room for the seconds around it. A cut is drawn as a
//! break with its length. A longer cut is drawn wider, so that growing waits look as if they grow.

use std::time::Duration;

use stepladder_core::Timestamp;

use super::text::format_duration;

/// The share of the axis that each break adds, and the maximum share of all breaks.
const BREAK_SHARE: f64 = 0.13;
const MAX_BREAK_SHARE: f64 = 0.65;
/// The maximum number of breaks. The longest idle spans are cut first.
const MAX_BREAKS: usize = 12;
/// An idle span is cut only if it is longer than the rest of the axis times this factor.
const CUT_FACTOR: f64 = 0.6;
/// The minimum distance of two ticks with labels, in percent of the axis.
const TICK_DISTANCE: f64 = 16.0;
/// The minimum distance of the labels of two breaks, in percent of the axis.
const BREAK_DISTANCE: f64 = 7.5;

/// The lengths between two ticks, in milliseconds.
const TICK_STEPS: [i64; 34] = [
    1,
    2,
    5,
    10,
    20,
    50,
    100,
    200,
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    15_000,
    30_000,
    60_000,
    120_000,
    300_000,
    600_000,
    900_000,
    1_800_000,
    3_600_000,
    7_200_000,
    10_800_000,
    21_600_000,
    43_200_000,
    86_400_000,
    172_800_000,
    604_800_000,
    1_209_600_000,
    2_592_000_000,
    7_776_000_000,
    31_536_000_000,
    315_360_000_000,
];

/// How a timeline shows long spans without work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScaleKind {
    /// Idle spans are cut.
    Compressed,
    /// Time is linear.
    True,
}

/// A time axis, from the start of a run to the end of the run or to now, or a part of it.
pub(super) struct TimeScale {
    /// The time from which offsets are counted.
    zero: i64,
    spans: Vec<ScaleSpan>,
}

/// A part of the axis with a uniform scale.
struct ScaleSpan {
    from: i64,
    to: i64,
    x: f64,
    width: f64,
    is_break: bool,
}

/// A break of the axis.
pub(super) struct ScaleBreak {
    pub(super) from: String,
    /// The position of the middle of the break, in percent.
    pub(super) middle: String,
    pub(super) width: String,
    /// The length of the cut span as text, such as `2 m`. Empty if the label of another break is
    /// too near.
    pub(super) length: String,
}

/// A time that the axis shows.
pub(super) struct ScaleTick {
    pub(super) x: String,
    /// The time since the start of the run.
    pub(super) label: String,
    /// Where the label stands relative to the tick: `start` or `middle`.
    pub(super) anchor: &'static str,
}

/// Returns a time in milliseconds, limited so that times can be subtracted without overflow. A
/// damaged journal may contain any number.
pub(super) fn millis(at: Timestamp) -> i64 {
    let most = Timestamp::MAX.as_millis();
    at.as_millis().clamp(-most, most)
}

/// Rounds a length of time up, so that the axis of a live run changes seldom.
pub(super) fn round_up(length: i64) -> i64 {
    let mut unit = 1_i64;
    while unit.saturating_mul(10) <= length {
        unit *= 10;
    }
    [10, 12, 15, 20, 25, 30, 40, 50, 65, 80, 100]
        .into_iter()
        .map(|tenths| unit.saturating_mul(tenths) / 10)
        .find(|rounded| *rounded >= length)
        .unwrap_or(length)
}

impl TimeScale {
    /// Creates an axis from `begin` to `end`. In the time spans of `busy`, something is executing.
    /// Labels of ticks count from `zero`.
    pub(super) fn new(
        kind: ScaleKind,
        zero: Timestamp,
        (begin, end): (Timestamp, Timestamp),
        busy: &[(Timestamp, Timestamp)],
    ) -> Self {
        let (begin, end) = (millis(begin), millis(end).max(millis(begin) + 1));
        let spans = match kind {
            ScaleKind::True => linear(begin, &[], end),
            ScaleKind::Compressed => linear(begin, &spans_to_cut(begin, end, busy), end),
        };
        Self { zero: millis(zero), spans: with_widths(spans) }
    }

    /// Returns the position of a time on the axis, in percent. A time outside the axis is placed at
    /// the nearer end.
    pub(super) fn position_of(&self, at: Timestamp) -> f64 {
        self.position(millis(at))
    }

    fn position(&self, at: i64) -> f64 {
        let found = self.spans.partition_point(|span| span.to <= at).min(self.spans.len() - 1);
        let span = &self.spans[found];
        let part = (at - span.from) as f64 / (span.to - span.from) as f64;
        span.x + part.clamp(0.0, 1.0) * span.width
    }

    /// Returns a time, but at the earliest the start of the run. What a rerun keeps is recorded a
    /// moment before its run starts.
    pub(super) fn not_before_start(&self, at: Timestamp) -> Timestamp {
        at.max(Timestamp::from_millis(self.zero))
    }

    /// Returns whether a span of time touches the axis.
    pub(super) fn contains(&self, from: Timestamp, to: Timestamp) -> bool {
        let (begin, end) = (self.spans[0].from, self.spans[self.spans.len() - 1].to);
        millis(to) >= begin && millis(from) <= end
    }

    /// Returns the breaks. If the axis ends with the present (`is_open`), a break at its end grows,
    /// so it has no length.
    pub(super) fn breaks(&self, is_open: bool) -> Vec<ScaleBreak> {
        let mut last = -BREAK_DISTANCE;
        let end = self.spans[self.spans.len() - 1].to;
        let of = |span: &ScaleSpan| {
            let middle = span.x + span.width / 2.0;
            let fits = middle - last >= BREAK_DISTANCE;
            if fits {
                last = middle;
            }
            ScaleBreak {
                from: format_percent(span.x),
                middle: format_percent(middle),
                width: format_percent(span.width),
                length: match fits {
                    true if is_open && span.to == end => "…".to_owned(),
                    true => format_length(span.to - span.from),
                    false => String::new(),
                },
            }
        };
        self.spans.iter().filter(|span| span.is_break).map(of).collect()
    }

    /// Returns the ticks of the axis: one where each linear span starts, and more where there is
    /// room.
    pub(super) fn ticks(&self) -> Vec<ScaleTick> {
        let mut ticks = Vec::new();
        let mut last = -TICK_DISTANCE;
        for span in self.spans.iter().filter(|span| !span.is_break) {
            let step = tick_step(span);
            let first = span.from - self.zero;
            let mut at = first;
            while at < span.to - self.zero {
                let x = self.position(self.zero + at);
                if x - last >= TICK_DISTANCE && x < 97.0 {
                    let anchor = if x < 4.0 { "start" } else { "middle" };
                    ticks.push(ScaleTick { x: format_percent(x), label: format_offset(at, step), anchor });
                    last = x;
                }
                at = (at.div_euclid(step) + 1) * step;
            }
        }
        ticks
    }
}

/// Returns the length between the ticks of a span, so that their labels do not overlap.
fn tick_step(span: &ScaleSpan) -> i64 {
    let least = (span.to - span.from) as f64 * TICK_DISTANCE / span.width.max(0.001);
    TICK_STEPS.into_iter().find(|step| *step as f64 >= least).unwrap_or(TICK_STEPS[33])
}

fn format_length(ms: i64) -> String {
    format_duration(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
}

/// Formats the time since the start of the run, as exactly as the distance of the ticks needs.
fn format_offset(ms: i64, step: i64) -> String {
    match ms {
        0 => "0".into(),
        1_000.. if step < 100 => format!("{:.3} s", ms as f64 / 1_000.0),
        ms if ms < 0 => format!("-{}", format_length(-ms)),
        ms => format_length(ms),
    }
}

/// Divides an axis at the spans that are cut.
fn linear(begin: i64, cut: &[(i64, i64)], end: i64) -> Vec<ScaleSpan> {
    let mut spans = Vec::with_capacity(cut.len() * 2 + 1);
    let mut at = begin;
    let mut push = |from: i64, to: i64, is_break| {
        if to > from {
            spans.push(ScaleSpan { from, to, x: 0.0, width: 0.0, is_break });
        }
    };
    for &(from, to) in cut {
        push(at, from, false);
        push(from, to, true);
        at = to;
    }
    push(at, end, false);
    spans
}

/// Chooses the idle spans that are cut, in the order of time.
fn spans_to_cut(begin: i64, end: i64, busy: &[(Timestamp, Timestamp)]) -> Vec<(i64, i64)> {
    let mut idle = idle_spans(begin, end, busy);
    if idle == [(begin, end)] {
        return Vec::new();
    }
    idle.sort_unstable_by_key(|(from, to)| std::cmp::Reverse(to - from));
    let mut rest = (end - begin) as f64;
    let mut cut: Vec<(i64, i64)> = idle
        .into_iter()
        .take(MAX_BREAKS)
        .take_while(|(from, to)| {
            let length = (to - from) as f64;
            rest -= length;
            length > rest * CUT_FACTOR
        })
        .collect();
    cut.sort_unstable();
    cut
}

/// Returns the spans in which nothing is executing.
fn idle_spans(begin: i64, end: i64, busy: &[(Timestamp, Timestamp)]) -> Vec<(i64, i64)> {
    let mut busy: Vec<(i64, i64)> =
        busy.iter().map(|&(from, to)| (millis(from).max(begin), millis(to).min(end))).collect();
    busy.sort_unstable();
    let (mut idle, mut at) = (Vec::new(), begin);
    for (from, to) in busy {
        if from > at {
            idle.push((at, from.min(end)));
        }
        at = at.max(to);
    }
    if at < end {
        idle.push((at, end));
    }
    idle.retain(|(from, to)| to > from);
    idle
}

fn with_widths(mut spans: Vec<ScaleSpan>) -> Vec<ScaleSpan> {
    let length = |span: &ScaleSpan| (span.to - span.from) as f64;
    let shortest = spans.iter().filter(|span| span.is_break).map(length).fold(f64::MAX, f64::min);
    let weight =
        |span: &ScaleSpan| if span.is_break { 1.0 + (length(span) / shortest).log2() / 2.0 } else { length(span) };
    let sum = |of_breaks: bool| spans.iter().filter(|span| span.is_break == of_breaks).map(weight).sum::<f64>();
    let (breaks, rest) = (sum(true), sum(false));
    let count = spans.iter().filter(|span| span.is_break).count();
    let share = match rest > 0.0 {
        true => (BREAK_SHARE * count as f64).min(MAX_BREAK_SHARE),
        false => 1.0,
    };
    let mut x = 0.0;
    for span in &mut spans {
        let (part, whole) = if span.is_break { (share, breaks) } else { (1.0 - share, rest) };
        span.width = 100.0 * part * weight(span) / whole;
        span.x = x;
        x += span.width;
    }
    spans
}

/// Formats a percentage for an HTML attribute.
pub(super) fn format_percent(x: f64) -> String {
    format!("{x:.2}%")
}

#[cfg(test)]
mod tests;
