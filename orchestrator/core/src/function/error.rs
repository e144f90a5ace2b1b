//! Why a config is refused.

use std::sync::Arc;

/// Why a function's config is refused, as a sentence that names the function and the field.
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

    /// Returns the field that is wrong, as a path: `throttle.key`. It is `None` if several fields
    /// do not fit together.
    pub fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }
}
