//! Trends: how many runs were created, started and ended over time, how long they took and waited,
//! and what their models cost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use stepladder_core::Timestamp;

use crate::engine::EngineError;
use crate::ports::{DurationBin, TREND_SLOT, TrendCount, TrendKind, TrendQuery};
use crate::query::Query;

/// A time span of trends: the latest one, in steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrendSpan {
    /// An hour in steps of five minutes.
    Hour,
    /// A day in steps of an hour.
    Day,
    /// A week in steps of six hours.
    Week,
}

impl TrendSpan {
    /// All spans, shortest first.
    pub const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Week];

    /// Returns the length of a step, in slots, and the number of steps.
    fn steps(self) -> (u32, usize) {
        match self {
            Self::Hour => (1, 12),
            Self::Day => (12, 24),
            Self::Week => (72, 28),
        }
    }

    /// Returns the length of a step.
    pub fn step(self) -> Duration {
        TREND_SLOT * self.steps().0
    }
}

/// Trends in steps of time.
#[derive(Clone, Debug)]
pub struct Trends {
    /// The begin of the first step.
    pub from: Timestamp,
    /// The length of a step.
    pub step: Duration,
    /// All runs together: one item per step.
    pub points: Vec<TrendPoint>,
    /// All steps together, by function.
    pub functions: Vec<(Arc<str>, TrendPoint)>,
    /// All steps and functions together.
    pub total: TrendPoint,
}

/// What runs did in a time span.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrendPoint {
    /// The number of runs that were created.
    pub created: u64,
    /// The number of runs whose first step started.
    pub started: u64,
    /// The number of runs that completed.
    pub completed: u64,
    /// The number of runs that failed.
    pub failed: u64,
    /// The number of runs that were cancelled or skipped.
    pub dropped: u64,
    /// The number of runs that had not started at the end of the span.
    pub queued: u64,
    /// The price of AI models, in millionths of a dollar.
    pub ai_micro_dollars: u64,
    /// The number of tokens that AI models read and wrote.
    pub tokens: [u64; 2],
    took: Histogram,
    waited: Histogram,
    /// The number of runs that ended before they started.
    unstarted: u64,
}

impl TrendPoint {
    /// Returns the time from creation to end that this share of the completed and failed runs did
    /// not exceed. It is exact to 10 %. Returns `None` if there are no such runs.
    pub fn took(&self, share: f64) -> Option<Duration> {
        self.took.quantile(share)
    }

    /// Returns the time from creation to the first step that this share of the runs did not exceed.
    pub fn waited(&self, share: f64) -> Option<Duration> {
        self.waited.quantile(share)
    }

    fn add(&mut self, count: &TrendCount) {
        let TrendCount { kind, bin, n, .. } = *count;
        match kind {
            TrendKind::Created => self.created += n,
            TrendKind::Started => {
                self.started += n;
                self.waited.add(bin, n);
            }
            TrendKind::Completed => {
                self.completed += n;
                self.took.add(bin, n);
            }
            TrendKind::Failed => {
                self.failed += n;
                self.took.add(bin, n);
            }
            TrendKind::Cancelled | TrendKind::Skipped => self.dropped += n,
            TrendKind::Unstarted => self.unstarted += n,
            TrendKind::AiMicroDollars => self.ai_micro_dollars += n,
            TrendKind::InputTokens => self.tokens[0] += n,
            TrendKind::OutputTokens => self.tokens[1] += n,
        }
    }
}

/// The number of durations in each bin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Histogram(BTreeMap<u8, u64>);

impl Histogram {
    fn add(&mut self, bin: DurationBin, n: u64) {
        *self.0.entry(bin.0).or_default() += n;
    }

    fn quantile(&self, share: f64) -> Option<Duration> {
        let all: u64 = self.0.values().sum();
        let rank = ((all as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let bin = self.0.iter().find(|(_, n)| {
            seen += **n;
            seen >= rank
        });
        bin.map(|(bin, _)| DurationBin(*bin).middle())
    }
}

impl Query {
    /// Returns the trends of the latest span, of all runs or of those of one function. The last
    /// step contains the present. Returns `None` if the store keeps no counts.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub async fn trends(&self, span: TrendSpan, function: Option<&str>) -> Result<Option<Trends>, EngineError> {
        let (slots, steps) = span.steps();
        let (slots, step) = (i64::from(slots), span.step());
        let slot_ms = TREND_SLOT.as_millis() as i64;
        let last = TrendQuery::slot_of(self.runtime.now()).div_euclid(slots) * slots;
        let from = Timestamp::from_millis((last - slots * (steps as i64 - 1)) * slot_ms);
        let query = TrendQuery { function: function.map(str::to_owned), from, step, steps };
        let Some(counted) = self.runtime.backend.trends(query).await? else { return Ok(None) };
        let (mut points, mut total) = (vec![TrendPoint::default(); steps], TrendPoint::default());
        let mut functions: BTreeMap<Arc<str>, TrendPoint> = BTreeMap::new();
        for count in &counted.counts {
            if let Some(point) = points.get_mut(count.step) {
                point.add(count);
            }
            total.add(count);
            functions.entry(count.function.clone()).or_default().add(count);
        }
        for unstarted in counted.unstarted {
            total.queued += unstarted.runs;
            functions.entry(unstarted.function).or_default().queued = unstarted.runs;
        }
        // the length of the queue is known now; before a step it was shorter by what the step added
        let mut queued = total.queued;
        for point in points.iter_mut().rev() {
            point.queued = queued;
            queued = (queued + point.started + point.unstarted).saturating_sub(point.created);
        }
        Ok(Some(Trends { from, step, points, functions: functions.into_iter().collect(), total }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_close_to_the_durations() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        (1..=100_u64).for_each(|ms| histogram.add(DurationBin::of(Duration::from_millis(ms)), 1));
        for (share, ms) in [(0.5, 50.0), (0.95, 95.0), (1.0, 100.0)] {
            let found = histogram.quantile(share).unwrap().as_secs_f64() * 1_000.0;
            assert!((found - ms).abs() < 0.12 * ms, "{share}: {found}");
        }
    }
}
