//! One log line: the order of its members, its reserved names, and its maximum size.

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use super::fields::{STRING_BYTES, json_len, truncate};

/// The maximum length of a line, in bytes: 256 KiB minus the 26 bytes that CloudWatch adds.
///
/// Today a log event may have 1 MB ([PutLogEvents]). The former limit of 256 KB still applies in
/// some regions, and in tools that read the logs.
///
/// [PutLogEvents]:
/// https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
pub const LINE_BYTES: usize = 256 * 1024 - 26;

/// The number of bytes reserved for the members after the fields: constants and metrics.
const TAIL_BYTES: usize = 16 * 1024;

/// The minimum number of free bytes for a field. With less space, the field is left out.
const MIN_FIELD_BYTES: usize = 128;

/// The members that every line has. A field with such a name is renamed.
const RESERVED_NAMES: [&str; 7] = ["timestamp", "level", "target", "role", "stack", "code", "left_out"];

/// The members of a log line, in order.
#[derive(Debug)]
pub(super) struct JsonLine {
    members: Vec<(Cow<'static, str>, Value)>,
    room: usize,
    left_out: u64,
}

impl JsonLine {
    pub(super) fn new() -> Self {
        Self { members: Vec::with_capacity(24), room: LINE_BYTES - TAIL_BYTES, left_out: 0 }
    }

    /// Adds a member without checking the size of the line.
    pub(super) fn add_member(&mut self, name: &'static str, value: impl Into<Value>) {
        self.members.push((name.into(), value.into()));
    }

    /// Adds a field if there is space. A field with a reserved name is renamed to `fields.<name>`.
    pub(super) fn add_field(&mut self, name: &'static str, value: Value) {
        // the names of metric members start with a capital letter or an underscore
        let is_reserved = RESERVED_NAMES.contains(&name)
            || name.starts_with(|first: char| first == '_' || first.is_ascii_uppercase());
        let name = if is_reserved { Cow::Owned(format!("fields.{name}")) } else { Cow::Borrowed(name) };
        if self.members.iter().any(|(known, _)| *known == name) {
            return;
        }
        let room = self.room.saturating_sub(json_len(&name) + 6);
        if room < MIN_FIELD_BYTES {
            self.left_out += 1;
            return;
        }
        let (value, bytes) = match value {
            Value::String(text) => {
                let text = truncate(&text, room.min(STRING_BYTES));
                let bytes = json_len(&text);
                (Value::String(text), bytes)
            }
            other => (other, 32),
        };
        self.room = room.saturating_sub(bytes);
        self.members.push((name, value));
    }

    /// Returns the line as JSON, followed by a line feed.
    pub(super) fn finish(mut self) -> String {
        if self.left_out > 0 {
            self.add_member("left_out", self.left_out);
        }
        // serializing cannot fail: all keys are strings
        let mut text = serde_json::to_string(&self).unwrap_or_default();
        text.push('\n');
        text
    }
}

impl Serialize for JsonLine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.members.len()))?;
        for (name, value) in &self.members {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_never_replaces_a_member_of_the_line() {
        let mut line = JsonLine::new();
        line.add_member("level", "INFO");
        for name in ["level", "level", "_aws", "Stack", "code", "run"] {
            line.add_field(name, name.into());
        }
        line.add_member("code", "7");
        assert_eq!(
            line.finish(),
            "{\"level\":\"INFO\",\"fields.level\":\"level\",\"fields._aws\":\"_aws\",\"fields.Stack\":\"Stack\",\
             \"fields.code\":\"code\",\"run\":\"run\",\"code\":\"7\"}\n"
        );
    }

    #[test]
    fn fields_without_space_are_counted() {
        let names: Vec<&'static str> = vec!["a", "b", "c", "d", "e", "f"];
        let mut line = JsonLine::new();
        for name in &names {
            line.add_field(name, "\u{1}\"".repeat(STRING_BYTES).into());
        }
        line.add_field("g", 1.into());
        let text = line.finish();
        assert!(text.len() <= LINE_BYTES, "{}", text.len());
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["left_out"], 3);
        assert!(read["a"].as_str().unwrap().ends_with("… [cut, 131072 bytes]"));
    }
}
