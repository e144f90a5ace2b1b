//! JSON kept as text. Step outcomes are stored, passed on and compared without decoding them.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::expr;
use crate::limits::JSON_DEPTH;

/// A shared JSON document. It is decoded only where its Rust type is known.
pub type Json = Arc<RawValue>;

/// Writes a value as JSON.
///
/// # Errors
/// The value cannot be written as JSON: a map has keys that are not strings, or its `Serialize`
/// implementation fails.
pub fn to_json<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Json> {
    serde_json::value::to_raw_value(value).map(Into::into)
}

/// Returns the JSON `null`.
pub fn null() -> Json {
    Arc::from(RawValue::NULL.to_owned())
}

/// Returns the JSON `{}`.
pub fn empty_object() -> Json {
    Arc::from(RawValue::from_string("{}".to_owned()).unwrap_or_else(|_| RawValue::NULL.to_owned()))
}

/// Returns whether a valid JSON document is an object.
pub fn is_object(json: &RawValue) -> bool {
    json.get().trim_start().starts_with('{')
}

/// Returns whether two valid JSON documents have the same value. Numbers are compared by all their
/// digits, and the order of an object's fields is ignored.
pub fn is_same(one: &RawValue, other: &RawValue) -> bool {
    expr::is_same_json(one.get(), other.get())
}

/// A problem in a JSON document that is valid, but that this engine refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonProblem {
    /// The document is nested more than [`JSON_DEPTH`] levels deep.
    #[error("is nested more than {JSON_DEPTH} levels deep at byte {0}")]
    TooDeep(usize),
    /// The document contains a NUL character, which PostgreSQL and other databases cannot store.
    #[error("contains a NUL character (\\u0000) at byte {0}; databases cannot store it, remove it")]
    Nul(usize),
    /// The document contains one half of a surrogate pair. Decoders refuse such a half, because it
    /// is not a character.
    #[error(
        "contains half a surrogate pair (\\uD800 to \\uDFFF) at byte {0}; write both halves or the character itself"
    )]
    HalfPair(usize),
    /// The document has a field with a name that serde_json reserves for internal use. Decoding
    /// such an object yields the JSON inside the field, unchecked, instead of the object.
    #[error(
        "has a field at byte {0} with a name that begins with `{RESERVED}`; decoders misread such a field, rename it"
    )]
    Reserved(usize),
}

/// The prefix of field names that serde_json reserves for JSON that is not decoded yet. A sender
/// could use such a field to bypass all checks.
const RESERVED: &str = "$serde_json::private::";

/// Checks a JSON document for depth, NUL characters, halves of surrogate pairs and reserved names,
/// in one pass and without recursion.
///
/// # Errors
/// [`JsonProblem`], with the byte position of the problem.
pub fn check(text: &str) -> Result<(), JsonProblem> {
    check_within(text, 0)
}

