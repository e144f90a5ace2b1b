//! Numbers of an event's JSON: exact, and of one kind. JavaScript writes 100.0 as 100, so nothing may depend on whether a
//! number happens to be whole.

use std::any::Any;
use std::cmp::Ordering;
use std::sync::Arc;

use cel::common::types::{CelDouble, CelInt, CelUInt, Type};
use cel::common::value::{StaticVal, Val};

use super::decimal::Decimal;
use crate::limits::KEY_BYTES;

/// What expressions call the type.
pub(super) const NUMBER: Type = Type::new_unspecified_type("number");
static NUMBER_TYPE: Type = NUMBER;

/// A number. Whole ones of up to 38 digits are always `Whole`, so that each value has one form.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Number {
    Whole(i128),
    Other(Arc<Decimal>),
}

/// What two numbers are combined by.
#[derive(Clone, Copy)]
pub(super) enum Sum {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Number {
    /// Reads a number as JSON writes it; `None` when its exponent is beyond all reason.
    pub(super) fn read(text: &str) -> Option<Self> {
        text.parse::<i64>()
            .map_or_else(|_| Some(Self::of(Decimal::read(text)?)), |whole| Some(Self::Whole(whole.into())))
    }

    fn of(decimal: Decimal) -> Self {
        decimal.whole().map_or_else(|| Self::Other(Arc::new(decimal)), Self::Whole)
    }

    /// The number as a program would write it: the shortest decimal that reads as this float.
    pub(super) fn of_float(float: f64) -> Option<Self> {
        float.is_finite().then(|| Self::read(&format!("{float:e}"))).flatten()
    }

    /// The number that a value of CEL is; `None` when it is none.
    pub(super) fn of_value(value: &dyn Val) -> Option<Self> {
        if let Some(number) = value.downcast_ref::<Self>() {
            return Some(number.clone());
        }
        if let Some(int) = value.downcast_ref::<CelInt>() {
            return Some(Self::Whole((*int.inner()).into()));
        }
        if let Some(uint) = value.downcast_ref::<CelUInt>() {
            return Some(Self::Whole((*uint.inner()).into()));
        }
        Self::of_float(*value.downcast_ref::<CelDouble>()?.inner())
    }

    pub(super) fn float(&self) -> f64 {
        match self {
            Self::Whole(whole) => *whole as f64,
            Self::Other(decimal) => decimal.float(),
        }
    }

    /// Without what comes after the point; `None` when the rest is no `i64`.
    pub(super) fn truncated(&self) -> Option<i64> {
        match self {
            Self::Whole(whole) => i64::try_from(*whole).ok(),
            Self::Other(decimal) => {
                // what is not whole and has an `i64` before its point has few enough digits there
                let text = decimal.plain(KEY_BYTES)?;
                let whole = text.split_once('.').map_or(&*text, |(whole, _)| whole);
                whole.parse().ok()
            }
        }
    }

    /// Its digits, without an exponent: the text of a key.
    pub(super) fn plain(&self) -> Option<String> {
        match self {
            Self::Whole(whole) => Some(whole.to_string()),
            Self::Other(decimal) => decimal.plain(KEY_BYTES),
        }
    }

    /// The form by which the index of waits knows it. Numbers that a float holds exactly look as in version 0.2.0, whose
    /// entries are still found; of the others, that version confused several.
    pub(super) fn indexed(&self) -> Option<String> {
        match self {
            Self::Whole(whole) if i64::try_from(*whole).is_ok() || u64::try_from(*whole).is_ok() => {
                Some(whole.to_string())
            }
            Self::Whole(_) | Self::Other(_) => {
                let short = serde_json::Number::from_f64(self.float()).map(|float| float.to_string());
                short.filter(|text| Self::read(text).as_ref() == Some(self)).or_else(|| self.plain())
            }
        }
    }

