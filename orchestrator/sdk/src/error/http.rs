//! HTTP failures: which status is worth another try, and when.
//!
//! Clients that bring their own error types use [`Error::from_http_status`]; for `reqwest` (feature `reqwest`) there is
//! [`check`], and its errors are classified wherever they turn up among an error's causes.

use std::error::Error as StdError;
use std::time::{Duration, SystemTime};

use stepladder_core::retry::Retry;

use super::{Error, Source};

/// Bytes of a response's body that an error keeps.
const BODY_BYTES: usize = 2_048;
/// Bytes of white space before a body's text that are read besides.
const BEFORE_TEXT: usize = 1_024;
/// No wait longer than a day is believed.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

impl Error {
    /// The error that an HTTP status stands for, with code `http-<status>`.
    ///
    /// A 4xx is terminal, except 408, 409, 423, 425 and 429; everything else is retried. `retry_after` is the
    /// response's `Retry-After`: seconds or an HTTP date (RFC 9110, 10.2.3), at most a day; one that cannot be read is
    /// passed over.
    pub fn from_http_status(status: u16, retry_after: Option<&str>, message: impl Into<String>) -> Self {
        let message: String = message.into();
        let error = match (of_status(status), retry_after.and_then(wait)) {
            (Retry::Never, _) => Self::terminal(message),
            (Retry::Default | Retry::After(_), Some(wait)) => Self::retry_after(wait, message),
            (Retry::Default | Retry::After(_), None) => Self::new(message),
        };
        error.with_code(format!("http-{status}"))
    }
}

/// What a failing status says of trying again.
fn of_status(status: u16) -> Retry {
    match status {
        408 | 409 | 423 | 425 | 429 => Retry::Default,
        400..=499 => Retry::Never,
        _ => Retry::Default,
    }
}

fn wait(text: &str) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).unwrap_or_default(),
    };
    Some(wait.min(LONGEST_WAIT))
}

/// What an error keeps of a service's answer: the first 2 KB, cut between characters.
pub fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(BODY_BYTES)]
}

/// Turns every response that is not a 2xx into an error with its status, its body (up to 2 KB) and its `Retry-After`.
///
/// # Errors
/// [`Error::from_http_status`] of the response. The query of its address is left out: it may hold a key.
#[cfg(feature = "reqwest")]
pub async fn check(mut response: reqwest::Response) -> super::Result<reqwest::Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let retry_after = response.headers().get("retry-after").and_then(|v| v.to_str().ok()).map(str::to_owned);
    let place = format!("{}{}", response.url().host_str().unwrap_or_default(), response.url().path());
    // no more is read than is kept: an error page may be of any size
    let mut body = Vec::new();
    while body.len() < BODY_BYTES + BEFORE_TEXT
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    let body = String::from_utf8_lossy(&body);
    let said = match cut(body.trim()) {
        "" => String::new(),
        body => format!(": {body}"),
    };
    Err(Error::from_http_status(status.as_u16(), retry_after.as_deref(), format!("HTTP {status} from {place}{said}")))
}

#[cfg(feature = "reqwest")]
pub(super) fn classify(error: &(dyn StdError + 'static)) -> Option<Retry> {
    let error = error.downcast_ref::<reqwest::Error>()?;
    if error.is_builder() {
        return Some(Retry::Never); // no request was made: the address or a header is wrong
    }
    error.status().map(|status| of_status(status.as_u16()))
}

#[cfg(not(feature = "reqwest"))]
pub(super) fn classify(_: &(dyn StdError + 'static)) -> Option<Retry> {
    None
}

/// An error without the query and the credentials of the address that it would print: they may be secrets, and the
/// journal keeps what is printed.
#[cfg(feature = "reqwest")]
pub(super) fn without_secrets(mut source: Source) -> Source {
    if let Some(url) = source.downcast_mut::<reqwest::Error>().and_then(reqwest::Error::url_mut) {
        url.set_query(None);
        url.set_fragment(None);
        // an address that cannot have credentials has none
        let _ = url.set_username("");
        let _ = url.set_password(None);
    }
    source
}

#[cfg(not(feature = "reqwest"))]
pub(super) fn without_secrets(source: Source) -> Source {
    source
}
