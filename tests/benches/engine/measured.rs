//! The figures of one engine: ours or Restate's.

use std::time::Duration;

use crate::marks::{BodyTimes, StepGaps};
use crate::process::ProcessorUsage;

/// The figures of one engine under both loads.
#[derive(Clone, Debug)]
pub(crate) struct EngineFigures {
    /// The engine's name and settings.
    pub(crate) name: String,
    /// Long runs, executed one after the other.
    pub(crate) sequential: SequentialFigures,
    /// Many short runs at the same time: one item for each way of sending their events.
    pub(crate) many: Vec<ParallelFigures>,
    /// The peak memory of the engine's processes, in bytes.
    pub(crate) memory: Option<u64>,
}

/// The figures of runs with sequential steps, executed one after the other.
#[derive(Clone, Debug)]
pub(crate) struct SequentialFigures {
    /// The times between steps.
    pub(crate) gaps: StepGaps,
    /// The processor time per step.
    pub(crate) cpu: Option<Duration>,
    /// The average number of processors that other programs used during the measurement.
    pub(crate) others: Option<f64>,
}

/// The figures of many short runs at the same time, measured several times.
#[derive(Clone, Debug)]
pub(crate) struct ParallelFigures {
    /// How the events were sent.
    pub(crate) sent: String,
    /// The runs per second, from the first request to the end of the last run: one figure per
    /// measurement, the slowest first.
    pub(crate) rates: Vec<f64>,
    /// The processor time per step.
    pub(crate) cpu: Option<Duration>,
    /// The average number of processors that other programs used during the measurement.
    pub(crate) others: Option<f64>,
}

impl SequentialFigures {
    /// Computes the figures from the start and end times in `runs` and the processor time.
    pub(crate) fn of(runs: &[BodyTimes], used: &ProcessorUsage) -> Self {
        let steps: usize = runs.iter().map(Vec::len).sum();
        Self { gaps: StepGaps::from_runs(runs), cpu: time_of_each(used.cpu, steps), others: used.others }
    }
}

impl ParallelFigures {
    /// Computes the figures from several measurements, each of `runs` runs with `steps` steps.
    pub(crate) fn of(sent: impl Into<String>, runs: usize, steps: usize, times: &[ProcessorUsage]) -> Self {
        let mut rates: Vec<f64> = times.iter().map(|used| runs as f64 / used.elapsed.as_secs_f64()).collect();
        rates.sort_by(f64::total_cmp);
        let cpu = times.iter().map(|used| used.cpu).sum();
        let others = times.iter().map(|used| used.others).sum::<Option<f64>>().map(|sum| sum / times.len() as f64);
        Self { sent: sent.into(), rates, cpu: time_of_each(cpu, runs * steps * times.len()), others }
    }

    /// Returns the median of the runs per second.
    pub(crate) fn rate(&self) -> f64 {
        self.rates[self.rates.len() / 2]
    }
}

impl EngineFigures {
    /// Returns the figures for the way of sending that gave the most runs per second.
    pub(crate) fn best_figures(&self) -> &ParallelFigures {
        self.many.iter().max_by(|a, b| a.rate().total_cmp(&b.rate())).expect("at least one way")
    }
}

/// Divides a time by the number of its parts.
pub(crate) fn time_of_each(whole: Option<Duration>, parts: usize) -> Option<Duration> {
    Some(whole? / u32::try_from(parts.max(1)).ok()?)
}
