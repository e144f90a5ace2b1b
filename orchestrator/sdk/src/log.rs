//! Log lines of a run: `ctx.log("…")`.

use serde::Serialize;
use serde_json::{Map, Value};
use stepladder_core::json;
use stepladder_core::report::{LogLevel, LogLine};

/// A log line with a level and fields, for [`Context::log`](crate::Context::log). A plain string
/// works too.
///
/// ```
/// # use stepladder::prelude::*;
/// # fn example(ctx: &Context, rows: usize) {
/// ctx.log("stored");
/// ctx.log(Log::warn("fewer rows than usual").with("rows", rows));
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a log line is written by ctx.log"]
pub struct Log {
    level: LogLevel,
    message: String,
    fields: Map<String, Value>,
}

impl Log {
    /// Creates a line with the level `info`.
    pub fn info(message: impl Into<String>) -> Self {
        Self { level: LogLevel::Info, message: message.into(), fields: Map::new() }
    }

    /// Creates a line with the level `warn`.
    pub fn warn(message: impl Into<String>) -> Self {
        Self { level: LogLevel::Warn, ..Self::info(message) }
    }

    /// Creates a line with the level `error`.
    pub fn error(message: impl Into<String>) -> Self {
        Self { level: LogLevel::Error, ..Self::info(message) }
    }

    /// Adds a field. A later value replaces an earlier one with the same name. If the value cannot
    /// be written as JSON, the field contains the reason.
    pub fn with(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        let value = serde_json::to_value(value).unwrap_or_else(|error| Value::String(error.to_string()));
        self.fields.insert(name.into(), value);
        self
    }

    pub(crate) fn into_line(self) -> LogLine {
        let Self { level, message, fields } = self;
        let fields = if fields.is_empty() { None } else { json::to_json(&fields).ok() };
        LogLine::new(level, &message, fields)
    }
}

impl From<&str> for Log {
    fn from(message: &str) -> Self {
        Self::info(message)
    }
}

impl From<String> for Log {
    fn from(message: String) -> Self {
        Self::info(message)
    }
}
