//! Exact decimals of any length, for JSON numbers that fit neither an `i128` nor an `f64`.

use std::cmp::Ordering;

/// A decimal with the value `0.digits × 10^point`. The digits neither start nor end with a zero, so
/// that each value has exactly one representation. Zero has no digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    digits: Box<str>,
    point: i64,
}

impl Decimal {
    /// Parses a JSON number. Returns `None` if its exponent does not fit into 32 bits.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], i64::from(text[at + 1..].parse::<i32>().ok()?)),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = [whole, fraction].concat();
        let digits = all.trim_start_matches('0');
        let point = whole.len() as i64 - (all.len() - digits.len()) as i64 + exponent;
        match digits.trim_end_matches('0') {
            "" => Some(Self { negative: false, digits: "".into(), point: 0 }),
            digits => Some(Self { negative, digits: digits.into(), point }),
        }
    }

    /// Creates a decimal from a whole number.
    pub(super) fn from_whole(whole: i128) -> Self {
        let text = whole.unsigned_abs().to_string();
        let digits = text.trim_end_matches('0');
        let point = if digits.is_empty() { 0 } else { text.len() as i64 };
        Self { negative: whole < 0, digits: digits.into(), point }
    }

    /// Returns this decimal as an integer; `None` if it has a fraction or more than 38 digits.
    pub(super) fn as_whole(&self) -> Option<i128> {
        if self.digits.is_empty() {
            return Some(0);
        }
        let zeros = usize::try_from(self.point.checked_sub(self.digits.len() as i64)?).ok()?;
        (self.point <= 38).then(|| [self.sign_text(), &self.digits, &"0".repeat(zeros)].concat().parse().ok()).flatten()
    }

    /// Returns the nearest float; infinity if the value is too large for a float.
    pub(super) fn to_float(&self) -> f64 {
        format!("{}0.{}e{}", self.sign_text(), if self.digits.is_empty() { "0" } else { &self.digits }, self.point)
            .parse()
            .unwrap_or(f64::NAN)
    }

    /// Writes the decimal without an exponent, such as `0.001` or `1200`. Returns `None` if this
    /// takes more than `longest` bytes.
    pub(super) fn plain(&self, longest: usize) -> Option<String> {
        let (digits, length) = (&*self.digits, self.digits.len());
        let zeros = |n: i64| usize::try_from(n).ok().filter(|n| *n <= longest).map(|n| "0".repeat(n));
        let text = match usize::try_from(self.point) {
            Err(_) | Ok(0) if length == 0 => "0".into(),
            Ok(point) if point > 0 && point < length => {
                [self.sign_text(), &digits[..point], ".", &digits[point..]].concat()
            }
            Ok(point) if point >= length && point > 0 => {
                [self.sign_text(), digits, &zeros(self.point - length as i64)?].concat()
            }
            Ok(_) | Err(_) => [self.sign_text(), "0.", &zeros(-self.point)?, digits].concat(),
        };
        (text.len() <= longest).then_some(text)
    }

    fn sign_text(&self) -> &'static str {
        if self.negative { "-" } else { "" }
    }

    /// Compares two decimals exactly.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        let rank = |of: &Self| match (of.digits.is_empty(), of.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        };
        let size = || (self.point, &self.digits).cmp(&(other.point, &other.digits));
        rank(self).cmp(&rank(other)).then_with(|| match rank(self) {
            0 => Ordering::Equal,
            1 => size(),
            _ => size().reverse(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        Decimal::read(text).unwrap().plain(100).unwrap()
    }

    #[test]
    fn each_value_has_one_form() {
        for (written, plainly) in [
            ("0", "0"),
            ("-0.0", "0"),
            ("0e9", "0"),
            ("100.0", "100"),
            ("1e2", "100"),
            ("1.50", "1.5"),
            ("-15e-1", "-1.5"),
            ("0.001", "0.001"),
            ("1E-3", "0.001"),
            ("0.5", "0.5"),
            ("12.5e+1", "125"),
            ("89014103211118510721", "89014103211118510721"),
            ("0.1000000000000000055511151231257827", "0.1000000000000000055511151231257827"),
        ] {
            assert_eq!(plain(written), plainly, "{written}");
        }
        assert_eq!(Decimal::read("1e200").unwrap().plain(100), None);
        assert_eq!(Decimal::read("1e-200").unwrap().plain(100), None);
        assert_eq!(Decimal::read("1e99999999999"), None);
        assert_eq!(Decimal::from_whole(-1_200), Decimal::read("-1.2e3").unwrap());
        assert_eq!(Decimal::from_whole(0), Decimal::read("-0").unwrap());
    }

    #[test]
    fn whole_numbers_are_recognised_however_they_are_written() {
        let whole = |text: &str| Decimal::read(text).unwrap().as_whole();
        assert_eq!([whole("100.0"), whole("-1e3"), whole("0.0")], [Some(100), Some(-1_000), Some(0)]);
        assert_eq!([whole("1.5"), whole("0.1"), whole("1e39"), whole("1e999999")], [None; 4]);
    }

    #[test]
    fn decimals_are_ordered_by_value() {
        let sorted = ["-1e30", "-2", "-1.5", "-0.001", "0", "1e-9", "0.5", "0.51", "1", "9", "10", "1e999"];
        for pair in sorted.windows(2) {
            let [a, b] = [pair[0], pair[1]].map(|text| Decimal::read(text).unwrap());
            assert_eq!((a.compare(&b), b.compare(&a)), (Ordering::Less, Ordering::Greater), "{pair:?}");
            assert_eq!(a.compare(&a), Ordering::Equal);
        }
    }

    #[test]
    fn a_decimal_becomes_the_nearest_float() {
        for x in [0.1, 1.5, 1e300, 5e-324, -2.0, 123_456_789.125, 0.0] {
            assert_eq!(Decimal::read(&format!("{x:e}")).unwrap().to_float(), x);
        }
        assert_eq!(Decimal::read("1e999").unwrap().to_float(), f64::INFINITY);
    }
}
