//! The figures of an engine: ours or Restate's.

use std::time::Duration;

use crate::marks::{Gaps, Marks};
use crate::process::Usage;

/// The figures of an engine under the two loads.
#[derive(Clone, Debug)]
pub(crate) struct EngineFigures {
    /// The engine's name and settings.
    pub(crate) name: String,
    /// Long runs, one after the other.
    pub(crate) sequential: SequentialFigures,
    /// Many short runs at the same time, once for each way of sending them.
    pub(crate) many: Vec<ParallelFigures>,
    /// The peak memory of its processes, in bytes.
    pub(crate) memory: Option<u64>,
}

/// Runs of sequential steps, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct SequentialFigures {
    /// The times between steps.
    pub(crate) gaps: Gaps,
    /// Processor time of a step.
    pub(crate) cpu: Option<Duration>,
    /// Processors that other programs had in the meantime.
    pub(crate) others: Option<f64>,
}

/// Many short runs at the same time, measured several times.
#[derive(Clone, Debug)]
pub(crate) struct ParallelFigures {
    /// The way of sending them.
    pub(crate) sent: String,
    /// Runs a second, from the first request to the last run's end: one figure for each
    /// measurement, slowest first.
    pub(crate) rates: Vec<f64>,
    /// Processor time of a step.
    pub(crate) cpu: Option<Duration>,
    /// Processors that other programs had in the meantime.
    pub(crate) others: Option<f64>,
}

impl SequentialFigures {
    /// Computes the figures from the marks of runs and their processor time.
    pub(crate) fn of(runs: &[Marks], used: &Usage) -> Self {
        let steps: usize = runs.iter().map(Vec::len).sum();
        Self { gaps: Gaps::of(runs), cpu: each(used.cpu, steps), others: used.others }
    }
}

impl ParallelFigures {
    /// Computes the figures from the times of several measurements, each of `runs` runs with
    /// `steps` steps.
    pub(crate) fn of(sent: impl Into<String>, runs: usize, steps: usize, times: &[Usage]) -> Self {
        let mut rates: Vec<f64> = times.iter().map(|used| runs as f64 / used.elapsed.as_secs_f64()).collect();
        rates.sort_by(f64::total_cmp);
        let cpu = times.iter().map(|used| used.cpu).sum();
        let others = times.iter().map(|used| used.others).sum::<Option<f64>>().map(|sum| sum / times.len() as f64);
        Self { sent: sent.into(), rates, cpu: each(cpu, runs * steps * times.len()), others }
    }

    /// Returns the median of the runs a second.
    pub(crate) fn rate(&self) -> f64 {
        self.rates[self.rates.len() / 2]
    }
}

impl EngineFigures {
    /// Returns the way of sending with the most runs a second.
    pub(crate) fn best(&self) -> &ParallelFigures {
        self.many.iter().max_by(|a, b| a.rate().total_cmp(&b.rate())).expect("at least one way")
    }
}

fn each(whole: Option<Duration>, parts: usize) -> Option<Duration> {
    Some(whole? / u32::try_from(parts.max(1)).ok()?)
}
