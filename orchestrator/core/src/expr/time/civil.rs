//! Dates, times and zones of CEL timestamps. This module computes them itself, because the
//! timestamps of the library `jiff` end a day before the year 9999 does. Many people write the end
//! of that year when they mean "never".

use cel::ExecutionError;
use cel::common::functions::Function;
use cel::common::types::CelString;
use cel::common::value::CowVal;
use jiff::tz::TimeZoneDatabase;

use super::{NanoTimestamp, SECOND, int_value};
use crate::expr::operators::CallResult;
use crate::expr::scope::no_overload;
use crate::sentence::shortened;

const DAY: i128 = 86_400;

/// Returns the number of days from 1970 to a date of the Gregorian calendar. The computation uses
/// years that start in March, so that a leap day is the last day of its year.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    era * 146_097 + year * 365 + year / 4 - year / 100 + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// Converts the number of days since 1970 to a year, a month and a day.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + later, month, day)
}

/// Parses an RFC 3339 timestamp. Returns nanoseconds since 1970; `None` if the timestamp is
/// invalid.
pub(super) fn read(text: &str) -> Option<i128> {
    let form = text.as_bytes().get(..19)?;
    let marks = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    if !marks.iter().all(|(at, mark)| form[*at] == *mark) || !matches!(form[10], b'T' | b't' | b' ') {
        return None;
    }
    let part = |from: usize, to: usize| read_digits(text.get(from..to)?);
    let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    let (hour, minute, second) = (part(11, 13)?, part(14, 16)?, part(17, 19)?);
    let days = days_of(year, month, day);
    if date_of(days) != (year, month, day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let rest = text.get(19..)?;
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?),
        None => ("", rest),
    };
    if rest.starts_with('.') && !(1..=9).contains(&fraction.len()) {
        return None;
    }
    let nanos = format!("{fraction:0<9}").parse::<i128>().ok()?;
    let offset = if zone.eq_ignore_ascii_case("z") { 0 } else { read_offset(zone)? };
    let seconds = i128::from(days) * DAY + i128::from(hour * 3_600 + minute * 60 + second) - i128::from(offset);
    Some(seconds * SECOND + nanos)
}

