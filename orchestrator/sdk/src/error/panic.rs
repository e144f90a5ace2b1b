//! Converts a caught panic to an error, so that a bug in one body does not end the process.

use std::any::Any;

use super::{Error, ErrorCode};

/// Converts a panic to an error. The error is retried like any other, because a panic often comes
/// from an unexpected response, which may not occur again.
pub(crate) fn panic_error(payload: &(dyn Any + Send)) -> Error {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    Error::new(format!("panicked: {text}")).with_code(ErrorCode::Panic)
}
