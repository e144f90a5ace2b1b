//! JSON kept as text: what a step returned is stored, passed on and compared without being taken apart.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::expr;
use crate::limits::JSON_DEPTH;

/// A JSON text, shared. Decoding it is the business of whoever knows its type.
pub type Json = Arc<RawValue>;

/// A value as JSON.
///
/// # Errors
/// When the value cannot be written as JSON: a map whose keys are not text, a failing `Serialize`.
pub fn to_json<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Json> {
    serde_json::value::to_raw_value(value).map(Into::into)
}

/// The JSON `null`.
pub fn null() -> Json {
    Arc::from(RawValue::NULL.to_owned())
}

/// The JSON `{}`.
pub fn empty_object() -> Json {
    Arc::from(RawValue::from_string("{}".to_owned()).unwrap_or_else(|_| RawValue::NULL.to_owned()))
}

/// Whether a (valid) JSON text is an object.
pub fn is_object(json: &RawValue) -> bool {
    json.get().trim_start().starts_with('{')
}

/// Whether two (valid) JSON texts are one value: numbers by all of their digits, the fields of objects in any order.
pub fn is_same(one: &RawValue, other: &RawValue) -> bool {
    expr::is_same_json(one.get(), other.get())
}

/// What a text holds that this engine refuses although JSON allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonProblem {
    /// More nesting than [`JSON_DEPTH`].
    #[error("is nested more than {JSON_DEPTH} levels deep at byte {0}")]
    TooDeep(usize),
    /// A NUL character, which PostgreSQL and many others cannot store.
    #[error("contains a NUL character (\\u0000) at byte {0}; databases cannot store it, remove it")]
    Nul(usize),
    /// One half of a surrogate pair, which is no character: no decoder of text takes it.
    #[error(
        "contains half a surrogate pair (\\uD800 to \\uDFFF) at byte {0}; write both halves or the character itself"
    )]
    HalfPair(usize),
    /// A field whose name serde_json keeps for itself: decoding it gives what its text says, unchecked, instead of the
    /// object.
    #[error(
        "has a field at byte {0} whose name begins with `{RESERVED}`; decoders take it for something else, rename it"
    )]
    Reserved(usize),
}

/// How serde_json marks text that it has not decoded. Whoever sends a field of this name sends any JSON past every check.
const RESERVED: &str = "$serde_json::private::";

/// Checks a JSON text for depth, NUL characters, halves of surrogate pairs and reserved names, in one pass and without
/// recursion.
///
/// # Errors
/// [`JsonProblem`], with the byte at which it was found.
pub fn check(text: &str) -> Result<(), JsonProblem> {
    check_within(text, 0)
}

/// The same for a text that lies this many levels deep in another.
///
/// # Errors
/// [`JsonProblem`], with the byte of this text at which it was found.
pub fn check_within(text: &str, levels: usize) -> Result<(), JsonProblem> {
    let (mut depth, mut in_string) = (levels, false);
    let (mut began, mut escapes) = (0, false);
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
                at += 1; // the escaped character is not looked at
            }
            (true, b'"') => {
                in_string = false;
                if is_reserved(&text[began..=at], escapes) && text[at + 1..].trim_start().starts_with(':') {
                    return Err(JsonProblem::Reserved(began));
                }
            }
            (false, b'"') => (in_string, began, escapes) = (true, at, false),
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

/// Whether a text in its quotes begins as the reserved names do.
fn is_reserved(quoted: &str, escapes: bool) -> bool {
    match escapes {
        false => quoted[1..].starts_with(RESERVED),
        true => serde_json::from_str::<String>(quoted).is_ok_and(|name| name.starts_with(RESERVED)),
    }
}

/// The number of an escape like `\u00e9` that the bytes begin with.
fn code_unit(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_the_same_by_all_of_their_digits() {
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
        assert!(serde_json::from_str::<serde_json::Value>(raw).unwrap().is_array(), "what it is refused for");
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
