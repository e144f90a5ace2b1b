//! Counts of what runs did, in slots of five minutes: how many were created, started and ended, how
//! long they took, and what their models cost.
//!
//! A store with transactions keeps them together with the rows of runs, so they contain each run
//! once. Durations are counted in bins, from which quantiles are computed.

use std::sync::Arc;
use std::time::Duration;

use stepladder_core::{RunId, Timestamp};

/// The length of a slot.
pub const TREND_SLOT: Duration = Duration::from_secs(300);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrendKind {
    /// Runs that were created.
    Created,
    /// Runs whose first step started, by the time since they were created.
    Started,
    /// Runs that completed, by the time since they were created.
    Completed,
    /// Runs that failed, by the time since they were created.
    Failed,
    /// Runs that were cancelled, by the time since they were created.
    Cancelled,
    /// Runs that were skipped.
    Skipped,
    /// Runs that ended before their first step started.
    Unstarted,
    /// The price of AI models, in millionths of a dollar.
    AiMicroDollars,
    /// Tokens that AI models read.
    InputTokens,
    /// Tokens that AI models wrote.
    OutputTokens,
}

impl TrendKind {
    /// All kinds. A kind is stored as its position here, which must not change.
    pub const ALL: [Self; 10] = [
        Self::Created,
        Self::Started,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::Skipped,
        Self::Unstarted,
        Self::AiMicroDollars,
        Self::InputTokens,
        Self::OutputTokens,
    ];

    /// Returns the number under which the kind is stored.
    pub fn number(self) -> i64 {
        Self::ALL.iter().position(|kind| *kind == self).map_or(0, |at| at as i64)
    }
}

/// A range of durations: a quarter of a doubling, so a bin is at most 19 % wide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct DurationBin(pub u8);

impl DurationBin {
    /// Returns the bin of a duration.
    pub fn of(duration: Duration) -> Self {
        let ms = duration.as_millis() as f64;
        Self((4.0 * (ms + 1.0).log2()).min(f64::from(u8::MAX)) as u8)
    }

    /// Returns the middle of the bin.
    pub fn middle(self) -> Duration {
        let ms = ((f64::from(self.0) + 0.5) / 4.0).exp2() - 1.0;
        Duration::from_secs_f64(ms / 1_000.0)
    }
}

/// Selects counts.
#[derive(Clone, Debug)]
pub struct TrendQuery {
    /// If set, counts only runs of this function.
    pub function: Option<String>,
    /// The begin of the first step: the begin of a slot.
    pub from: Timestamp,
    /// The length of a step: a multiple of [`TREND_SLOT`].
    pub step: Duration,
    /// The number of steps.
    pub steps: usize,
}

impl TrendQuery {
    /// Returns the number of the slot that contains a time.
    pub fn slot_of(at: Timestamp) -> i64 {
        at.as_millis().div_euclid(TREND_SLOT.as_millis() as i64)
    }

    /// Returns the number of slots in a step.
    pub fn slots_per_step(&self) -> i64 {
        (self.step.as_millis() / TREND_SLOT.as_millis()).max(1) as i64
    }
}

/// One count.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TrendCount {
    /// The number of the step, from 0.
    pub step: usize,
    /// The id of the function.
    pub function: Arc<str>,
    /// What is counted.
    pub kind: TrendKind,
    /// The bin of the duration; 0 if nothing is measured.
    pub bin: DurationBin,
    /// The number of runs, or a sum.
    pub n: u64,
}

/// The counts of a query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrendCounts {
    /// The counts, in any order.
    pub counts: Vec<TrendCount>,
    /// The live runs whose first step has not started, by function, now.
    pub unstarted: Vec<UnstartedRuns>,
}

/// The live runs of a function whose first step has not started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnstartedRuns {
    /// The id of the function.
    pub function: Arc<str>,
    /// The number of the runs.
    pub runs: u64,
    /// The oldest of them.
    pub oldest: RunId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bin_is_close_to_its_durations() {
        for ms in [0_u64, 1, 7, 100, 1_234, 60_000, 86_400_000, 2_592_000_000] {
            let middle = DurationBin::of(Duration::from_millis(ms)).middle().as_secs_f64() * 1_000.0;
            assert!((middle - ms as f64).abs() <= 0.11 * ms as f64 + 0.2, "{ms}: {middle}");
        }
        assert_eq!(DurationBin::of(Duration::MAX), DurationBin(255));
    }
}
