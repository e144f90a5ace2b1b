//! The starts and ends of steps, and the figures that follow from them.

use std::time::Duration;

/// The start and end of each step's body, in nanoseconds of one clock.
pub(crate) type Marks = Vec<(u64, u64)>;

/// The figures of runs of sequential steps.
#[derive(Clone, Debug)]
pub(crate) struct Gaps {
    /// From the start of a step to the start of the next, in milliseconds: the median of the runs.
    pub(crate) step_ms: f64,
    /// From the end of a step to the start of the next: the median.
    pub(crate) p50: Duration,
    /// From the end of a step to the start of the next: the 99th percentile.
    pub(crate) p99: Duration,
}

impl Gaps {
    /// Computes the figures from the marks of some runs.
    pub(crate) fn of(runs: &[Marks]) -> Self {
        let mut gaps = Vec::new();
        let mut steps = Vec::new();
        for marks in runs {
            let (Some(first), Some(last)) = (marks.first(), marks.last()) else { continue };
            steps.push(Duration::from_nanos((last.0 - first.0) / (marks.len() as u64 - 1).max(1)));
            gaps.extend(marks.windows(2).map(|pair| Duration::from_nanos(pair[1].0.saturating_sub(pair[0].1))));
        }
        let step_ms = percentile(&mut steps, 50).as_secs_f64() * 1e3;
        Self { step_ms, p50: percentile(&mut gaps, 50), p99: percentile(&mut gaps, 99) }
    }
}

/// Returns a percentile. Sorts the times.
pub(crate) fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times.get((times.len().max(1) - 1) * percent / 100).copied().unwrap_or_default()
}
