//! The error of a config that is refused.

use std::sync::Arc;

/// Why the config of a function is refused, as a sentence that names the function and the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConfigError {
    function: Option<Arc<str>>,
    field: Option<String>,
    message: String,
}

impl ConfigError {
    pub(super) fn new(function: Option<&Arc<str>>, field: Option<String>, message: String) -> Self {
        Self { function: function.cloned(), field, message }
    }

    /// Returns the id of the function, if it could be read.
    pub fn function(&self) -> Option<&str> {
        self.function.as_deref()
    }

    /// Returns the path of the invalid field, such as `throttle.key`. Returns `None` if several
    /// fields contradict each other.
    pub fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }
}
