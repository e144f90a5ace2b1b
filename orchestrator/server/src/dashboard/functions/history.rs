//! Statistics of a function's latest runs: the number of runs over time, and the duration of each
//! step.

use std::collections::HashMap;
use std::time::Duration;

use stepladder_core::{RunRow, Status, StepKind, Timestamp};
use stepladder_engine::view::{RunDetail, StepStatus, StepView};

use crate::dashboard::scale::format_percent;
use crate::dashboard::text::{ShownTime, brief, format_duration};

/// The number of bars in the chart.
const BARS: usize = 40;
/// The height of the whole chart, in percent.
const HEIGHT: f64 = 100.0;
/// The maximum number of steps in the table of durations.
const STEPS: usize = 50;

/// The chart with the number of runs over time.
pub(in crate::dashboard) struct RunHistoryChart {
    pub(in crate::dashboard) bars: Vec<HistoryBar>,
    pub(in crate::dashboard) from: ShownTime,
    pub(in crate::dashboard) counted: usize,
    pub(in crate::dashboard) failed: usize,
    pub(in crate::dashboard) completed: usize,
    pub(in crate::dashboard) live: usize,
    /// The number of cancelled and skipped runs.
    pub(in crate::dashboard) other: usize,
    /// The number of runs of the highest bar.
    pub(in crate::dashboard) most: usize,
    /// The time span of a bar.
    pub(in crate::dashboard) bar_span: String,
    /// A description of the chart in words, for screen readers.
    pub(in crate::dashboard) words: String,
}