fn read_digits(digits: &str) -> Option<i64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// Parses an offset from UTC, such as `+01:00` or `-08:00`. Returns seconds.
fn read_offset(text: &str) -> Option<i64> {
    let sign = match text.bytes().next()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text[1..].split_once(':')?;
    let (hours, minutes) = (read_digits(hours)?, read_digits(minutes)?);
    (text.len() == 6 && hours < 24 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

/// Formats nanoseconds since 1970 as an RFC 3339 timestamp in UTC.
pub(super) fn write(nanos: i128) -> String {
    let (seconds, fraction) = (nanos.div_euclid(SECOND), format_fraction(nanos.rem_euclid(SECOND)));
    let (year, month, day) = date_of(i64::try_from(seconds.div_euclid(DAY)).unwrap_or(0));
    let second = seconds.rem_euclid(DAY);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Formats a fraction of a second, such as `.25`. Returns an empty string for zero.
pub(super) fn format_fraction(nanos: i128) -> String {
    match nanos {
        0 => String::new(),
        nanos => format!(".{nanos:09}").trim_end_matches('0').to_owned(),
    }
}

/// The functions that return a part of a timestamp, in UTC or in a zone.
pub(super) const PARTS: [(&str, Function); 10] = [
    ("getFullYear", |of| get_part(&of, |at| at.date().0.into())),
    ("getMonth", |of| get_part(&of, |at| (at.date().1 - 1).into())),
    ("getDate", |of| get_part(&of, |at| at.date().2.into())),
    ("getDayOfMonth", |of| get_part(&of, |at| (at.date().2 - 1).into())),
    ("getDayOfYear", |of| get_part(&of, |at| at.day() - i128::from(days_of(at.date().0, 1, 1)))),
    ("getDayOfWeek", |of| get_part(&of, |at| (at.day() + 4).rem_euclid(7))),
    ("getHours", |of| get_part(&of, |at| at.second() / 3_600)),
    ("getMinutes", |of| get_part(&of, |at| at.second() / 60 % 60)),
    ("getSeconds", |of| get_part(&of, |at| at.second() % 60)),
    ("getMilliseconds", |of| get_part(&of, |at| at.0.rem_euclid(SECOND) / 1_000_000)),
];

/// A moment in the local time of a zone, in nanoseconds.
struct LocalTime(i128);

impl LocalTime {
    fn day(&self) -> i128 {
        self.0.div_euclid(SECOND * DAY)
    }

    fn date(&self) -> (i64, i64, i64) {
        date_of(i64::try_from(self.day()).unwrap_or(0))
    }

    /// Returns the number of seconds since midnight.
    fn second(&self) -> i128 {
        self.0.div_euclid(SECOND).rem_euclid(DAY)
    }
}

fn get_part<'b, 'v>(of: &[CowVal<'b, 'v>], get: fn(&LocalTime) -> i128) -> CallResult<'b, 'v> {
    let NanoTimestamp(nanos) =
        *of[0].downcast_ref::<NanoTimestamp>().ok_or_else(|| no_overload("a part of a timestamp", &[&*of[0]]))?;
    let offset = match of.get(1).and_then(|zone| zone.downcast_ref::<CelString>()) {
        Some(zone) => zone_offset(zone.inner(), nanos)?,
        None => 0,
    };
    Ok(int_value(get(&LocalTime(nanos + offset * SECOND))))
}

/// Returns the offset of a zone at a moment: the seconds that the zone is ahead of UTC.
pub(super) fn zone_offset(zone: &str, nanos: i128) -> Result<i128, ExecutionError> {
    let signed = || if zone.starts_with(['+', '-']) { read_offset(zone) } else { read_offset(&format!("+{zone}")) };
    if let Some(offset) = signed() {
        return Ok(offset.into());
    }
    let unknown = || ExecutionError::function_error("timestamp", format!("`{}` is no time zone", shortened(zone)));
    let zone = TimeZoneDatabase::bundled().get(zone).map_err(|_| unknown())?;
    let second = i64::try_from(nanos.div_euclid(SECOND)).unwrap_or(0);
    let (first, last) = (jiff::Timestamp::MIN.as_second(), jiff::Timestamp::MAX.as_second());
    let at = jiff::Timestamp::from_second(second.clamp(first, last)).map_err(|_| unknown())?;
    Ok(zone.to_offset(at).seconds().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (year, month, day, since) in [
            (1970, 1, 1, 0),
            (2000, 2, 29, 11_016),
            (1969, 12, 31, -1),
            (2026, 11, 30, 20_787),
            (1, 1, 1, -719_162),
            (9999, 12, 31, 2_932_896),
        ] {
            assert_eq!(days_of(year, month, day), since);
            assert_eq!(date_of(since), (year, month, day));
        }
    }

    #[test]
    fn moments_are_read_and_written() {
        for (text, utc) in [
            ("2026-11-30T09:00:00Z", "2026-11-30T09:00:00Z"),
            ("2026-11-30T09:00:00.250+01:00", "2026-11-30T08:00:00.25Z"),
            ("2026-03-01t00:30:00-08:00", "2026-03-01T08:30:00Z"),
            ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999999Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ] {
            assert_eq!(read(text).map(write).as_deref(), Some(utc), "{text}");
        }
        for text in [
            "",
            "2026-11-30",
            "2026-11-30T09:00:00",
            "2026-02-30T09:00:00Z",
            "2026-13-01T09:00:00Z",
            "2026-11-30T24:00:00Z",
            "2026-11-30T09:60:00Z",
            "2026-11-30T09:00:60Z",
            "2026-11-30T09:00:00.Z",
            "2026-11-30T09:00:00+1:00",
            "2026-11-30T09:00:00+24:00",
            "2026-11-30T09:00:00Zé",
            "2026-11-30Té9:00:00Z",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
