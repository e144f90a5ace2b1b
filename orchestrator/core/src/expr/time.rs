//! CEL's timestamps and durations, with the arithmetic and the functions of its specification.

mod civil;

use std::any::Any;
use std::cmp::Ordering;

use cel::ExecutionError;
use cel::common::traits::Comparer;
use cel::common::types::{CelInt, CelString, DURATION_TYPE, INT_TYPE, STRING_TYPE, TIMESTAMP_TYPE, Type};
use cel::common::value::{CowVal, StaticVal, Val};

use super::environment::FunctionDeclarations;
use super::number::{NUMBER, Number};
use super::operators::CallResult;
use super::scope::no_overload;

/// The number of nanoseconds in a second.
const SECOND: i128 = 1_000_000_000;
/// The first and the last second of the years 1 to 9999.
const SECONDS: std::ops::RangeInclusive<i128> = -62_135_596_800..=253_402_300_799;

/// A moment, as nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NanoTimestamp(i128);

/// A duration in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NanoDuration(i128);

static MOMENT_TYPE: Type = TIMESTAMP_TYPE;
static SPAN_TYPE: Type = DURATION_TYPE;

impl NanoTimestamp {
    fn new(nanos: i128) -> Result<Self, ExecutionError> {
        match SECONDS.contains(&nanos.div_euclid(SECOND)) {
            true => Ok(Self(nanos)),
            false => Err(ExecutionError::function_error(
                "timestamp",
                "it is not within the years 1 to 9999; a number counts seconds: timestamp(event.ts / 1000)",
            )),
        }
    }

    /// Parses an RFC 3339 timestamp, such as `2026-11-30T09:00:00Z` or
    /// `2026-11-30T09:00:00.25+01:00`.
    pub(super) fn read(text: &str) -> Result<Self, ExecutionError> {
        let nanos = civil::read(text).ok_or_else(|| {
            ExecutionError::function_error("timestamp", format!("`{text}` is no time like 2026-11-30T09:00:00Z"))
        })?;
        Self::new(nanos)
    }
}

impl NanoDuration {
    fn new(nanos: i128) -> Result<Self, ExecutionError> {
        // CEL's limit: about the time from the year 1 to the year 9999
        match nanos.abs() <= 315_576_000_000 * SECOND {
            true => Ok(Self(nanos)),
            false => Err(ExecutionError::function_error("duration", "it is longer than 10,000 years")),
        }
    }

    /// Parses a duration: numbers with units, such as `90s`, `1h30m`, `-1.5h` or `250ms`.
    pub(super) fn read(text: &str) -> Result<Self, ExecutionError> {
        let nanos = read_nanos(text).ok_or_else(|| {
            ExecutionError::function_error("duration", format!("`{text}` is no duration like 90s, 1h30m or 250ms"))
        })?;
        Self::new(nanos)
    }
}

/// Checks the name of a time zone.
///
/// # Errors
/// No time zone has this name.
pub(super) fn check_zone(name: &str) -> Result<(), ExecutionError> {
    civil::zone_offset(name, 0).map(drop)
}

/// Parses a duration and returns nanoseconds; `None` if the text is not a duration.
fn read_nanos(text: &str) -> Option<i128> {
    let (sign, mut rest) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos = 0_i128;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (digits, after) = rest.split_at(number);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (name, next) = after.split_at(unit);
        let unit = match name {
            "h" => 3_600 * SECOND,
            "m" => 60 * SECOND,
            "s" => SECOND,
            "ms" => 1_000_000,
            "us" | "µs" => 1_000,
            "ns" => 1,
            _ => return None,
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || digits.len() > 30 {
            return None;
        }
        let part = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse::<i128>().ok() };
        let whole = part(whole)?.checked_mul(unit)?;
        // digits beyond a nanosecond are dropped
        let fraction = &fraction[..fraction.len().min(15)];
        let fraction = part(fraction)? * unit / 10_i128.pow(fraction.len() as u32);
        nanos = nanos.checked_add(whole)?.checked_add(fraction)?;
        rest = next;
    }
    Some(sign * nanos)
}

/// Adds a duration to a timestamp or to a duration; `None` if the values are of other types.
pub(super) fn add_times<'b, 'v>(a: &dyn Val, b: &dyn Val) -> Option<CallResult<'b, 'v>> {
    let (a, b) = if b.downcast_ref::<NanoTimestamp>().is_some() { (b, a) } else { (a, b) };
    let NanoDuration(by) = *b.downcast_ref::<NanoDuration>()?;
    if let Some(NanoTimestamp(at)) = a.downcast_ref::<NanoTimestamp>() {
        return Some(NanoTimestamp::new(at + by).map(CowVal::owned));
    }
    let NanoDuration(nanos) = *a.downcast_ref::<NanoDuration>()?;
    Some(NanoDuration::new(nanos + by).map(CowVal::owned))
}

/// Subtracts two timestamps, or a duration from a timestamp or a duration; `None` if the values are
/// of other types.
pub(super) fn subtract_times<'b, 'v>(a: &dyn Val, b: &dyn Val) -> Option<CallResult<'b, 'v>> {
    if let (Some(NanoTimestamp(a)), Some(NanoTimestamp(b))) =
        (a.downcast_ref::<NanoTimestamp>(), b.downcast_ref::<NanoTimestamp>())
    {
        return Some(NanoDuration::new(a - b).map(CowVal::owned));
    }
    let NanoDuration(by) = *b.downcast_ref::<NanoDuration>()?;
    if let Some(NanoTimestamp(at)) = a.downcast_ref::<NanoTimestamp>() {
        return Some(NanoTimestamp::new(at - by).map(CowVal::owned));
    }
    let NanoDuration(nanos) = *a.downcast_ref::<NanoDuration>()?;
    Some(NanoDuration::new(nanos - by).map(CowVal::owned))
}

