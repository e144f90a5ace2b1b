//! Charts over time, as SVG with axes.

use std::time::Duration;

use stepladder_api::text::format_dollars;
use stepladder_core::Timestamp;
use stepladder_engine::{CostPoint, CostSums, TrendPoint, TrendSpan, Trends};

use crate::dashboard::scale::format_percent;
use crate::dashboard::text::{format_duration, format_time};

/// The top and the bottom of the plot, in percent of the height of the picture.
const TOP: f64 = 10.0;
const BOTTOM: f64 = 86.0;
/// The share of a step that its bar takes.
const BAR: f64 = 0.72;

/// A chart with bars or lines.
pub(in crate::dashboard) struct Chart {
    pub(in crate::dashboard) title: &'static str,
    /// A description of the chart for screen readers.
    pub(in crate::dashboard) words: String,
    /// The lines of the vertical axis, each with its height and its label.
    pub(in crate::dashboard) grid: Vec<(String, String)>,
    pub(in crate::dashboard) bars: Vec<ChartBar>,
    pub(in crate::dashboard) lines: Vec<ChartLine>,
    pub(in crate::dashboard) dots: Vec<ChartDot>,
    /// The labels of the horizontal axis.
    pub(in crate::dashboard) ticks: Vec<ChartTick>,
    /// The CSS class and the name of each series.
    pub(in crate::dashboard) legend: Vec<(&'static str, &'static str)>,
}

/// A label of the horizontal axis: a time in UTC. The script may show another zone.
pub(in crate::dashboard) struct ChartTick {
    pub(in crate::dashboard) x: String,
    pub(in crate::dashboard) class: &'static str,
    pub(in crate::dashboard) label: String,
    pub(in crate::dashboard) millis: i64,
}

/// A bar: the CSS class, the top and the height of each part.
pub(in crate::dashboard) struct ChartBar {
    pub(in crate::dashboard) x: String,
    pub(in crate::dashboard) width: String,
    pub(in crate::dashboard) parts: Vec<(&'static str, String, String)>,
    /// The values, after the time of the step.
    pub(in crate::dashboard) title: String,
    pub(in crate::dashboard) millis: i64,
}

/// A part of a line, between two steps.
pub(in crate::dashboard) struct ChartLine {
    pub(in crate::dashboard) class: &'static str,
    pub(in crate::dashboard) from: (String, String),
    pub(in crate::dashboard) to: (String, String),
}

/// A value on a line.
pub(in crate::dashboard) struct ChartDot {
    pub(in crate::dashboard) class: &'static str,
    pub(in crate::dashboard) x: String,
    pub(in crate::dashboard) y: String,
    /// The values, after the time of the step.
    pub(in crate::dashboard) title: String,
    pub(in crate::dashboard) millis: i64,
}

/// A series of values: the CSS class, the name, and the value of each step.
type Series<'a, P> = (&'static str, &'static str, &'a dyn Fn(&P) -> Option<f64>);

