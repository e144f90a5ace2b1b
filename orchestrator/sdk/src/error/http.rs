//! HTTP failures: which statuses are retried, and when.
//!
//! HTTP clients with their own error types use [`Error::from_http_status`]. For `reqwest` (feature
//! `reqwest`) there is [`check`]; the errors of `reqwest` are also recognised among the causes of
//! an error.

use std::error::Error as StdError;
use std::time::{Duration, SystemTime};

use stepladder_core::retry::RetryAdvice;

use super::{Error, ErrorSource};

/// The maximum number of bytes of a response body that an error keeps.
const BODY_BYTES: usize = 2_048;
/// The maximum number of bytes of white space that are skipped before the text of a body.
const WHITE_SPACE_BYTES: usize = 1_024;
/// The maximum delay from a `Retry-After` header: a day.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

impl Error {
    /// Creates the error for a failing HTTP status, with the code `http-<status>`.
    ///
    /// A 4xx is terminal, except 408, 409, 423, 425 and 429; every other status is retried.
    /// `retry_after` is the response's header `Retry-After`: seconds or an HTTP date (RFC 9110,
    /// 10.2.3). It delays the retry by at most a day. A value that cannot be parsed is ignored.
    ///
    /// ```
    /// use stepladder::Error;
    ///
    /// let error = Error::from_http_status(429, Some("30"), "too many requests");
    /// assert_eq!(error.retry_delay(), Some(std::time::Duration::from_secs(30)));
    /// assert!(Error::from_http_status(404, None, "no such client").is_terminal());
    /// ```
    pub fn from_http_status(status: u16, retry_after: Option<&str>, message: impl Into<String>) -> Self {
        let message: String = message.into();
        let error = match (classify_status(status), retry_after.and_then(parse_retry_after)) {
            (RetryAdvice::Never, _) => Self::terminal(message),
            (RetryAdvice::Default | RetryAdvice::After(_), Some(wait)) => Self::retry_after(wait, message),
            (RetryAdvice::Default | RetryAdvice::After(_), None) => Self::new(message),
        };
        error.with_code(format!("http-{status}"))
    }
}

fn classify_status(status: u16) -> RetryAdvice {
    match status {
        408 | 409 | 423 | 425 | 429 => RetryAdvice::Default,
        400..=499 => RetryAdvice::Never,
        _ => RetryAdvice::Default,
    }
}

fn parse_retry_after(text: &str) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).unwrap_or_default(),
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// Returns the part of a response body that an error keeps: at most 2 KB, truncated between two
/// characters.
pub fn truncate(text: &str) -> &str {
    &text[..text.floor_char_boundary(BODY_BYTES)]
}

/// Converts a response that is not a 2xx to an error with its status, its body (at most 2 KB) and
/// its `Retry-After`.
///
/// ```
/// # use stepladder::prelude::*;
/// use stepladder::error::http;
///
/// # async fn example(client: reqwest::Client) -> Result<serde_json::Value> {
/// let response = client.get("https://api.example.com/v1/clients").send().await?;
/// Ok(http::check(response).await?.json().await?)
/// # }
/// ```
///
/// # Errors
/// [`Error::from_http_status`] for the response. The message contains the address without the
/// query, because the query may contain a key.
#[cfg(feature = "reqwest")]
pub async fn check(mut response: reqwest::Response) -> super::Result<reqwest::Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let retry_after = response.headers().get("retry-after").and_then(|v| v.to_str().ok()).map(str::to_owned);
    let address = format!("{}{}", response.url().host_str().unwrap_or_default(), response.url().path());
    // an error page may have any size, so only the part that the error keeps is read
    let mut body = Vec::new();
    while body.len() < BODY_BYTES + WHITE_SPACE_BYTES
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    let body = String::from_utf8_lossy(&body);
    let excerpt = match truncate(body.trim()) {
        "" => String::new(),
        body => format!(": {body}"),
    };
    Err(Error::from_http_status(
        status.as_u16(),
        retry_after.as_deref(),
        format!("HTTP {status} from {address}{excerpt}"),
    ))
}

#[cfg(feature = "reqwest")]
pub(super) fn classify(error: &(dyn StdError + 'static)) -> Option<RetryAdvice> {
    let error = error.downcast_ref::<reqwest::Error>()?;
    if error.is_builder() {
        return Some(RetryAdvice::Never); // no request was sent: the address or a header is wrong
    }
    error.status().map(|status| classify_status(status.as_u16()))
}

#[cfg(not(feature = "reqwest"))]
pub(super) fn classify(_: &(dyn StdError + 'static)) -> Option<RetryAdvice> {
    None
}

/// Removes the query and the credentials from the address that the error message contains. They may
/// be secret, and the journal keeps the message.
#[cfg(feature = "reqwest")]
pub(super) fn without_secrets(mut source: ErrorSource) -> ErrorSource {
    if let Some(url) = source.downcast_mut::<reqwest::Error>().and_then(reqwest::Error::url_mut) {
        url.set_query(None);
        url.set_fragment(None);
        // these calls only fail for an address that cannot have credentials
        let _ = url.set_username("");
        let _ = url.set_password(None);
    }
    source
}

#[cfg(not(feature = "reqwest"))]
pub(super) fn without_secrets(source: ErrorSource) -> ErrorSource {
    source
}
