//! How all services are called: with one HTTP client that follows no redirects, and with bounded
//! responses.
//!
//! This module knows no particular service and retries nothing, because the engine retries.

use std::fmt;
use std::time::Duration;

use reqwest::{Client, Response};
use stepladder::prelude::*;

/// The maximum size of a response in bytes; a larger one is refused. The limit leaves room for the
/// JSON escapes around a step's outcome (4 MiB).
pub const RESPONSE_BYTES: usize = 16 * 1024 * 1024;
/// How long a server may take to accept a connection. After this time it counts as unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The timeout of a whole request. The timeout of a step is shorter; this one is for requests
/// outside steps.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// Creates the HTTP client for all services.
///
/// # Errors
/// TLS cannot be set up.
pub(crate) fn build_client() -> Result<Client> {
    // `reqwest` is built without TLS of its own; fails if one is chosen already, which then serves
    let _ = rustls::crypto::ring::default_provider().install_default();
    // a redirect would send the key and a client's data to a server that is not configured
    let redirects = reqwest::redirect::Policy::none();
    let builder = Client::builder().redirect(redirects).connect_timeout(CONNECT_TIMEOUT).timeout(REQUEST_TIMEOUT);
    Ok(builder.build()?)
}

/// Reads the body of a response, at most [`RESPONSE_BYTES`]. The body is not decompressed, because
/// the client does not ask for compression.
///
/// # Errors
/// The body is too large, or the connection ends before the body does.
pub(crate) async fn read_body(mut response: Response) -> Result<Vec<u8>, BodyError> {
    let announced = response.content_length().unwrap_or_default();
    if announced > RESPONSE_BYTES as u64 {
        return Err(BodyError::TooLarge);
    }
    let mut body = Vec::with_capacity(usize::try_from(announced).unwrap_or_default());
    while let Some(chunk) = response.chunk().await.map_err(BodyError::Interrupted)? {
        if body.len() + chunk.len() > RESPONSE_BYTES {
            return Err(BodyError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Returns the header `Retry-After` of a response, which says when the service accepts the next
/// request.
pub(crate) fn retry_after(response: &Response) -> Option<String> {
    response.headers().get("retry-after")?.to_str().ok().map(str::to_owned)
}

/// Why the body of a response cannot be used.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// The connection ended before the body was complete.
    Interrupted(reqwest::Error),
    /// The response is larger than [`RESPONSE_BYTES`].
    TooLarge,
}

impl BodyError {
    /// Converts this problem to the error of a step. A retry may help after a lost connection, but
    /// not if the response is too large.
    pub(crate) fn into_error(self, service: &str) -> Error {
        match self {
            Self::Interrupted(error) => unreachable_error(service, error),
            Self::TooLarge => {
                Error::terminal(format!("{service}'s response {}", Self::TooLarge)).with_code("response-too-large")
            }
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupted(error) => error.fmt(f),
            Self::TooLarge => write!(f, "is larger than {} MiB, the most that is read", RESPONSE_BYTES >> 20),
        }
    }
}

/// Returns the error of a request without a response. The error is retried, unless the request
/// could not even be built.
pub(crate) fn unreachable_error(service: &str, error: reqwest::Error) -> Error {
    let cannot_be_sent = error.is_builder();
    // a URL may contain a password
    let error = error.without_url();
    let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    let causes: Vec<_> = causes.map(ToString::to_string).collect();
    let message = format!("{service} cannot be reached: {}", causes.join(": "));
    if cannot_be_sent { Error::terminal(message) } else { Error::new(message) }
}
