//! What was measured of an engine, whichever it is.

use std::time::Duration;

use crate::marks::{Gaps, Marks};
use crate::process::Used;

/// An engine under the two loads.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// What it is, and how it ran.
    pub(crate) name: String,
    /// One long run after the other.
    pub(crate) sequential: Sequential,
    /// Many short runs at once; one for each way of sending them.
    pub(crate) many: Vec<Many>,
    /// The most memory that its processes had, in bytes.
    pub(crate) memory: Option<u64>,
}

/// Runs of sequential steps, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Sequential {
    /// Between steps.
    pub(crate) gaps: Gaps,
    /// Processor time of a step.
    pub(crate) cpu: Option<Duration>,
    /// Processors that other programs had meanwhile.
    pub(crate) others: Option<f64>,
}

/// Many short runs at once, several times over.
#[derive(Clone, Debug)]
pub(crate) struct Many {
    /// How they were sent.
    pub(crate) sent: String,
    /// Runs a second, from the first request to the last run's end: each time that it was measured, slowest first.
    pub(crate) rates: Vec<f64>,
    /// Processor time of a step.
    pub(crate) cpu: Option<Duration>,
    /// Processors that other programs had meanwhile.
    pub(crate) others: Option<f64>,
}

impl Sequential {
    /// From the marks of runs, and what these cost.
    pub(crate) fn of(runs: &[Marks], used: &Used) -> Self {
        let steps: usize = runs.iter().map(Vec::len).sum();
        Self { gaps: Gaps::of(runs), cpu: each(used.cpu, steps), others: used.others }
    }
}

impl Many {
    /// From what it took each time to do so many runs of so many steps.
    pub(crate) fn of(sent: impl Into<String>, runs: usize, steps: usize, times: &[Used]) -> Self {
        let mut rates: Vec<f64> = times.iter().map(|used| runs as f64 / used.elapsed.as_secs_f64()).collect();
        rates.sort_by(f64::total_cmp);
        let cpu = times.iter().map(|used| used.cpu).sum();
        let others = times.iter().map(|used| used.others).sum::<Option<f64>>().map(|sum| sum / times.len() as f64);
        Self { sent: sent.into(), rates, cpu: each(cpu, runs * steps * times.len()), others }
    }

    /// The median.
    pub(crate) fn rate(&self) -> f64 {
        self.rates[self.rates.len() / 2]
    }
}

impl Measured {
    /// The way of sending in which it did most runs a second.
    pub(crate) fn best(&self) -> &Many {
        self.many.iter().max_by(|a, b| a.rate().total_cmp(&b.rate())).expect("at least one way")
    }
}

fn each(whole: Option<Duration>, parts: usize) -> Option<Duration> {
    Some(whole? / u32::try_from(parts.max(1)).ok()?)
}