pub(super) fn declare(declare: &mut FunctionDeclarations) {
    declare.add_function("timestamp", "string_to_timestamp", vec![STRING_TYPE], |of| {
        match of[0].downcast_ref::<CelString>() {
            Some(text) => NanoTimestamp::read(text.inner()).map(CowVal::owned),
            None => Err(no_overload("timestamp", &[&*of[0]])),
        }
    });
    for (id, of) in [("int_to_timestamp", INT_TYPE), ("number_to_timestamp", NUMBER)] {
        declare.add_function("timestamp", id, vec![of], |of| {
            let second = Number::of_value(&*of[0]).and_then(|number| number.truncate());
            let second = second.ok_or_else(|| no_overload("timestamp", &[&*of[0]]))?;
            NanoTimestamp::new(i128::from(second) * SECOND).map(CowVal::owned)
        });
    }
    declare.add_function("timestamp", "timestamp_to_timestamp", vec![TIMESTAMP_TYPE], return_argument);
    declare.add_function("duration", "string_to_duration", vec![STRING_TYPE], |of| {
        match of[0].downcast_ref::<CelString>() {
            Some(text) => NanoDuration::read(text.inner()).map(CowVal::owned),
            None => Err(no_overload("duration", &[&*of[0]])),
        }
    });
    declare.add_function("duration", "duration_to_duration", vec![DURATION_TYPE], return_argument);
    declare.add_function("int", "timestamp_to_int", vec![TIMESTAMP_TYPE], |of| {
        match of[0].downcast_ref::<NanoTimestamp>() {
            Some(NanoTimestamp(nanos)) => Ok(int_value(nanos.div_euclid(SECOND))),
            None => Err(no_overload("int", &[&*of[0]])),
        }
    });
    declare.add_function("string", "timestamp_to_string", vec![TIMESTAMP_TYPE], to_text);
    declare.add_function("string", "duration_to_string", vec![DURATION_TYPE], to_text);
    for (name, get) in civil::PARTS {
        declare.add_method(TIMESTAMP_TYPE, name, &format!("timestamp_{name}"), vec![], get);
        declare.add_method(TIMESTAMP_TYPE, name, &format!("timestamp_{name}_in"), vec![STRING_TYPE], get);
    }
    for (name, get) in SPAN_PARTS {
        declare.add_method(DURATION_TYPE, name, &format!("duration_{name}"), vec![], get);
    }
    let types = [declare.0.add_type(TIMESTAMP_TYPE), declare.0.add_type(DURATION_TYPE)];
    debug_assert!(types.iter().all(Result::is_ok), "{types:?}");
}

const SPAN_PARTS: [(&str, cel::common::functions::Function); 4] = [
    ("getHours", |of| whole_units(&of, 3_600 * SECOND)),
    ("getMinutes", |of| whole_units(&of, 60 * SECOND)),
    ("getSeconds", |of| whole_units(&of, SECOND)),
    ("getMilliseconds", |of| whole_units(&of, 1_000_000)),
];

/// Returns the number of whole units in a duration. A unit is given in nanoseconds.
fn whole_units<'b, 'v>(of: &[CowVal<'b, 'v>], unit: i128) -> CallResult<'b, 'v> {
    let NanoDuration(nanos) =
        of[0].downcast_ref::<NanoDuration>().ok_or_else(|| no_overload("a part of a duration", &[&*of[0]]))?;
    Ok(int_value(nanos / unit))
}

fn return_argument<'b, 'v>(mut of: Vec<CowVal<'b, 'v>>) -> CallResult<'b, 'v> {
    Ok(of.swap_remove(0))
}

fn int_value<'b, 'v>(of: i128) -> CowVal<'b, 'v> {
    CowVal::owned(CelInt::from(i64::try_from(of).unwrap_or(i64::MAX)))
}

fn to_text<'b, 'v>(of: Vec<CowVal<'b, 'v>>) -> CallResult<'b, 'v> {
    if let Some(NanoTimestamp(nanos)) = of[0].downcast_ref::<NanoTimestamp>() {
        return Ok(CowVal::owned(CelString::from(civil::write(*nanos))));
    }
    let NanoDuration(nanos) = of[0].downcast_ref::<NanoDuration>().ok_or_else(|| no_overload("string", &[&*of[0]]))?;
    let sign = if *nanos < 0 { "-" } else { "" };
    let (seconds, fraction) = (nanos.abs() / SECOND, civil::format_fraction(nanos.abs() % SECOND));
    Ok(CowVal::owned(CelString::from(format!("{sign}{seconds}{fraction}s"))))
}

macro_rules! time_value {
    ($type:ident, $of:ident) => {
        impl Val for $type {
            fn get_type(&self) -> &Type {
                &$of
            }

            fn cel_type() -> &'static Type {
                &$of
            }

            fn as_comparer(&self) -> Option<&dyn Comparer> {
                Some(self)
            }

            fn equals(&self, other: &dyn Val) -> bool {
                other.downcast_ref::<Self>() == Some(self)
            }

            fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
                Box::new(*self)
            }

            fn as_any(&self) -> Option<&dyn Any> {
                Some(self)
            }
        }

        impl StaticVal for $type {}

        impl Comparer for $type {
            fn compare(&self, other: &dyn Val) -> Result<Ordering, ExecutionError> {
                other
                    .downcast_ref::<Self>()
                    .map(|other| self.cmp(other))
                    .ok_or_else(|| no_overload("_<_", &[self, other]))
            }
        }
    };
}

time_value!(NanoTimestamp, MOMENT_TYPE);
time_value!(NanoDuration, SPAN_TYPE);
