//! Parses the five fields of a cron expression as Vixie cron does. No library is used: its errors
//! would not name the position. It would also treat `*/10` as a restriction of the day, which cron
//! does not.

use jiff::civil::{Date, Weekday};

/// The minutes, hours, days and months of an expression.
#[derive(Clone, Debug)]
pub(super) struct CronFields {
    minutes: u64,
    hours: u64,
    months: u64,
    days: MonthDays,
    weekdays: Weekdays,
    /// Whether the expression names single hours, without `*` or a step.
    pub(super) at_hours: bool,
}

#[derive(Clone, Debug, Default)]
struct MonthDays {
    on: u64,
    /// Days such as `15W`: the expression fires on the weekday nearest to each. Bit N stands for
    /// day N.
    nearest: u64,
    last: bool,
    last_weekday: bool,
    is_star: bool,
}

/// One entry per weekday, starting with Sunday. Bit 0 means every such weekday, bits 1 to 5 mean
/// the first to the fifth of the month, and bit 6 means the last.
#[derive(Clone, Debug, Default)]
struct Weekdays {
    on: [u8; 7],
    is_star: bool,
}

const LAST: u8 = 6;

/// A field of a cron expression, with its range of values.
struct FieldUnit {
    what: &'static str,
    least: u32,
    most: u32,
    /// The names of the values, in order, starting with that of `least`.
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

const MINUTE: FieldUnit = FieldUnit { what: "minute", least: 0, most: 59, names: &[] };
const HOUR: FieldUnit = FieldUnit { what: "hour", least: 0, most: 23, names: &[] };
const DAY: FieldUnit = FieldUnit { what: "day of the month", least: 1, most: 31, names: &[] };
const MONTH: FieldUnit = FieldUnit { what: "month", least: 1, most: 12, names: &MONTHS };
/// 7 also means Sunday.
const WEEKDAY: FieldUnit = FieldUnit { what: "weekday", least: 0, most: 7, names: &WEEKDAYS };

/// Nicknames such as `@daily`, with the expressions that they stand for.
const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

impl CronFields {
    /// Parses an expression.
    ///
    /// # Errors
    /// The end of a sentence about the expression: what is wrong, at which character, and what to
    /// write instead.
    pub(super) fn read(line: &str) -> Result<Self, String> {
        let reader = CronReader { line };
        let first = line.split_whitespace().next().unwrap_or("");
        if let Some((_, zone)) = first.split_once('=').filter(|(name, _)| name.ends_with("TZ")) {
            return Err(reader.field_error(first, &format!("is no field; give the zone by `.time_zone(\"{zone}\")`")));
        }
        if first.starts_with('@') {
            let known = NICKNAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(line.trim()));
            return match known {
                Some((_, fields)) => Self::read(fields),
                None if first.eq_ignore_ascii_case("@every") => {
                    Err(reader.field_error(first, "is not known; for every five minutes write `*/5 * * * *`"))
                }
                None => {
                    Err(reader.field_error(first, "is not known; use @hourly, @daily, @weekly, @monthly or @yearly"))
                }
            };
        }
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            let hint = if fields.len() > 5 { "; there are no seconds and no years" } else { "" };
            return Err(format!(
                "it has {} fields; write five: minute, hour, day of the month, month, weekday{hint}",
                fields.len()
            ));
        };
        Ok(Self {
            minutes: reader.parse_values(minute, &MINUTE)?,
            hours: reader.parse_values(hour, &HOUR)?,
            days: reader.parse_days(day)?,
            months: reader.parse_values(month, &MONTH)?,
            weekdays: reader.parse_weekdays(weekday)?,
            at_hours: !hour.contains(['*', '/']),
        })
    }

    pub(super) fn fits_time(&self, hour: i8, minute: i8) -> bool {
        has_bit(self.hours, hour.unsigned_abs().into()) && has_bit(self.minutes, minute.unsigned_abs().into())
    }

    /// Returns whether the day fields match a date. If one of them starts with `*`, both must
    /// match; otherwise one is enough.
    pub(super) fn fits_day(&self, date: Date) -> bool {
        let (by_day, by_weekday) = (self.days.fits(date), self.weekdays.fits(date));
        let fits = match self.days.is_star || self.weekdays.is_star {
            true => by_day && by_weekday,
            false => by_day || by_weekday,
        };
        fits && has_bit(self.months, date.month().unsigned_abs().into())
    }
}

impl MonthDays {
    fn fits(&self, date: Date) -> bool {
        let (day, length) = (date.day(), date.days_in_month());
        let has_nearest = (1..=length).filter(|of| has_bit(self.nearest, of.unsigned_abs().into()));
        has_bit(self.on, day.unsigned_abs().into())
            || self.last && day == length
            || self.last_weekday && day == nearest_weekday(date, length)
            || has_nearest.into_iter().any(|of| day == nearest_weekday(date, of))
    }
}

/// Returns the day from Monday to Friday that is nearest to `day`, within the date's month.
fn nearest_weekday(date: Date, day: i8) -> i8 {
    let at = date.first_of_month().with().day(day).build().unwrap_or(date);
    match at.weekday() {
        Weekday::Saturday if day > 1 => day - 1,
        Weekday::Saturday => day + 2,
        Weekday::Sunday if day < date.days_in_month() => day + 1,
        Weekday::Sunday => day - 2,
        _ => day,
    }
}

