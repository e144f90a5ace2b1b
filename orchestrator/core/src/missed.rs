//! Missed ticks: those that did not start in time, because their function was paused, or because no worker or sweep
//! was there.
//!
//! The engine asks twice. The sweep asks which ticks to send; the run of a tick asks, before it starts, whether it still
//! may. The second answer needs no memory of the standstill, so it is the same for a pause and for downtime.

use std::ops::Range;
use std::time::Duration;

use crate::Timestamp;
use crate::cron::{CronSchedule, LONGEST_JITTER};

/// A tick that has not started this long after its time is missed.
pub const MISSED_AFTER: Duration = Duration::from_secs(60);
/// Missed ticks that start at most, where all are to run: the latest.
pub const MOST_MISSED: usize = 1_000;
/// Minutes within which missed ticks are looked for: 32 days, so that a monthly tick is among them.
const FORGOTTEN: i64 = 32 * 24 * 60;

/// What happens to missed ticks of a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissedTicks {
    /// None starts.
    Skip,
    /// One run stands for all: that of the latest tick. This is the default.
    #[default]
    RunOnce,
    /// Each starts, at most 1,000 after downtime.
    RunAll,
}

impl MissedTicks {
    /// For listings.
    pub fn description(self) -> &'static str {
        match self {
            Self::Skip => "missed ticks: skipped",
            Self::RunOnce => "missed ticks: run once",
            Self::RunAll => "missed ticks: all run",
        }
    }
}

impl CronSchedule {
    /// Why the run of a tick must not start at `now`; `None` when it may. `planned` is when it was to start.
    pub fn missed(&self, function: &str, minute: i64, planned: Timestamp, now: Timestamp) -> Option<&'static str> {
        if now.since(planned) <= MISSED_AFTER {
            return None;
        }
        match self.missed_ticks {
            MissedTicks::Skip => Some("its tick was missed, and this function skips missed ticks"),
            MissedTicks::RunOnce if self.has_later(function, minute, now) => {
                Some("its tick was missed, and a later tick stands for it")
            }
            MissedTicks::RunOnce | MissedTicks::RunAll => None,
        }
    }

    /// The ticks of these minutes that are to be sent at `now`, in their order: those that are not missed, and of the
    /// missed ones those that still start.
    pub fn ticks(&self, function: &str, minutes: Range<i64>, now: Timestamp) -> Vec<i64> {
        let comes = |minute: &i64| self.fires_at(*minute);
        let is_missed = |minute: &i64| now.since(self.due(function, *minute)) > MISSED_AFTER;
        // all before this are missed
        let recent = (now - MISSED_AFTER - LONGEST_JITTER).minute();
        let oldest = minutes.start.max(now.minute() - FORGOTTEN);
        let missed = (oldest..minutes.end.min(now.minute())).rev().filter(comes).filter(is_missed);
        let mut ticks: Vec<i64> = match self.missed_ticks {
            MissedTicks::Skip => Vec::new(),
            MissedTicks::RunOnce => missed.take(1).filter(|minute| !self.has_later(function, *minute, now)).collect(),
            MissedTicks::RunAll => missed.take(MOST_MISSED).collect(),
        };
        ticks.extend((recent.max(minutes.start)..minutes.end).filter(comes).filter(|minute| !is_missed(minute)));
        ticks.sort_unstable();
        ticks
    }

    /// Whether the time of a later tick has come.
    fn has_later(&self, function: &str, minute: i64, now: Timestamp) -> bool {
        self.next_after(minute).is_some_and(|next| self.due(function, next) <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cron::CronExpression;

    const HOUR: i64 = 60;

    fn schedule(line: &str, missed_ticks: MissedTicks) -> CronSchedule {
        CronSchedule {
            lines: vec![CronExpression::parse(line, "UTC").unwrap()],
            missed_ticks,
            ..CronSchedule::default()
        }
    }

    /// The ticks that are sent after these minutes without a sweep, counted back from now, which is `past` seconds after a
    /// full hour.
    fn sent(line: &str, missed: MissedTicks, minutes: i64, past: u64) -> Vec<i64> {
        let full = 20_000 * 24 * HOUR;
        let now = Timestamp::of_minute(full) + Duration::from_secs(past);
        let ticks = schedule(line, missed).ticks("f", full - minutes..full + 3, now);
        ticks.into_iter().map(|minute| minute - full).collect()
    }

    #[test]
    fn of_missed_ticks_all_start_or_one_or_none() {
        use MissedTicks::{RunAll, RunOnce, Skip};
        // a tick every minute: those that are in time start under every policy
        assert_eq!(sent("* * * * *", Skip, 3 * HOUR, 30), [0, 1, 2]);
        assert_eq!(sent("* * * * *", RunOnce, 3 * HOUR, 30), [0, 1, 2]);
        assert_eq!(sent("* * * * *", RunAll, 3 * HOUR, 30).len(), 183);
        // a tick every hour, of which three were missed
        assert!(sent("50 * * * *", Skip, 3 * HOUR, 0).is_empty());
        assert_eq!(sent("50 * * * *", RunOnce, 3 * HOUR, 0), [-10]);
        assert_eq!(sent("50 * * * *", RunAll, 3 * HOUR, 0), [-130, -70, -10]);
        // more than anyone wants at once
        let all = sent("* * * * *", RunAll, 30 * 24 * HOUR, 0);
        assert_eq!((all.len(), all.last()), (MOST_MISSED + 4, Some(&2)));
    }

    #[test]
    fn a_run_of_a_missed_tick_starts_unless_a_later_tick_has_come() {
        let full = 20_000 * 24 * HOUR;
        let at = Timestamp::of_minute;
        let starts = |missed, minute, now| schedule("0 * * * *", missed).missed("f", minute, at(minute), now).is_none();
        let late = at(full + 1) + Duration::from_millis(1);
        for missed in [MissedTicks::Skip, MissedTicks::RunOnce, MissedTicks::RunAll] {
            assert!(starts(missed, full, at(full + 1)), "{missed:?}: a minute late is in time");
            assert_eq!(starts(missed, full, late), missed != MissedTicks::Skip, "{missed:?}");
            assert_eq!(starts(missed, full, at(full + HOUR)), missed == MissedTicks::RunAll, "{missed:?}");
        }
    }
}