    pub(super) fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Whole(a), Self::Whole(b)) => a.cmp(b),
            (a, b) => a.decimal().compare(&b.decimal()),
        }
    }

    fn decimal(&self) -> Arc<Decimal> {
        match self {
            Self::Whole(whole) => Arc::new(Decimal::of(*whole)),
            Self::Other(decimal) => decimal.clone(),
        }
    }

    /// Whole numbers give exact results where these are whole and have up to 38 digits, and all others floats, as in
    /// JavaScript.
    ///
    /// # Errors
    /// When it is divided by zero, or no float is large enough.
    pub(super) fn combine(&self, by: Sum, other: &Self) -> Result<Self, &'static str> {
        if matches!(by, Sum::Divide | Sum::Remainder) && *other == Self::Whole(0) {
            return Err("a number is divided by zero");
        }
        let exact = match (self, other) {
            (Self::Whole(a), Self::Whole(b)) => match by {
                Sum::Add => a.checked_add(*b),
                Sum::Subtract => a.checked_sub(*b),
                Sum::Multiply => a.checked_mul(*b),
                Sum::Divide => a.checked_div(*b).filter(|_| a.checked_rem(*b) == Some(0)),
                Sum::Remainder => a.checked_rem(*b),
            },
            _ => None,
        };
        // an i128 of more digits would have a second form
        if let Some(exact) = exact.filter(|exact| exact.unsigned_abs() < 10_u128.pow(38)) {
            return Ok(Self::Whole(exact));
        }
        let (a, b) = (self.float(), other.float());
        let float = match by {
            Sum::Add => a + b,
            Sum::Subtract => a - b,
            Sum::Multiply => a * b,
            Sum::Divide => a / b,
            Sum::Remainder => a % b,
        };
        Self::of_float(float).ok_or("the result is larger than a number can be")
    }
}

impl Val for Number {
    fn get_type(&self) -> &Type {
        &NUMBER_TYPE
    }

    fn cel_type() -> &'static Type {
        &NUMBER_TYPE
    }

    fn equals(&self, other: &dyn Val) -> bool {
        Self::of_value(other).is_some_and(|other| *self == other)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Number {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Number {
        Number::read(text).unwrap()
    }

    fn combined(a: &str, by: Sum, b: &str) -> String {
        read(a).combine(by, &read(b)).unwrap().plain().unwrap()
    }

    #[test]
    fn sums_do_not_depend_on_how_a_number_is_written() {
        for (three, two) in [("3", "2"), ("3.0", "2"), ("30e-1", "2.00")] {
            assert_eq!(combined(three, Sum::Divide, two), "1.5");
            assert_eq!(combined(three, Sum::Remainder, two), "1");
            assert_eq!(combined(three, Sum::Add, two), "5");
        }
        assert_eq!(combined("100.0", Sum::Divide, "8"), "12.5");
        assert_eq!(combined("5.5", Sum::Remainder, "2"), "1.5");
        assert_eq!(combined("0.1", Sum::Add, "0.2"), "0.30000000000000004");
        assert_eq!(combined("89014103211118510720", Sum::Add, "1"), "89014103211118510721");
        assert!(read("1").combine(Sum::Divide, &read("-0.0")).is_err());
        assert!(read("1e308").combine(Sum::Multiply, &read("10")).is_err());
    }

    #[test]
    fn the_index_keeps_the_forms_of_version_0_2_0() {
        for (written, kept) in [
            ("1", "1"),
            ("1.0", "1"),
            ("-0.5", "-0.5"),
            ("1e20", "1e+20"),
            ("1e-7", "1e-7"),
            ("18446744073709551615", "18446744073709551615"),
            ("-9223372036854775808", "-9223372036854775808"),
        ] {
            assert_eq!(read(written).indexed().as_deref(), Some(kept), "{written}");
        }
        let sims = ["89014103211118510720", "89014103211118510721"].map(|sim| read(sim).indexed());
        assert_eq!(sims, [Some("89014103211118510720".into()), Some("89014103211118510721".into())]);
        assert_eq!(read("-0.0").indexed().as_deref(), Some("0"));
    }

    #[test]
    fn what_comes_after_the_point_is_cut_off() {
        let whole = ["2.9", "-2.9", "0.9", "1e30", "-7"].map(|text| read(text).truncated());
        assert_eq!(whole, [Some(2), Some(-2), Some(0), None, Some(-7)]);
    }
}
