//! The numbers in an event's JSON. They are exact and have a single type: JavaScript writes 100.0
//! as 100, so no result may depend on whether a number happens to be whole.

use std::any::Any;
use std::cmp::Ordering;
use std::sync::Arc;

use cel::common::types::{CelDouble, CelInt, CelUInt, Type};
use cel::common::value::{StaticVal, Val};

use super::decimal::Decimal;
use crate::limits::KEY_BYTES;

/// The name of the number type in expressions.
pub(super) const NUMBER: Type = Type::new_unspecified_type("number");
static NUMBER_TYPE: Type = NUMBER;

/// A number. A whole number of at most 38 digits is always `Whole`, so that each value has exactly
/// one representation.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Number {
    Whole(i128),
    Other(Arc<Decimal>),
}

/// An arithmetic operator on two numbers.
#[derive(Clone, Copy)]
pub(super) enum ArithmeticOperator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Number {
    /// Parses a JSON number. Returns `None` if its exponent does not fit into 32 bits.
    pub(super) fn read(text: &str) -> Option<Self> {
        text.parse::<i64>()
            .map_or_else(|_| Some(Self::from_decimal(Decimal::read(text)?)), |whole| Some(Self::Whole(whole.into())))
    }

    fn from_decimal(decimal: Decimal) -> Self {
        decimal.as_whole().map_or_else(|| Self::Other(Arc::new(decimal)), Self::Whole)
    }

    /// Returns the shortest decimal number that converts back to this float; `None` if the float is
    /// not finite.
    pub(super) fn of_float(float: f64) -> Option<Self> {
        float.is_finite().then(|| Self::read(&format!("{float:e}"))).flatten()
    }

    /// Converts a CEL value to a number. Returns `None` if the value is not a number.
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

    pub(super) fn to_float(&self) -> f64 {
        match self {
            Self::Whole(whole) => *whole as f64,
            Self::Other(decimal) => decimal.to_float(),
        }
    }

    /// Returns the number without its fraction; `None` if the result does not fit into an `i64`.
    pub(super) fn truncate(&self) -> Option<i64> {
        match self {
            Self::Whole(whole) => i64::try_from(*whole).ok(),
            Self::Other(decimal) => {
                // a number is short enough to be written out if its integer part fits into an `i64`
                let text = decimal.plain(KEY_BYTES)?;
                let whole = text.split_once('.').map_or(&*text, |(whole, _)| whole);
                whole.parse().ok()
            }
        }
    }

    /// Writes the number without an exponent, as in a key. Returns `None` if the result is longer
    /// than [`KEY_BYTES`].
    pub(super) fn to_plain_text(&self) -> Option<String> {
        match self {
            Self::Whole(whole) => Some(whole.to_string()),
            Self::Other(decimal) => decimal.plain(KEY_BYTES),
        }
    }

    /// Returns the number as the index of subscriptions stores it.
    ///
    /// A number that a float represents exactly is stored as in version 0.2.0, so that the entries
    /// of that version are found. Version 0.2.0 stored several other numbers alike; here they
    /// differ.
    pub(super) fn to_index_form(&self) -> Option<String> {
        match self {
            Self::Whole(whole) if i64::try_from(*whole).is_ok() || u64::try_from(*whole).is_ok() => {
                Some(whole.to_string())
            }
            Self::Whole(_) | Self::Other(_) => {
                let short = serde_json::Number::from_f64(self.to_float()).map(|float| float.to_string());
                short.filter(|text| Self::read(text).as_ref() == Some(self)).or_else(|| self.to_plain_text())
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
            Self::Whole(whole) => Arc::new(Decimal::from_whole(*whole)),
            Self::Other(decimal) => decimal.clone(),
        }
    }

    /// Applies an operator. The result of two whole numbers is exact if it is whole and has up to
    /// 38 digits. Any other result is a float, as in JavaScript.
    ///
    /// # Errors
    /// The divisor is zero, or the result is too large for a float.
    pub(super) fn combine(&self, by: ArithmeticOperator, other: &Self) -> Result<Self, &'static str> {
        if matches!(by, ArithmeticOperator::Divide | ArithmeticOperator::Remainder) && *other == Self::Whole(0) {
            return Err("a number is divided by zero");
        }
        let exact = match (self, other) {
            (Self::Whole(a), Self::Whole(b)) => match by {
                ArithmeticOperator::Add => a.checked_add(*b),
                ArithmeticOperator::Subtract => a.checked_sub(*b),
                ArithmeticOperator::Multiply => a.checked_mul(*b),
                ArithmeticOperator::Divide => a.checked_div(*b).filter(|_| a.checked_rem(*b) == Some(0)),
                ArithmeticOperator::Remainder => a.checked_rem(*b),
            },
            _ => None,
        };
        // a longer `i128` is not `Whole`, because each value must have exactly one representation
        if let Some(exact) = exact.filter(|exact| exact.unsigned_abs() < 10_u128.pow(38)) {
            return Ok(Self::Whole(exact));
        }
        let (a, b) = (self.to_float(), other.to_float());
        let float = match by {
            ArithmeticOperator::Add => a + b,
            ArithmeticOperator::Subtract => a - b,
            ArithmeticOperator::Multiply => a * b,
            ArithmeticOperator::Divide => a / b,
            ArithmeticOperator::Remainder => a % b,
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

    fn combined(a: &str, by: ArithmeticOperator, b: &str) -> String {
        read(a).combine(by, &read(b)).unwrap().to_plain_text().unwrap()
    }

    #[test]
    fn arithmetic_does_not_depend_on_how_a_number_is_written() {
        for (three, two) in [("3", "2"), ("3.0", "2"), ("30e-1", "2.00")] {
            assert_eq!(combined(three, ArithmeticOperator::Divide, two), "1.5");
            assert_eq!(combined(three, ArithmeticOperator::Remainder, two), "1");
            assert_eq!(combined(three, ArithmeticOperator::Add, two), "5");
        }
        assert_eq!(combined("100.0", ArithmeticOperator::Divide, "8"), "12.5");
        assert_eq!(combined("5.5", ArithmeticOperator::Remainder, "2"), "1.5");
        assert_eq!(combined("0.1", ArithmeticOperator::Add, "0.2"), "0.30000000000000004");
        assert_eq!(combined("89014103211118510720", ArithmeticOperator::Add, "1"), "89014103211118510721");
        assert!(read("1").combine(ArithmeticOperator::Divide, &read("-0.0")).is_err());
        assert!(read("1e308").combine(ArithmeticOperator::Multiply, &read("10")).is_err());
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
            assert_eq!(read(written).to_index_form().as_deref(), Some(kept), "{written}");
        }
        let sims = ["89014103211118510720", "89014103211118510721"].map(|sim| read(sim).to_index_form());
        assert_eq!(sims, [Some("89014103211118510720".into()), Some("89014103211118510721".into())]);
        assert_eq!(read("-0.0").to_index_form().as_deref(), Some("0"));
    }

    #[test]
    fn a_number_is_truncated_towards_zero() {
        let whole = ["2.9", "-2.9", "0.9", "1e30", "-7"].map(|text| read(text).truncate());
        assert_eq!(whole, [Some(2), Some(-2), Some(0), None, Some(-7)]);
    }
}