/// A bar of the chart: the runs that were created within a time span, by status.
pub(in crate::dashboard) struct HistoryBar {
    pub(in crate::dashboard) x: String,
    pub(in crate::dashboard) width: String,
    /// The CSS class, the top and the height of each part. From below: completed, failed, live,
    /// others.
    pub(in crate::dashboard) parts: Vec<(&'static str, String, String)>,
    pub(in crate::dashboard) title: String,
}

/// Creates the bars of the chart up to `now`. The rows must be sorted, newest first.
pub(in crate::dashboard) fn chart_runs(rows: &[RunRow], now: Timestamp) -> RunHistoryChart {
    let from = rows.last().map_or(now, |row| row.created_at).min(now);
    let span = now.since(from).as_millis().max(1);
    let mut counts = vec![[0_usize; 4]; BARS];
    let mut all = [0_usize; 4];
    for row in rows {
        let part = match row.ended.map(|(_, status)| status) {
            Some(Status::Completed) => 0,
            Some(Status::Failed) => 1,
            None => 2,
            Some(_) => 3,
        };
        let place = row.created_at.since(from).as_millis() * BARS as u128 / span;
        counts[usize::try_from(place).unwrap_or(usize::MAX).min(BARS - 1)][part] += 1;
        all[part] += 1;
    }
    let most = counts.iter().map(|parts| parts.iter().sum::<usize>()).max().unwrap_or(0).max(1);
    let width = 100.0 / BARS as f64;
    let bar = |(i, parts): (usize, &[usize; 4])| {
        let (mut top, mut drawn) = (HEIGHT, Vec::new());
        for (class, count) in ["done", "failed", "live", "other"].into_iter().zip(parts) {
            let height = *count as f64 / most as f64 * HEIGHT;
            top -= height;
            if *count > 0 {
                drawn.push((class, format_percent(top), format_percent(height)));
            }
        }
        let [done, failed, live, other] = parts;
        let title = format!("{done} completed, {failed} failed, {live} live, {other} cancelled or skipped");
        HistoryBar { x: format_percent(i as f64 * width), width: format_percent(width * 0.8), parts: drawn, title }
    };
    RunHistoryChart {
        bars: counts.iter().enumerate().filter(|(_, parts)| parts.iter().sum::<usize>() > 0).map(bar).collect(),
        from: ShownTime::from_timestamp(from),
        counted: rows.len(),
        completed: all[0],
        failed: all[1],
        live: all[2],
        other: all[3],
        most,
        bar_span: format_duration(Duration::from_millis(u64::try_from(span / BARS as u128).unwrap_or(u64::MAX))),
        words: format!("{} runs: {} completed, {} failed, {} live", rows.len(), all[0], all[1], all[2]),
    }
}

/// How long a step takes.
pub(in crate::dashboard) struct StepTimes {
    pub(in crate::dashboard) name: String,
    pub(in crate::dashboard) n: usize,
    pub(in crate::dashboard) half: String,
    pub(in crate::dashboard) most: String,
    pub(in crate::dashboard) attempts: usize,
    pub(in crate::dashboard) failed: usize,
}

/// Computes the median and the 95th percentile of the execution time of each step. The execution
/// time is the sum of all attempts, without waits.
pub(in crate::dashboard) fn time_steps(runs: &[RunDetail]) -> Vec<StepTimes> {
    #[derive(Default)]
    struct StepMeasurements {
        order: usize,
        took: Vec<Duration>,
        attempts: usize,
        failed: usize,
    }
    let mut seen: HashMap<&str, StepMeasurements> = HashMap::new();
    let executed = |step: &StepView| step.kind == StepKind::Run && !step.attempts.is_empty() && step.ended_at.is_some();
    let numbered = runs.iter().flat_map(|run| run.steps.iter().enumerate());
    for (order, step) in numbered.filter(|(_, step)| executed(step)) {
        let seen = seen.entry(&step.id).or_default();
        // steps are sorted by their latest position in any run
        seen.order = seen.order.max(order);
        seen.took.push(step.attempts.iter().filter_map(|a| Some(a.ended_at?.since(a.started_at))).sum());
        seen.attempts += step.attempts.len();
        seen.failed += usize::from(step.status == StepStatus::Failed);
    }
    let mut steps: Vec<_> = seen.into_iter().collect();
    steps.sort_by_key(|(name, seen)| (seen.order, *name));
    let of = |(name, mut seen): (&str, StepMeasurements)| {
        seen.took.sort_unstable();
        StepTimes {
            name: brief(name, 120),
            n: seen.took.len(),
            half: format_duration(percentile(&seen.took, 50)),
            most: format_duration(percentile(&seen.took, 95)),
            attempts: seen.attempts,
            failed: seen.failed,
        }
    };
    steps.into_iter().take(STEPS).map(of).collect()
}

/// Returns the smallest value that is at least as large as `percent` of all values (nearest rank).
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use stepladder_core::{EventId, RunId};

    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let hundred: Vec<Duration> = (1..=100).map(ms).collect();
        assert_eq!((percentile(&hundred, 50), percentile(&hundred, 95)), (ms(50), ms(95)));
        assert_eq!((percentile(&[ms(7)], 50), percentile(&[ms(7)], 95)), (ms(7), ms(7)));
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }

    #[test]
    fn every_run_is_in_one_bar() {
        let at = |n: i64| Timestamp::from_millis(1_000 + n);
        let row = |n: i64, status: Option<Status>| RunRow {
            run: RunId::new(at(n), 0),
            function: "f".into(),
            event: EventId::new(at(n), 0),
            created_at: at(n),
            ended: status.map(|status| (at(n), status)),
        };
        let rows = [
            row(900, None),
            row(500, Some(Status::Failed)),
            row(499, Some(Status::Completed)),
            row(0, Some(Status::Cancelled)),
        ];
        let history = chart_runs(&rows, at(1_000));
        assert_eq!((history.counted, history.completed, history.failed, history.live), (4, 1, 1, 1));
        assert_eq!(history.bars.iter().map(|bar| bar.parts.len()).sum::<usize>(), 4);
        assert!(chart_runs(&[], at(0)).bars.is_empty());
        assert_eq!(chart_runs(&[row(0, None)], at(0)).bars.len(), 1, "created at the end of the span");
    }
}
