//! Reads the answer of an app to a call.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use serde::Deserialize;
use serde_json::Value;
use stepladder_core::retry::RetryAdvice;
use stepladder_core::sentence::shortened;
use stepladder_core::{Failure, Json, Timestamp, json as values};
use stepladder_engine::executor::{AdvisedFailure, Unreachable};

use crate::failure::failure_of;
use crate::operation::WireOperation;
use crate::time_text::parse_time;
use crate::transport::{AppAnswer, NO_RETRY, SDK};

/// What to do if an app refuses a signature.
pub(crate) const KEYS: &str = "check that the app and the server have the same signing key, or a fallback for it";

/// An answer of an app to a call.
#[derive(Debug)]
pub(crate) enum CallAnswer {
    /// The function has returned this value.
    Completed(Json),
    /// The function requests steps, or reports what became of them. The advice is about the step
    /// that failed.
    Operations { operations: Vec<WireOperation>, retry: RetryAdvice },
    /// The function has failed.
    Failed(AdvisedFailure),
}

impl CallAnswer {
    /// Reads an answer.
    ///
    /// # Errors
    /// [`Unreachable`] if a proxy answers that the app is not available, or the app refuses the
    /// signature. Neither is a failure of the code.
    pub(crate) fn read(answer: AppAnswer, place: &str, now: Timestamp) -> Result<Self, Unreachable> {
        let answer = if answer.status == StatusCode::CREATED { opened(answer) } else { answer };
        let status = answer.status;
        let text = || shortened(String::from_utf8_lossy(&answer.body).trim()).to_string();
        if status == StatusCode::UNAUTHORIZED {
            // the packages refuse a signature without their header
            let why = format!("{place} answers {status}; {KEYS}");
            return Err(Unreachable { why, is_broken: false });
        }
        if !answer.is_of_sdk() {
            let is_passing = matches!(
                status,
                StatusCode::BAD_GATEWAY
                    | StatusCode::SERVICE_UNAVAILABLE
                    | StatusCode::GATEWAY_TIMEOUT
                    | StatusCode::TOO_MANY_REQUESTS
            );
            if is_passing || status.is_redirection() {
                let why = format!("{place} answers {status}, which is not an answer of the app");
                return Err(Unreachable { why, is_broken: false });
            }
            let message = format!(
                "{place} answers {status} without the header `{SDK}`, so no SDK has answered; check the app's address: {}",
                text()
            );
            return Ok(Self::Failed(advised(Failure::new(message), RetryAdvice::Default)));
        }
        let retry = advice(&answer, now);
        Ok(match status {
            StatusCode::OK => match json_of(&answer.body) {
                Ok(value) => Self::Completed(value),
                Err(problem) => Self::Failed(unusable("result of the function", &problem)),
            },
            StatusCode::PARTIAL_CONTENT => match operations_of(&answer.body) {
                Ok(operations) => Self::Operations { operations, retry },
                Err(error) => Self::Failed(unusable("list of operations", &error.to_string())),
            },
            _ => {
                let error = serde_json::from_slice::<Value>(&answer.body);
                let failure = error.map_or_else(
                    |_| Failure::new(format!("the app answers {status}: {}", text())),
                    |error| failure_of(&error),
                );
                // the status 400 says so as well
                let is_final = status == StatusCode::BAD_REQUEST && answer.header(&NO_RETRY).is_none();
                Self::Failed(advised(failure, if is_final { RetryAdvice::Never } else { retry }))
            }
        })
    }
}

/// Creates the failure of an answer that cannot be used. A retry may help, because the app may be
/// about to change.
pub(crate) fn unusable(what: &str, problem: &str) -> AdvisedFailure {
    let message = format!("the {what} cannot be used: {}", shortened(problem));
    advised(Failure::new(message), RetryAdvice::Default)
}

pub(crate) fn advised(failure: Failure, retry: RetryAdvice) -> AdvisedFailure {
    AdvisedFailure { failure, retry }
}

/// Reads operations. A durable endpoint that has ended sends a single one without a list.
fn operations_of(body: &[u8]) -> serde_json::Result<Vec<WireOperation>> {
    match body.trim_ascii_start().first() {
        Some(b'{') => serde_json::from_slice(body).map(|one| vec![one]),
        _ => serde_json::from_slice(body),
    }
}

/// Reads a JSON value that a journal can store. An empty body is `null`.
fn json_of(body: &[u8]) -> Result<Json, String> {
    if body.is_empty() {
        return Ok(values::null());
    }
    let value: Json = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    values::check(value.get()).map_err(|problem| format!("it {problem}"))?;
    Ok(value)
}

/// Returns whether the SDK advises a retry, and when.
fn advice(answer: &AppAnswer, now: Timestamp) -> RetryAdvice {
    if answer.header(&NO_RETRY) == Some("true") {
        return RetryAdvice::Never;
    }
    match answer.header(&RETRY_AFTER).and_then(|text| retry_delay(text, now)) {
        Some(delay) => RetryAdvice::After(delay),
        None => RetryAdvice::Default,
    }
}

