//! How every service is called: by one HTTP client, which follows no redirect, and with responses
//! within bounds.
//!
//! This module knows no service and retries nothing: the engine retries.

use std::fmt;
use std::time::Duration;

use reqwest::{Client, Response};
use stepladder::prelude::*;

/// A response of more bytes than this is refused. The limit leaves room for JSON's escapes around a
/// step's outcome (4 MiB).
pub const RESPONSE_BYTES: usize = 16 * 1024 * 1024;
/// A server that has not accepted the connection by then is unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The last limit of a whole request. The step's own timeout ends it earlier; this one applies
/// where no step does.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// The client for every service.
///
/// # Errors
/// When TLS cannot be set up.
pub(crate) fn client() -> Result<Client> {
    // a redirect would send the key, and a client's data, to a server that is not configured
    let redirects = reqwest::redirect::Policy::none();
    let builder = Client::builder().redirect(redirects).connect_timeout(CONNECT_TIMEOUT).timeout(REQUEST_TIMEOUT);
    Ok(builder.build()?)
}

/// Reads a response's body, at most [`RESPONSE_BYTES`] of it. A compressed response arrives as it
/// was sent: the client asks for none and decodes none.
///
/// # Errors
/// When the body is larger, or when the connection ends before the body does.
pub(crate) async fn body(mut response: Response) -> Result<Vec<u8>, BodyError> {
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

/// Returns the `Retry-After` header of a response: when the service accepts the next request.
pub(crate) fn retry_after(response: &Response) -> Option<String> {
    response.headers().get("retry-after")?.to_str().ok().map(str::to_owned)
}

/// Why a response has no body that can be used.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// The connection ended too early.
    Interrupted(reqwest::Error),
    /// The response is larger than [`RESPONSE_BYTES`].
    TooLarge,
}

impl BodyError {
    /// The error of the step: asking again may mend a connection, but not a size.
    pub(crate) fn into_error(self, service: &str) -> Error {
        match self {
            Self::Interrupted(error) => unreachable(service, error),
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

/// The error of a request that has no response. It is retried, unless no request could be made at
/// all.
pub(crate) fn unreachable(service: &str, error: reqwest::Error) -> Error {
    let cannot_be_sent = error.is_builder();
    // a URL may contain a password
    let error = error.without_url();
    let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    let causes: Vec<_> = causes.map(ToString::to_string).collect();
    let message = format!("{service} cannot be reached: {}", causes.join(": "));
    if cannot_be_sent { Error::terminal(message) } else { Error::new(message) }
}
