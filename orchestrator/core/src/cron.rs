//! Cron lines: at which minutes they start a run.
//!
//! The syntax is that of Vixie cron, with `L`, `#` and `W`: see `fields`. Which minutes
//! that means in a time zone whose clocks are put forward and back is decided here, as Vixie cron does: a line that says at
//! which hours it comes does so once a day for each, also where that hour is left out (then as soon as the clock goes on) or
//! comes twice (then the first time); a line with `*` or a step for its hours comes at every minute that fits, whatever
//! the clock was put to. Zones are those of the IANA data that is built in.

mod fields;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fields::Fields;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};

use crate::missed::MissedTicks;
use crate::sentence::shortened;
use crate::{Timestamp, id};

/// The longest jitter: a tick is sent to the queue two minutes ahead, and that delays a message by 15 minutes at most.
pub const LONGEST_JITTER: Duration = Duration::from_secs(600);
/// Days in which a line must come once: every date comes within eight years.
const DAYS: i64 = 8 * 366;

/// When a function starts by itself.
#[derive(Clone, Debug, Default)]
pub struct CronSchedule {
    /// Its lines; a minute that fits several of them is one tick.
    pub lines: Vec<CronExpression>,
    /// A tick comes up to this much later, by chance, but always the same for the same tick.
    pub jitter: Duration,
    /// What happens to ticks that did not start in time.
    pub missed_ticks: MissedTicks,
}

/// A cron line in its time zone.
#[derive(Clone)]
pub struct CronExpression {
    expression: Arc<str>,
    zone_name: Arc<str>,
    zone: TimeZone,
    fields: Fields,
}

/// What is wrong with a cron line or its zone, as a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CronError(String);

impl CronSchedule {
    /// Whether a function has a tick in this minute (counted from the epoch).
    pub fn fires_at(&self, minute: i64) -> bool {
        self.lines.iter().any(|line| line.fires_at(minute))
    }

    /// When the tick of a minute is due: up to [`jitter`](Self::jitter) after its begin.
    pub fn due(&self, function: &str, minute: i64) -> Timestamp {
        let jitter = u64::try_from(self.jitter.min(LONGEST_JITTER).as_millis()).unwrap_or(0);
        let chance = id::hash(&[b"jitter", function.as_bytes(), &minute.to_be_bytes()]) as u64;
        Timestamp::of_minute(minute) + Duration::from_millis(chance % (jitter + 1))
    }

    /// The first minute after this one at which a tick comes.
    pub fn next_after(&self, minute: i64) -> Option<i64> {
        self.lines.iter().filter_map(|line| line.next_after(minute)).min()
    }
}

impl CronExpression {
    /// Reads a line, and the zone by which it goes: `Europe/Berlin`, `UTC`.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(line: &str, zone: &str) -> Result<Self, CronError> {
        let bad = |why: String| CronError(format!("`{}` is not a cron schedule: {why}", shortened(line)));
        if line.len() > 255 {
            return Err(bad("it has more than 255 characters".into()));
        }
        let fields = Fields::read(line).map_err(bad)?;
        let tz = TimeZoneDatabase::bundled().get(zone).map_err(|_| {
            CronError(format!("`{}` is no time zone; use a name of the IANA data: Europe/Berlin, UTC", shortened(zone)))
        })?;
        let cron = Self { expression: line.into(), zone_name: zone.into(), zone: tz, fields };
        match cron.next_after(0) {
            Some(_) => Ok(cron),
            None => Err(bad("no date within eight years fits it".into())),
        }
    }

    /// As it was written.
    pub fn line(&self) -> &str {
        &self.expression
    }

    /// The name of its zone.
    pub fn zone(&self) -> &str {
        &self.zone_name
    }

    /// Whether it comes in this minute, counted from the epoch.
    pub fn fires_at(&self, minute: i64) -> bool {
        let Some((now, civil)) = self.civil(minute) else { return false };
        if !self.fields.at_hours {
            return self.fits(civil);
        }
        let is_first = match self.zone.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Fold { before, .. } => self.zone.to_offset(now) == before,
            AmbiguousOffset::Gap { .. } | AmbiguousOffset::Unambiguous { .. } => true,
        };
        (is_first && self.fits(civil)) || self.left_out_before(minute, civil)
    }

    /// The first minute after this one in which it comes; `None` when there is none within eight years.
    pub fn next_after(&self, minute: i64) -> Option<i64> {
        let first = self.civil(minute)?.1.date();
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

    fn civil(&self, minute: i64) -> Option<(jiff::Timestamp, DateTime)> {
        let now = jiff::Timestamp::from_second(minute.checked_mul(60)?).ok()?;
        Some((now, self.zone.to_datetime(now)))
    }

    /// Whether the clock was put forward to this minute, over one that fits.
    fn left_out_before(&self, minute: i64, civil: DateTime) -> bool {
        let Some((_, before)) = self.civil(minute - 1) else { return false };
        let mut left_out = before;
        // an ordinary minute is the next one; a clock is put forward by a day at most
        for _ in 0..24 * 60 {
            left_out = match left_out.checked_add(jiff::SignedDuration::from_mins(1)) {
                Ok(next) if next < civil => next,
                Ok(_) | Err(_) => return false,
            };
            if self.fits(left_out) {
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
