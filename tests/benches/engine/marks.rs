//! The start and end times of steps, and the figures computed from them.

use std::time::Duration;

/// The start and end of each step's body in a run, in nanoseconds of the same clock.
pub(crate) type BodyTimes = Vec<(u64, u64)>;

/// The times between sequential steps, over several runs.
#[derive(Clone, Debug)]
pub(crate) struct StepGaps {
    /// The time from the start of a step to the start of the next one, in milliseconds: the median
    /// of the runs.
    pub(crate) step_ms: f64,
    /// The median time from the end of a step to the start of the next one.
    pub(crate) p50: Duration,
    /// The 99th percentile of the time from the end of a step to the start of the next one.
    pub(crate) p99: Duration,
}

impl StepGaps {
    /// Computes the figures from the start and end times of some runs.
    pub(crate) fn from_runs(runs: &[BodyTimes]) -> Self {
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

/// Sorts the times and returns a percentile.
pub(crate) fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times.get((times.len().max(1) - 1) * percent / 100).copied().unwrap_or_default()
}
