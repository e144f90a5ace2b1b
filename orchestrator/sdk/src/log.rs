//! Lines of a run's log: `ctx.log("…")`.

use serde::Serialize;
use serde_json::{Map, Value};
use stepladder_core::json;
use stepladder_core::report::{Level, Line};

/// One line for [`Context::log`](crate::Context::log). A text is one by itself; this is for what matters more, and for
/// values that belong to it.
///
/// ```
/// # use stepladder_sdk::prelude::*;
/// # fn example(ctx: &Context, rows: usize) {
/// ctx.log("stored");
/// ctx.log(Log::warn("fewer rows than usual").with("rows", rows));
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "it is said by ctx.log"]
pub struct Log {
    level: Level,
    message: String,
    fields: Map<String, Value>,
}

impl Log {
    /// That something happened.
    pub fn info(message: impl Into<String>) -> Self {
        Self { level: Level::Info, message: message.into(), fields: Map::new() }
    }

    /// That somebody may want to look.
    pub fn warn(message: impl Into<String>) -> Self {
        Self { level: Level::Warn, ..Self::info(message) }
    }

    /// That something went wrong.
    pub fn error(message: impl Into<String>) -> Self {
        Self { level: Level::Error, ..Self::info(message) }
    }

    /// A value that belongs to it. One that cannot be written as JSON is replaced by the reason. A later value replaces an
    /// earlier one of the same name.
    pub fn with(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        let value = serde_json::to_value(value).unwrap_or_else(|error| Value::String(error.to_string()));
        self.fields.insert(name.into(), value);
        self
    }

    /// As it is recorded.
    pub(crate) fn line(self) -> Line {
        let Self { level, message, fields } = self;
        let fields = if fields.is_empty() { None } else { json::of(&fields).ok() };
        Line::new(level, &message, fields)
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
