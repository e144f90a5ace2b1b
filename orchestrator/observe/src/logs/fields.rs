//! The fields of an event or a span, as JSON values of bounded size.

use std::error::Error;
use std::fmt::{self, Write as _};

use serde_json::Value;
use tracing::field::{Field, Visit};

/// The maximum length of a string in a log line, in bytes of JSON.
pub(crate) const STRING_BYTES: usize = 64 * 1024;

/// The number of bytes reserved for the mark that follows a truncated string.
const MARK_BYTES: usize = 48;

/// The names and values of fields, in the order in which they were recorded. Each name occurs once.
#[derive(Debug, Default)]
pub(crate) struct LineFields(Vec<(&'static str, Value)>);

impl LineFields {
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    pub(crate) fn get_text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str)
    }

    pub(crate) fn take_field(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(known, _)| *known == name)?;
        Some(self.0.remove(at).1)
    }

    /// Adds the fields of an outer span. Existing fields keep their values.
    pub(crate) fn add_missing(&mut self, outer: &Self) {
        for (name, value) in &outer.0 {
            if self.get(name).is_none() {
                self.0.push((name, value.clone()));
            }
        }
    }

    /// Adds a field, unless there is one with this name.
    pub(crate) fn add_missing_text(&mut self, name: &'static str, value: impl fmt::Display) {
        if self.get(name).is_none() {
            self.0.push((name, Value::String(value.to_string())));
        }
    }

    pub(crate) fn into_iter(self) -> impl Iterator<Item = (&'static str, Value)> {
        self.0.into_iter()
    }

    fn set(&mut self, field: &Field, value: Value) {
        let name = field.name();
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }
}

impl Visit for LineFields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = TruncatedText::default();
        // if the formatter fails, the text written before the error is kept
        let _ = write!(text, "{value:?}");
        self.set(field, Value::String(text.finish()));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut text = TruncatedText::default();
        let _ = write!(text, "{value}");
        let mut source = value.source();
        while let Some(cause) = source {
            let _ = write!(text, ": {cause}");
            source = cause.source();
        }
        self.set(field, Value::String(text.finish()));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, Value::String(truncate(value, STRING_BYTES)));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value.into());
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.set(field, i64::try_from(value).map_or_else(|_| value.to_string().into(), Value::from));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.set(field, u64::try_from(value).map_or_else(|_| value.to_string().into(), Value::from));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has neither NaN nor infinity: they become null
        self.set(field, value.into());
    }
}

/// A writer that keeps the first bytes of a string and counts all of them.
#[derive(Default)]
struct TruncatedText {
    kept: String,
    bytes: usize,
}

impl TruncatedText {
    fn finish(self) -> String {
        if self.bytes == self.kept.len() {
            return truncate(&self.kept, STRING_BYTES);
        }
        truncate_with_marker(&self.kept, STRING_BYTES, self.bytes)
    }
}

impl fmt::Write for TruncatedText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // once a part was left out, nothing may be appended
        if self.bytes == self.kept.len() {
            let end = text.floor_char_boundary(STRING_BYTES - self.kept.len());
            self.kept.push_str(&text[..end]);
        }
        self.bytes += text.len();
        Ok(())
    }
}

/// Returns the text if it fits into `room` bytes of JSON. Otherwise returns its start, followed by
/// a mark with its full length.
pub(super) fn truncate(text: &str, room: usize) -> String {
    if json_len(text) <= room { text.to_owned() } else { truncate_with_marker(text, room, text.len()) }
}

fn truncate_with_marker(text: &str, room: usize, bytes: usize) -> String {
    let room = room.saturating_sub(MARK_BYTES);
    let mut used = 0;
    let end = text.char_indices().find_map(|(at, char)| {
        used += char_len(char);
        (used > room).then_some(at)
    });
    format!("{}… [cut, {bytes} bytes]", &text[..end.unwrap_or(text.len())])
}

/// Returns the length of a string in JSON, without the quotes.
pub(super) fn json_len(text: &str) -> usize {
    text.chars().map(char_len).sum()
}

fn char_len(char: char) -> usize {
    match char {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        _ => char.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn computed_sizes_match_the_serialized_json() {
        for text in ["", "plain", "\"\\\n\r\t\u{8}\u{c}", "\0\u{1}\u{1f}\u{7f}", "é…😀\u{2028}"] {
            let written = serde_json::to_string(text).unwrap();
            assert_eq!(json_len(text) + 2, written.len(), "{text:?}");
        }
    }

    #[test]
    fn a_cut_string_keeps_its_beginning_and_its_full_length() {
        assert_eq!(truncate("short", 5), "short");
        let text = truncate(&"é".repeat(1_000), 148);
        assert_eq!(text, format!("{}… [cut, 2000 bytes]", "é".repeat(50)));
        let control = truncate(&"\u{1}".repeat(STRING_BYTES), STRING_BYTES);
        assert!(json_len(&control) <= STRING_BYTES);
    }

    #[test]
    fn debug_output_is_bounded_while_it_is_formatted() {
        let mut text = TruncatedText::default();
        for _ in 0..3 {
            text.write_str(&"é".repeat(STRING_BYTES / 4 + 1)).unwrap();
        }
        assert!(text.kept.len() <= STRING_BYTES);
        let text = text.finish();
        assert!(text.ends_with("… [cut, 98310 bytes]"), "{}", &text[text.len() - 40..]);
        assert!(json_len(&text) <= STRING_BYTES);
    }
}
