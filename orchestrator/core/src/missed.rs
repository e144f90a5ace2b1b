//! Missed ticks of cron schedules: ticks that did not start a run in time, because the function was
//! paused or because no worker or sweep was running.
//!
//! The engine checks twice. The sweep decides which ticks to send. Before the run of a tick starts,
//! the engine checks again whether it may still start. The second check uses only times, so it
//! treats a pause and downtime alike.

use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::cron::{CronSchedule, LONGEST_JITTER};

/// A tick is missed if its run has not started this long after the planned time.
pub const MISSED_AFTER: Duration = Duration::from_secs(60);
/// The maximum number of missed ticks that start a run with [`MissedTicks::RunAll`]: the latest
/// ones.
pub const MOST_MISSED: usize = 1_000;
/// The number of minutes that are searched for missed ticks: 32 days, which includes a monthly
/// tick.
const SEARCHED_MINUTES: i64 = 32 * 24 * 60;

/// What happens to the missed ticks of a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MissedTicks {
    /// Missed ticks start no runs.
    Skip,
    /// Only the latest missed tick starts a run. This is the default.
    #[default]
    RunOnce,
    /// Every missed tick starts a run; after downtime, at most the latest 1,000 do.
    RunAll,
}

impl MissedTicks {
    /// Returns a description of this setting for lists.
    pub fn description(self) -> &'static str {
        match self {
            Self::Skip => "missed ticks: skipped",
            Self::RunOnce => "missed ticks: run once",
            Self::RunAll => "missed ticks: all run",
        }
    }
}

impl CronSchedule {
    /// Returns why the run of a tick must not start at `now`; `None` if it may start. `planned` is
    /// the planned start.
    pub fn missed_reason(
        &self,
        function: &str,
        minute: i64,
        planned: Timestamp,
        now: Timestamp,
    ) -> Option<&'static str> {
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

    /// Returns the ticks in these minutes that must be sent at `now`, in order: ticks in time, and
    /// missed ticks that still start a run.
    pub fn ticks_to_send(&self, function: &str, minutes: Range<i64>, now: Timestamp) -> Vec<i64> {
        let fires = |minute: &i64| self.fires_at(*minute);
        let is_missed = |minute: &i64| now.since(self.due(function, *minute)) > MISSED_AFTER;
        // all ticks before this minute are missed
        let recent = (now - MISSED_AFTER - LONGEST_JITTER).minute();
        let oldest = minutes.start.max(now.minute() - SEARCHED_MINUTES);
        let missed = (oldest..minutes.end.min(now.minute())).rev().filter(fires).filter(is_missed);
        let mut ticks: Vec<i64> = match self.missed_ticks {
            MissedTicks::Skip => Vec::new(),
            MissedTicks::RunOnce => missed.take(1).filter(|minute| !self.has_later(function, *minute, now)).collect(),
            MissedTicks::RunAll => missed.take(MOST_MISSED).collect(),
        };
        ticks.extend((recent.max(minutes.start)..minutes.end).filter(fires).filter(|minute| !is_missed(minute)));
        ticks.sort_unstable();
        ticks
    }

    /// Returns whether a later tick of the schedule is already due.
    fn has_later(&self, function: &str, minute: i64, now: Timestamp) -> bool {
        self.next_after(minute).is_some_and(|next| self.due(function, next) <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cron::CronExpression;

    const HOUR: i64 = 60;

    fn cron_schedule(line: &str, missed_ticks: MissedTicks) -> CronSchedule {
        CronSchedule {
            lines: vec![CronExpression::parse(line, "UTC").unwrap()],
            missed_ticks,
            ..CronSchedule::default()
        }
    }

    /// Returns the ticks that a sweep sends after `minutes` without sweeps, as minutes relative to
    /// the last full hour. The sweep runs `past` seconds after that hour.
    fn sent_ticks(line: &str, missed: MissedTicks, minutes: i64, past: u64) -> Vec<i64> {
        let full = 20_000 * 24 * HOUR;
        let now = Timestamp::of_minute(full) + Duration::from_secs(past);
        let ticks = cron_schedule(line, missed).ticks_to_send("f", full - minutes..full + 3, now);
        ticks.into_iter().map(|minute| minute - full).collect()
    }

    #[test]
    fn missed_ticks_start_all_or_once_or_never() {
        use MissedTicks::{RunAll, RunOnce, Skip};
        // a tick every minute: ticks in time start a run under every policy
        assert_eq!(sent_ticks("* * * * *", Skip, 3 * HOUR, 30), [0, 1, 2]);
        assert_eq!(sent_ticks("* * * * *", RunOnce, 3 * HOUR, 30), [0, 1, 2]);
        assert_eq!(sent_ticks("* * * * *", RunAll, 3 * HOUR, 30).len(), 183);
        // an hourly tick, of which three were missed
        assert!(sent_ticks("50 * * * *", Skip, 3 * HOUR, 0).is_empty());
        assert_eq!(sent_ticks("50 * * * *", RunOnce, 3 * HOUR, 0), [-10]);
        assert_eq!(sent_ticks("50 * * * *", RunAll, 3 * HOUR, 0), [-130, -70, -10]);
        // more ticks were missed than may be made up for
        let all = sent_ticks("* * * * *", RunAll, 30 * 24 * HOUR, 0);
        assert_eq!((all.len(), all.last()), (MOST_MISSED + 4, Some(&2)));
    }

    #[test]
    fn a_run_of_a_missed_tick_starts_unless_a_later_tick_has_come() {
        let full = 20_000 * 24 * HOUR;
        let at = Timestamp::of_minute;
        let starts = |missed, minute, now| {
            cron_schedule("0 * * * *", missed).missed_reason("f", minute, at(minute), now).is_none()
        };
        let late = at(full + 1) + Duration::from_millis(1);
        for missed in [MissedTicks::Skip, MissedTicks::RunOnce, MissedTicks::RunAll] {
            assert!(starts(missed, full, at(full + 1)), "{missed:?}: a minute late is in time");
            assert_eq!(starts(missed, full, late), missed != MissedTicks::Skip, "{missed:?}");
            assert_eq!(starts(missed, full, at(full + HOUR)), missed == MissedTicks::RunAll, "{missed:?}");
        }
    }
}
