//! Canonical JSON (RFC 8785), over which signatures are computed: keys in the order of their UTF-16
//! code units, numbers as JavaScript writes them, no white space.

use std::fmt::Write;

use serde_json::{Number, Value};

/// Returns the canonical text of a value.
pub(crate) fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write_value(&mut text, value);
    text
}

fn write_value(text: &mut String, value: &Value) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => write_number(text, number),
        Value::String(value) => write_string(text, value),
        Value::Array(items) => {
            text.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                write_value(text, item);
            }
            text.push(']');
        }
        Value::Object(fields) => {
            let mut keys: Vec<&String> = fields.keys().collect();
            keys.sort_by(|a, b| a.encode_utf16().cmp(b.encode_utf16()));
            text.push('{');
            for (i, key) in keys.into_iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                write_string(text, key);
                text.push(':');
                write_value(text, &fields[key]);
            }
            text.push('}');
        }
    }
}

/// Writes a string. The escapes of serde_json are those of the RFC.
fn write_string(text: &mut String, value: &str) {
    text.push_str(&Value::from(value).to_string());
}

/// Writes a number as JavaScript does, which reads every number as a double.
fn write_number(text: &mut String, number: &Number) {
    let Some(value) = number.as_f64() else { return text.push_str(&number.to_string()) };
    if value == 0.0 {
        return text.push('0');
    }
    let scientific = format!("{:e}", value.abs());
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let digits = digits.replace('.', "");
    if value < 0.0 {
        text.push('-');
    }
    // the number of digits before the decimal point
    let point = exponent + 1;
    let n = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    // writing to a string does not fail
    let _ = match point {
        _ if n <= point && point <= 21 => write!(text, "{digits}{}", "0".repeat((point - n) as usize)),
        _ if 0 < point && point <= 21 => {
            write!(text, "{}.{}", &digits[..point as usize], &digits[point as usize..])
        }
        _ if -6 < point && point <= 0 => write!(text, "0.{}{digits}", "0".repeat(-point as usize)),
        _ => {
            let fraction = if n > 1 { format!(".{}", &digits[1..]) } else { String::new() };
            let sign = if exponent < 0 { '-' } else { '+' };
            write!(text, "{}{fraction}e{sign}{}", &digits[..1], exponent.abs())
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_javascript_writes_them() {
        for (json, canonical_text) in [
            ("0", "0"),
            ("-0.0", "0"),
            ("1.0", "1"),
            ("-1.50", "-1.5"),
            ("1700000000000", "1700000000000"),
            ("1e21", "1e+21"),
            ("123e20", "1.23e+22"),
            ("1e20", "100000000000000000000"),
            ("0.000001", "0.000001"),
            ("1.5e-7", "1.5e-7"),
            ("9007199254740993", "9007199254740992"),
            ("0.1", "0.1"),
        ] {
            let value: Value = serde_json::from_str(json).unwrap();
            assert_eq!(canonical(&value), canonical_text, "{json}");
        }
    }

    #[test]
    fn keys_are_sorted_by_their_utf16_code_units() {
        let value: Value =
            serde_json::from_str(r#"{"b":[1, "é\n"],"\ufb33":2,"😀":3,"a":{"d":null,"c":true}}"#).unwrap();
        assert_eq!(canonical(&value), "{\"a\":{\"c\":true,\"d\":null},\"b\":[1,\"é\\n\"],\"😀\":3,\"\u{fb33}\":2}");
    }
}