/// Returns the charts of trends.
pub(super) fn charts_of(trends: &Trends, span: TrendSpan) -> Vec<Chart> {
    let count = |of: fn(&TrendPoint) -> u64| move |point: &TrendPoint| Some(of(point) as f64);
    let seconds = |of: Option<Duration>| of.map(|took| took.as_secs_f64());
    let number = |value: f64| format!("{value:.0}");
    let time = |value: f64| format_duration(Duration::from_secs_f64(value));
    let Trends { from, step, points, .. } = trends;
    let draft = ChartDraft { points, from: *from, step: *step, has_days: span == TrendSpan::Week };
    let runs: [Series<'_, TrendPoint>; 3] = [
        ("done", "completed", &count(|point| point.completed)),
        ("failed", "failed", &count(|point| point.failed)),
        ("other", "cancelled or skipped", &count(|point| point.dropped)),
    ];
    let created: [Series<'_, TrendPoint>; 1] = [("live", "created", &count(|point| point.created))];
    let took: [Series<'_, TrendPoint>; 2] = [
        ("live", "p50", &|point: &TrendPoint| seconds(point.took(0.5))),
        ("wait", "p95", &|point: &TrendPoint| seconds(point.took(0.95))),
    ];
    let waited: [Series<'_, TrendPoint>; 2] = [
        ("live", "p50", &|point: &TrendPoint| seconds(point.waited(0.5))),
        ("wait", "p95", &|point: &TrendPoint| seconds(point.waited(0.95))),
    ];
    let queued: [Series<'_, TrendPoint>; 1] = [("other", "not started", &count(|point| point.queued))];
    let mut charts = vec![
        draft.chart("Runs", &runs, &created, &number),
        draft.chart("Duration of runs", &[], &took, &time),
        draft.chart("Queue", &queued, &[], &number),
        draft.chart("Wait until the start", &[], &waited, &time),
    ];
    if trends.total.ai_micro_dollars > 0 {
        let price: [Series<'_, TrendPoint>; 1] = [("live", "price", &count(|point| point.ai_micro_dollars))];
        charts.push(draft.chart("AI", &price, &[], &|value| format_dollars(value as u64 * 1_000)));
    }
    charts
}

/// Returns the chart of costs: what AWS and the models are paid.
pub(in crate::dashboard) fn chart_of_costs(sums: &CostSums) -> Chart {
    let dollars = |of: fn(&CostPoint) -> u64| move |point: &CostPoint| Some(of(point) as f64 / 1e9);
    let all: [Series<'_, CostPoint>; 3] = [
        ("live", "requests", &dollars(|point| point.cost.requests_nanodollars())),
        ("wait", "compute", &dollars(|point| point.cost.compute_nanodollars())),
        ("done", "AI", &dollars(|point| point.cost.ai_microdollars.saturating_mul(1_000))),
    ];
    let CostSums { from, step, points, .. } = sums;
    let has_days = *step > Duration::from_secs(3_600);
    let draft = ChartDraft { points, from: *from, step: *step, has_days };
    draft.chart("Cost", &all, &[], &|dollars| format_dollars((dollars * 1e9).round() as u64))
}

struct ChartDraft<'a, P> {
    points: &'a [P],
    from: Timestamp,
    step: Duration,
    /// Whether the labels of the horizontal axis are days.
    has_days: bool,
}

impl<P> ChartDraft<'_, P> {
    fn chart(
        &self,
        title: &'static str,
        stacked: &[Series<'_, P>],
        lines: &[Series<'_, P>],
        format: &dyn Fn(f64) -> String,
    ) -> Chart {
        let points = self.points;
        let stack = |point: &P| stacked.iter().filter_map(|(_, _, of)| of(point)).sum::<f64>();
        let on_lines = points.iter().flat_map(|point| lines.iter().filter_map(|(_, _, of)| of(point)));
        let highest = points.iter().map(stack).chain(on_lines).fold(0.0, f64::max);
        let top = round_up(highest);
        let y = |value: f64| BOTTOM - value / top * (BOTTOM - TOP);
        let step = 100.0 / points.len().max(1) as f64;
        let middle = |n: usize| format_percent((n as f64 + 0.5) * step);
        let named = |point: &P, series: &[Series<'_, P>]| {
            let all = series.iter().filter_map(|(_, name, of)| Some(format!("{} {name}", format(of(point)?))));
            all.collect::<Vec<_>>().join(", ")
        };
        let bar = |(n, point): (usize, &P)| {
            let mut from = 0.0;
            let mut parts = Vec::new();
            for (class, _, of) in stacked {
                let value = of(point).unwrap_or(0.0);
                if value > 0.0 {
                    let height = y(from) - y(from + value);
                    parts.push((*class, format_percent(y(from + value)), format_percent(height)));
                }
                from += value;
            }
            let x = format_percent((n as f64 + (1.0 - BAR) / 2.0) * step);
            let title = format!("{}: {}", self.time_of(n), named(point, stacked));
            ChartBar { x, width: format_percent(step * BAR), parts, title, millis: self.begin_of(n).as_millis() }
        };
        let mut chart = Chart {
            title,
            words: self.words(title, highest, format),
            grid: [0.0, 0.5, 1.0].map(|share| (format_percent(y(top * share)), format(top * share))).into(),
            bars: points.iter().enumerate().map(bar).filter(|bar| !bar.parts.is_empty()).collect(),
            lines: Vec::new(),
            dots: Vec::new(),
            ticks: self.ticks(step),
            legend: stacked.iter().chain(lines).map(|(class, name, _)| (*class, *name)).collect(),
        };
        // labels that are the same say nothing
        chart.grid.dedup_by(|next, before| next.1 == before.1);
        for series in lines {
            let (class, _, of) = series;
            let mut before: Option<(usize, String)> = None;
            for (n, point) in points.iter().enumerate() {
                let Some(value) = of(point) else { continue };
                let (x, height) = (middle(n), format_percent(y(value)));
                if let Some((last, from)) = before.filter(|(last, _)| last + 1 == n) {
                    chart.lines.push(ChartLine { class, from: (middle(last), from), to: (x.clone(), height.clone()) });
                }
                let title = format!("{}: {}", self.time_of(n), named(point, std::slice::from_ref(series)));
                let millis = self.begin_of(n).as_millis();
                chart.dots.push(ChartDot { class, x, y: height.clone(), title, millis });
                before = Some((n, height));
            }
        }
        chart
    }

    fn words(&self, title: &str, highest: f64, format: &dyn Fn(f64) -> String) -> String {
        let steps = format!("{} points of {}", self.points.len(), format_duration(self.step));
        format!("{title}: {steps}, at most {}. The table below has the values.", format(highest))
    }

    fn begin_of(&self, n: usize) -> Timestamp {
        self.from + self.step * u32::try_from(n).unwrap_or(0)
    }

    fn time_of(&self, n: usize) -> String {
        format_time(self.begin_of(n))[..16].to_owned()
    }

    /// Returns the labels of the horizontal axis: at most 7, at the begin of their steps.
    fn ticks(&self, step: f64) -> Vec<ChartTick> {
        let every = self.points.len().div_ceil(7).max(1);
        let label = |n: usize| {
            let text = format_time(self.begin_of(n));
            if self.has_days { text[5..10].to_owned() } else { text[11..16].to_owned() }
        };
        let at = |n: usize| ChartTick {
            x: format_percent(n as f64 * step),
            class: if n == 0 { "start" } else { "middle" },
            label: label(n),
            millis: self.begin_of(n).as_millis(),
        };
        (0..self.points.len()).step_by(every).map(at).collect()
    }
}

/// Rounds up to 1, 2 or 4 times a power of ten, so that half of a count from 2 on is a whole
/// number. Returns 1 for 0.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let unit = 10_f64.powf(value.log10().floor());
    let factors = [1.0, 2.0, 4.0, 10.0];
    factors.into_iter().map(|factor| factor * unit).find(|round| *round >= value).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_a_round_number() {
        assert_eq!([0.0, 0.3, 1.0, 3.0, 11.0, 700.0].map(round_up), [1.0, 0.4, 1.0, 4.0, 20.0, 1_000.0]);
    }
}