impl Weekdays {
    fn fits(&self, date: Date) -> bool {
        let on = self.on[usize::from(date.weekday().to_sunday_zero_offset().unsigned_abs())];
        let nth = (date.day().unsigned_abs() - 1) / 7 + 1;
        let is_last = date.day() + 7 > date.days_in_month();
        on & 1 != 0 || on & (1 << nth) != 0 || is_last && on & (1 << LAST) != 0
    }
}

fn has_bit(bits: u64, value: u64) -> bool {
    bits & (1 << value) != 0
}

struct CronReader<'l> {
    line: &'l str,
}

impl<'l> CronReader<'l> {
    /// Returns an error sentence about a part of the expression, with its position.
    fn field_error(&self, part: &str, why: &str) -> String {
        let bytes = part.as_ptr() as usize - self.line.as_ptr() as usize;
        let before = self.line.get(..bytes).map_or(0, |before| before.chars().count());
        format!("`{part}` at character {} {why}", before + 1)
    }

    fn split_entries(&self, field: &'l str) -> Result<impl Iterator<Item = &'l str>, String> {
        match field.split(',').find(|entry| entry.is_empty()) {
            Some(_) => Err(self.field_error(field, "has an empty entry; write a value before and after each comma")),
            None => Ok(field.split(',')),
        }
    }

    fn parse_values(&self, field: &'l str, unit: &FieldUnit) -> Result<u64, String> {
        self.split_entries(field)?.try_fold(0, |bits, entry| Ok(bits | self.parse_range(entry, unit)?))
    }

    fn parse_days(&self, field: &'l str) -> Result<MonthDays, String> {
        let mut days = MonthDays { is_star: field.starts_with(['*', '?']), ..MonthDays::default() };
        for entry in self.split_entries(field)? {
            let upper = entry.to_ascii_uppercase();
            match (&*upper, upper.strip_suffix('W')) {
                ("L", _) => days.last = true,
                ("LW", _) => days.last_weekday = true,
                (_, Some(_)) => days.nearest |= 1 << self.parse_number(&entry[..entry.len() - 1], &DAY)?,
                (_, None) => days.on |= self.parse_range(entry, &DAY)?,
            }
        }
        Ok(days)
    }

    fn parse_weekdays(&self, field: &'l str) -> Result<Weekdays, String> {
        let mut weekdays = Weekdays { is_star: field.starts_with(['*', '?']), ..Weekdays::default() };
        for entry in self.split_entries(field)? {
            let (days, nth) = match entry.split_once('#') {
                Some((days, "L" | "l")) => (days, LAST),
                Some((days, nth)) => match nth.parse() {
                    Ok(nth @ 1..=5) => (days, nth),
                    Ok(_) | Err(_) => return Err(self.field_error(entry, "has no number from 1 to 5 after the #: 5#2")),
                },
                None => match entry.strip_suffix(['L', 'l']) {
                    Some("") => return Err(self.field_error(entry, "is no weekday; the last Friday of a month is 5L")),
                    Some(days) => (days, LAST),
                    None => (entry, 0),
                },
            };
            let days = self.parse_range(days, &WEEKDAY)?;
            for day in (0..=7).filter(|day| has_bit(days, *day)) {
                weekdays.on[day as usize % 7] |= 1 << nth;
            }
        }
        Ok(weekdays)
    }

    /// Parses `5`, `1-5` or `*`, each with an optional step.
    fn parse_range(&self, entry: &'l str, unit: &FieldUnit) -> Result<u64, String> {
        let (base, step) = match entry.split_once('/') {
            None => (entry, None),
            Some((base, step)) => match step.parse::<u32>() {
                Ok(number) if number > 0 && !step.starts_with('+') => (base, Some(number)),
                Ok(_) | Err(_) => return Err(self.field_error(entry, "has no whole number from 1 on after the `/`")),
            },
        };
        let (first, last) = match (base, base.split_once('-')) {
            ("*", _) => (unit.least, unit.most),
            ("?", _) if unit.what.contains("day") => (unit.least, unit.most),
            (_, Some((first, last))) => (self.parse_number(first, unit)?, self.parse_number(last, unit)?),
            (_, None) => {
                let first = self.parse_number(base, unit)?;
                (first, if step.is_some() { unit.most } else { first })
            }
        };
        // Sunday as the end of a range, such as Saturday to Sunday, is 7
        let last = if unit.most == 7 && last == 0 && first > 0 { 7 } else { last };
        if first > last {
            return Err(self.field_error(base, "ends before it begins"));
        }
        Ok((first..=last).step_by(step.unwrap_or(1) as usize).fold(0, |bits, value| bits | 1 << value))
    }

    fn parse_number(&self, text: &str, unit: &FieldUnit) -> Result<u32, String> {
        let named = unit.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let number = match named {
            Some(at) => Some(at as u32 + unit.least),
            None if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
            None => None,
        };
        number.filter(|number| (unit.least..=unit.most).contains(number)).ok_or_else(|| {
            let FieldUnit { what, least, most, names } = unit;
            let names = match (names.first(), names.last()) {
                (Some(first), Some(last)) => format!(" or {first} to {last}"),
                _ => String::new(),
            };
            self.field_error(text, &format!("is no {what}; use {least} to {most}{names}"))
        })
    }
}
