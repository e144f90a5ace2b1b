//! Cron schedules: the minutes at which they start a run.
//!
//! The syntax is that of Vixie cron with `L`, `#` and `W`: see `fields`. This module applies it in
//! a time zone with clock changes, as Vixie cron does:
//!
//! - An expression that names its hours fires once a day for each hour. If the clock skips the
//!   hour, it fires right after the change. If the hour repeats, it fires the first time.
//! - An expression with `*` or a step for its hours fires at every matching minute of the clock.
//!
//! Time zones come from the built-in IANA data.

mod fields;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fields::CronFields;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};

use crate::missed::MissedTicks;
use crate::sentence::shortened;
use crate::{Timestamp, id};

/// The longest jitter. A tick is queued two minutes ahead, and a queue message is delayed by at
/// most 15 minutes.
pub const LONGEST_JITTER: Duration = Duration::from_secs(600);
/// The number of days to search for the next tick. Every date, even 29 February, occurs within
/// eight years.
const DAYS: i64 = 8 * 366;

/// The cron schedule of a function.
#[derive(Clone, Debug, Default)]
pub struct CronSchedule {
    /// The cron expressions. A minute that matches several of them is one tick.
    pub lines: Vec<CronExpression>,
    /// The maximum random delay of a tick. The same tick always has the same delay.
    pub jitter: Duration,
    /// What happens to ticks that were missed, for example while the server was down.
    pub missed_ticks: MissedTicks,
}

/// A cron expression with its time zone.
#[derive(Clone)]
pub struct CronExpression {
    expression: Arc<str>,
    zone_name: Arc<str>,
    zone: TimeZone,
    fields: CronFields,
}

/// The error of an invalid cron expression or time zone, as a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CronError(String);

impl CronSchedule {
    /// Returns whether the schedule has a tick in `minute`, counted from the epoch.
    pub fn fires_at(&self, minute: i64) -> bool {
        self.lines.iter().any(|line| line.fires_at(minute))
    }

    /// Returns when the tick of `minute` is due: at most [`jitter`](Self::jitter) after the minute
    /// starts.
    pub fn due(&self, function: &str, minute: i64) -> Timestamp {
        let jitter = u64::try_from(self.jitter.min(LONGEST_JITTER).as_millis()).unwrap_or(0);
        let chance = id::hash(&[b"jitter", function.as_bytes(), &minute.to_be_bytes()]) as u64;
        Timestamp::of_minute(minute) + Duration::from_millis(chance % (jitter + 1))
    }

    /// Returns the first minute after `minute` that has a tick.
    pub fn next_after(&self, minute: i64) -> Option<i64> {
        self.lines.iter().filter_map(|line| line.next_after(minute)).min()
    }
}

impl CronExpression {
    /// Parses a cron expression and a time zone, such as `Europe/Berlin` or `UTC`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the expression or the time zone.
    pub fn parse(line: &str, zone: &str) -> Result<Self, CronError> {
        let bad = |why: String| CronError(format!("`{}` is not a cron schedule: {why}", shortened(line)));
        if line.len() > 255 {
            return Err(bad("it has more than 255 characters".into()));
        }
        let fields = CronFields::read(line).map_err(bad)?;
        let tz = TimeZoneDatabase::bundled().get(zone).map_err(|_| {
            CronError(format!("`{}` is no time zone; use a name of the IANA data: Europe/Berlin, UTC", shortened(zone)))
        })?;
        let cron = Self { expression: line.into(), zone_name: zone.into(), zone: tz, fields };
        match cron.next_after(0) {
            Some(_) => Ok(cron),
            None => Err(bad("no date within eight years fits it".into())),
        }
    }

    /// Returns the expression as it was written.
    pub fn line(&self) -> &str {
        &self.expression
    }

    /// Returns the name of the time zone.
    pub fn zone(&self) -> &str {
        &self.zone_name
    }

    /// Returns whether the expression fires in `minute`, counted from the epoch.
    pub fn fires_at(&self, minute: i64) -> bool {
        let Some((now, civil)) = self.local_time_of_minute(minute) else { return false };
        if !self.fields.at_hours {
            return self.fits(civil);
        }
        let is_first = match self.zone.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Fold { before, .. } => self.zone.to_offset(now) == before,
            AmbiguousOffset::Gap { .. } | AmbiguousOffset::Unambiguous { .. } => true,
        };
        (is_first && self.fits(civil)) || self.skipped_before(minute, civil)
    }

    /// Returns the first minute after `minute` in which the expression fires; `None` if there is
    /// none within eight years.
    pub fn next_after(&self, minute: i64) -> Option<i64> {
        let first = self.local_time_of_minute(minute)?.1.date();
        let (mut day, mut from) = (first, minute.saturating_add(1));
        for _ in 0..=DAYS {
            let next = day.tomorrow().ok()?;
            let end = self.zone.to_timestamp(next.at(0, 0, 0, 0)).ok()?.as_millisecond().div_euclid(60_000);
            let found = || (from..end.max(from)).find(|minute| self.fires_at(*minute));
            if let Some(found) = self.fields.fits_day(day).then(found).flatten() {
                return Some(found);
            }
            (day, from) = (next, end.max(from));
        }
        None
    }

    fn local_time_of_minute(&self, minute: i64) -> Option<(jiff::Timestamp, DateTime)> {
        let now = jiff::Timestamp::from_second(minute.checked_mul(60)?).ok()?;
        Some((now, self.zone.to_datetime(now)))
    }

    /// Returns whether the clock was set forward to reach this minute and skipped a matching one.
    fn skipped_before(&self, minute: i64, civil: DateTime) -> bool {
        let Some((_, before)) = self.local_time_of_minute(minute - 1) else { return false };
        let mut skipped = before;
        // normally the previous minute is one minute earlier; a time zone skips at most one day
        for _ in 0..24 * 60 {
            skipped = match skipped.checked_add(jiff::SignedDuration::from_mins(1)) {
                Ok(next) if next < civil => next,
                Ok(_) | Err(_) => return false,
            };
            if self.fits(skipped) {
                return true;
            }
        }
        false
    }

    fn fits(&self, at: DateTime) -> bool {
        self.fields.fits_time(at.hour(), at.minute()) && self.fields.fits_day(at.date())
    }
}

impl fmt::Debug for CronExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for CronExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.expression, self.zone_name)
    }
}
