//! A caught panic as an error: a bug in one body must not end the process.

use std::any::Any;

use super::{Error, ErrorCode};

/// Converts a panic. It is retried like any error, since many panics unwrap an answer that was
/// missing.
pub(crate) fn panicked(payload: &(dyn Any + Send)) -> Error {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    Error::new(format!("panicked: {text}")).with_code(ErrorCode::Panic)
}