/// Checks a JSON document that is embedded in another document, `levels` levels deep. See
/// [`check`].
///
/// # Errors
/// [`JsonProblem`], with the byte position of the problem within `text`.
pub fn check_within(text: &str, levels: usize) -> Result<(), JsonProblem> {
    let (mut depth, mut in_string) = (levels, false);
    let (mut string_start, mut escapes) = (0, false);
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match (in_string, byte) {
            (true, b'\\') => {
                if bytes[at + 1..].starts_with(b"u0000") {
                    return Err(JsonProblem::Nul(at));
                }
                match code_unit(&bytes[at..]) {
                    Some(0xD800..0xDC00) if matches!(code_unit(&bytes[at + 6..]), Some(0xDC00..0xE000)) => at += 6,
                    Some(0xD800..0xE000) => return Err(JsonProblem::HalfPair(at)),
                    Some(_) | None => {}
                }
                escapes = true;
                at += 1; // skip the escaped character
            }
            (true, b'"') => {
                in_string = false;
                if is_reserved(&text[string_start..=at], escapes) && text[at + 1..].trim_start().starts_with(':') {
                    return Err(JsonProblem::Reserved(string_start));
                }
            }
            (false, b'"') => (in_string, string_start, escapes) = (true, at, false),
            (_, 0) => return Err(JsonProblem::Nul(at)),
            (false, b'{' | b'[') => {
                depth += 1;
                if depth > JSON_DEPTH {
                    return Err(JsonProblem::TooDeep(at));
                }
            }
            (false, b'}' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// Returns whether a quoted string starts with the reserved prefix.
fn is_reserved(quoted: &str, escapes: bool) -> bool {
    match escapes {
        false => quoted[1..].starts_with(RESERVED),
        true => serde_json::from_str::<String>(quoted).is_ok_and(|name| name.starts_with(RESERVED)),
    }
}

/// Decodes the escape at the start of the bytes, such as `\u00e9`. Returns `None` if there is none.
fn code_unit(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_compared_by_all_of_their_digits() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        for (one, other, same) in [
            (r#"{"a":1,"b":[true,null]}"#, r#" {"b":[true,null],"a":1.0}"#, true),
            ("89014103211118510720", "8901410321111851072e1", true),
            ("89014103211118510720", "89014103211118510721", false),
            (r#"{"a":{"b":[89014103211118510720]}}"#, r#"{"a":{"b":[89014103211118510721]}}"#, false),
            ("0.1", "0.10000000000000000001", false),
            ("1", "\"1\"", false),
            ("[1,2]", "[2,1]", false),
            ("{}", r#"{"a":null}"#, false),
        ] {
            assert_eq!(is_same(&raw(one), &raw(other)), same, "{one} and {other}");
            assert_eq!(is_same(&raw(other), &raw(one)), same, "{other} and {one}");
        }
    }

    #[test]
    fn depth_is_bounded_outside_strings_only() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert_eq!(check(&nested(JSON_DEPTH)), Ok(()));
        assert_eq!(check(&nested(JSON_DEPTH + 1)), Err(JsonProblem::TooDeep(JSON_DEPTH)));
        assert_eq!(check(&format!("{:?}", "[".repeat(500))), Ok(()));
    }

    #[test]
    fn an_escaped_nul_is_found_and_an_escaped_backslash_is_not_one() {
        assert_eq!(check(r#"{"a":"x\u0000"}"#), Err(JsonProblem::Nul(7)));
        assert_eq!(check(r#"{"a":"x\\u0000"}"#), Ok(()));
        assert_eq!(check("\"a\\"), Ok(()));
    }

    #[test]
    fn a_name_that_serde_json_keeps_for_itself_is_found_however_it_is_written() {
        let raw = r#"{"$serde_json::private::RawValue":"[1]"}"#;
        assert!(
            serde_json::from_str::<serde_json::Value>(raw).unwrap().is_array(),
            "serde_json decodes the field's text"
        );
        assert_eq!(check(raw), Err(JsonProblem::Reserved(1)));
        assert_eq!(check(r#"[{"\u0024serde_json\u003a:private::RawValue" : "1"}]"#), Err(JsonProblem::Reserved(2)));
        assert_eq!(check(r#"{"a":"$serde_json::private::RawValue"}"#), Ok(()));
        assert_eq!(check(r#"{"a$serde_json::private::RawValue":1}"#), Ok(()));
    }

    #[test]
    fn half_a_surrogate_pair_is_found_and_a_whole_one_is_text() {
        assert_eq!(check(r#"["\ud83d\ude00 \u00e9 \uffff"]"#), Ok(()));
        assert_eq!(check(r#"["\ud800"]"#), Err(JsonProblem::HalfPair(2)));
        assert_eq!(check(r#"["\ude00\ud83d"]"#), Err(JsonProblem::HalfPair(2)));
        assert_eq!(check(r#"["\ud83d\ud83d\ude00"]"#), Err(JsonProblem::HalfPair(2)));
        assert_eq!(check(r#"["\ud83d"#), Err(JsonProblem::HalfPair(2)));
        assert_eq!(check(r#"["\\ud800"]"#), Ok(()));
    }
}
