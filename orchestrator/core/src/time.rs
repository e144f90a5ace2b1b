//! Time as the engine measures it: milliseconds since 1970 in UTC. The caller always passes the
//! current time as an argument.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A moment, in milliseconds since the Unix epoch. Displays as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The last moment that can be written in every time zone. It is two days before the end of the
    /// year 9999.
    pub const MAX: Timestamp = Timestamp(253_402_128_000_000);

    /// The first moment that RFC 3339 can write: the start of the year 0.
    pub const MIN: Timestamp = Timestamp(-62_167_219_200_000);

    /// Creates a moment from milliseconds since the epoch.
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// Returns the milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Returns the minute of this moment, counted from the epoch. Timers are stored in one bucket
    /// per minute.
    pub const fn minute(self) -> i64 {
        self.0.div_euclid(60_000)
    }

    /// Returns the first moment of a minute. `minute` is counted from the epoch.
    pub const fn of_minute(minute: i64) -> Self {
        Self(minute.saturating_mul(60_000))
    }

    /// Returns whether this moment can be written in every time zone. This is true from
    /// [`Timestamp::MIN`] to [`Timestamp::MAX`].
    pub const fn is_representable(self) -> bool {
        self.0 >= Self::MIN.0 && self.0 <= Self::MAX.0
    }

    /// Returns the time from `earlier` to this moment; zero if this moment is not later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl From<SystemTime> for Timestamp {
    /// Converts a system time; rounds down to milliseconds.
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(0) + after,
            Err(before) => Self(0) - before.duration(),
        }
    }
}

impl From<jiff::Timestamp> for Timestamp {
    /// Converts a timestamp of the library `jiff`; rounds to milliseconds.
    fn from(time: jiff::Timestamp) -> Self {
        Self(time.as_millisecond())
    }
}

impl From<Timestamp> for jiff::Timestamp {
    /// Converts a moment. A moment outside the years 0 to 9999 becomes the first or the last moment
    /// within them.
    fn from(time: Timestamp) -> Self {
        Self::from_millisecond(time.0.clamp(Timestamp::MIN.0, Timestamp::MAX.0)).unwrap_or_default()
    }
}

impl From<Timestamp> for SystemTime {
    /// Converts a moment. A moment outside the years 0 to 9999 becomes the first or the last moment
    /// within them.
    fn from(time: Timestamp) -> Self {
        let ms = time.0.clamp(Timestamp::MIN.0, Timestamp::MAX.0);
        let distance = Duration::from_millis(ms.unsigned_abs());
        if ms < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    /// Adds a duration. The result is at most [`Timestamp::MAX`], so that a sleep "forever" has an
    /// end and does not overflow.
    fn add(self, d: Duration) -> Self {
        let ms = i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(ms).min(Self::MAX.0))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // RFC 3339 cannot write moments outside this range, so they are written as the first or the
        // last moment of the range
        match jiff::Timestamp::from_millisecond(self.0.clamp(Self::MIN.0, Self::MAX.0)) {
            Ok(t) => write!(f, "{t:.3}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_as_rfc_3339() {
        assert_eq!(Timestamp::from_millis(1_700_000_000_123).to_string(), "2023-11-14T22:13:20.123Z");
        assert_eq!(Timestamp::from_millis(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp::from_millis(-1).to_string(), "1969-12-31T23:59:59.999Z");
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-30T00:00:00.000Z");
        assert_eq!(Timestamp::MIN.to_string(), "0000-01-01T00:00:00.000Z");
        assert_eq!(Timestamp::from_millis(i64::MAX).to_string(), "9999-12-30T00:00:00.000Z");
        assert_eq!(Timestamp::from_millis(i64::MIN).to_string(), "0000-01-01T00:00:00.000Z");
    }

    #[test]
    fn times_of_jiff_and_of_the_system_convert_both_ways() {
        for ms in [0, 1_700_000_000_123, -1, Timestamp::MIN.0, Timestamp::MAX.0] {
            let time = Timestamp::from_millis(ms);
            assert_eq!(Timestamp::from(SystemTime::from(time)), time, "{ms}");
            assert_eq!(Timestamp::from(jiff::Timestamp::from(time)), time, "{ms}");
        }
        assert_eq!(Timestamp::from(UNIX_EPOCH + Duration::from_micros(1_500)), Timestamp(1));
        assert_eq!(jiff::Timestamp::from(Timestamp(i64::MAX)).to_string(), "9999-12-30T00:00:00Z");
        assert_eq!(SystemTime::from(Timestamp(i64::MIN)), SystemTime::from(Timestamp::MIN));
    }

    #[test]
    fn addition_saturates() {
        assert_eq!(Timestamp::from_millis(5) + Duration::MAX, Timestamp::MAX);
        assert_eq!(Timestamp::from_millis(5).since(Timestamp::from_millis(9)), Duration::ZERO);
        assert_eq!(Timestamp::from_millis(i64::MAX).since(Timestamp::from_millis(-1)).as_millis(), i64::MAX as u128);
        assert_eq!(Timestamp::from_millis(i64::MIN) - Duration::from_millis(1), Timestamp::from_millis(i64::MIN));
        assert_eq!(Timestamp::from_millis(0) - Duration::MAX, Timestamp::from_millis(-i64::MAX));
        assert_eq!(Timestamp::of_minute(i64::MAX), Timestamp::from_millis(i64::MAX));
        assert_eq!(Timestamp::from_millis(i64::MIN).minute(), i64::MIN / 60_000 - 1);
    }
}