/// Parses the value of `Retry-After`: seconds, a date of HTTP, or a date of ISO 8601.
pub(crate) fn retry_delay(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok().and_then(|date| {
        let since = date.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some(Timestamp::from_millis(i64::try_from(since.as_millis()).ok()?))
    });
    Some(date.or_else(|| parse_time(text))?.since(now))
}

/// Returns the answer that a streamed answer contains. An SDK sends white space while the function
/// executes, and then `{status, headers, body}`. Another answer is returned unchanged.
fn opened(answer: AppAnswer) -> AppAnswer {
    #[derive(Deserialize)]
    struct Envelope {
        status: u16,
        #[serde(default)]
        headers: std::collections::BTreeMap<String, String>,
        body: Value,
    }
    let Ok(envelope) = serde_json::from_slice::<Envelope>(&answer.body) else { return answer };
    let Ok(status) = StatusCode::from_u16(envelope.status) else { return answer };
    let mut headers: HeaderMap = answer.headers.clone();
    for (name, value) in &envelope.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    }
    let body = match envelope.body {
        Value::String(text) => text.into_bytes(),
        other => other.to_string().into_bytes(),
    };
    AppAnswer { status, headers, body }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Result<CallAnswer, Unreachable> {
        let headers = headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        let status = StatusCode::from_u16(status).unwrap();
        let answer = AppAnswer { status, headers: headers.collect(), body: body.as_bytes().to_vec() };
        CallAnswer::read(answer, "http://app/", NOW)
    }

    fn of_sdk(status: u16, headers: &[(&'static str, &str)], body: &str) -> CallAnswer {
        answer(status, &[&[("x-inngest-sdk", "inngest-js:v4.24.0")], headers].concat(), body).unwrap()
    }

    #[test]
    fn errors_have_their_advice() {
        let error = r#"{"name":"RetryAfterError","message":"later","stack":"at x","__serialized":true}"#;
        for (status, headers, advice) in [
            (
                500,
                &[("x-inngest-no-retry", "false"), ("retry-after", "30")][..],
                RetryAdvice::After(Duration::from_secs(30)),
            ),
            (500, &[("retry-after", "Tue, 14 Nov 2023 22:13:30 GMT")], RetryAdvice::After(Duration::from_secs(10))),
            (500, &[("retry-after", "2023-11-14T22:13:30.000Z")], RetryAdvice::After(Duration::from_secs(10))),
            (500, &[("retry-after", "2020-01-01T00:00:00Z")], RetryAdvice::After(Duration::ZERO)),
            (500, &[("x-inngest-no-retry", "false")], RetryAdvice::Default),
            (400, &[("x-inngest-no-retry", "true")], RetryAdvice::Never),
            (400, &[], RetryAdvice::Never),
        ] {
            let CallAnswer::Failed(failed) = of_sdk(status, headers, error) else { panic!("{headers:?}") };
            assert_eq!((failed.retry, &*failed.failure.message), (advice, "later"), "{headers:?}");
            assert_eq!(failed.failure.name.as_deref(), Some("RetryAfterError"));
        }
    }

    #[test]
    fn an_answer_of_a_proxy_is_no_result() {
        for status in [502, 503, 504, 429, 302] {
            assert!(answer(status, &[], "<html>").is_err(), "{status}");
        }
        for status in [200, 206, 404, 500] {
            let CallAnswer::Failed(failed) = answer(status, &[], "<html>").unwrap() else { panic!("{status}") };
            assert!(failed.failure.message.contains("without the header `x-inngest-sdk`"), "{failed:?}");
            assert_eq!(failed.retry, RetryAdvice::Default);
        }
        for headers in [&[("x-inngest-sdk", "x")][..], &[]] {
            let why = answer(401, headers, "").unwrap_err().why;
            assert!(why.contains("signing key"), "{why}");
        }
    }

    #[test]
    fn results_and_operations_are_read_also_from_a_stream() {
        assert!(matches!(of_sdk(200, &[], r#"{"a":1}"#), CallAnswer::Completed(value) if value.get() == r#"{"a":1}"#));
        assert!(matches!(of_sdk(200, &[], ""), CallAnswer::Completed(value) if value.get() == "null"));
        let streamed =
            r#"    {"status":206,"headers":{"x-inngest-no-retry":"true"},"body":"[{\"id\":\"a\",\"op\":\"x\"}]"}"#;
        let CallAnswer::Operations { operations, retry } = of_sdk(201, &[], streamed) else { panic!("no operations") };
        assert_eq!((operations.len(), retry), (1, RetryAdvice::Never));
        for (status, body) in [(200, "<html>"), (206, "{}"), (200, r#""a\u0000""#)] {
            let CallAnswer::Failed(failed) = of_sdk(status, &[], body) else { panic!("{body}") };
            assert!(failed.failure.message.contains("cannot be used"), "{failed:?}");
        }
        let CallAnswer::Failed(failed) = of_sdk(500, &[], "oops") else { panic!("no failure") };
        assert!(failed.failure.message.contains("oops"), "{failed:?}");
    }
}
