//! Requests that the server makes for an app: `step.fetch` and `step.ai.infer`.
//!
//! The options of such a request may contain secrets, so they are never stored. They come with each
//! poll that lists the step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use stepladder_core::retry::RetryAdvice;
use stepladder_core::sentence::shortened;
use stepladder_core::{AttemptReport, Failure, Json, Timestamp, Usage, json as values};
use stepladder_engine::executor::AdvisedFailure;

use crate::answer::{advised, retry_delay};
use crate::transport::{NoAnswer, Transport};

/// The headers that belong to a connection and not to a request.
const OF_CONNECTION: [&str; 5] = ["host", "content-length", "transfer-encoding", "connection", "accept-encoding"];

/// A request that a step makes.
#[derive(Clone, Debug)]
pub(crate) struct StepRequest {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Vec<u8>,
    kind: RequestKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestKind {
    /// The step's value is the response, whatever its status.
    Fetch,
    /// The step's value is the body of a successful response.
    Inference,
}

/// The options of a request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestOptions {
    url: String,
    method: Option<String>,
    headers: Option<BTreeMap<String, String>>,
    body: Option<Value>,
    auth_key: Option<String>,
    format: Option<String>,
    #[serde(rename = "type")]
    _type: Option<String>,
}

impl StepRequest {
    /// Reads the options of `step.fetch`.
    ///
    /// # Errors
    /// The end of a sentence.
    pub(crate) fn fetch(options: &Value) -> Result<Self, String> {
        let options = decode(options)?;
        if options.auth_key.is_some() || options.format.is_some() {
            return Err("`auth_key` and `format` are for `step.ai.infer` only".into());
        }
        let method = options.method.as_deref().unwrap_or("GET").to_ascii_uppercase();
        let method =
            Method::from_bytes(method.as_bytes()).map_err(|_| format!("`{}` is no method", shortened(&method)))?;
        Self::new(method, &options, RequestKind::Fetch)
    }

    /// Reads the options of `step.ai.infer`.
    ///
    /// # Errors
    /// The end of a sentence.
    pub(crate) fn inference(options: &Value) -> Result<Self, String> {
        let options = decode(options)?;
        let mut request = Self::new(Method::POST, &options, RequestKind::Inference)?;
        request.headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        let key = options.auth_key.as_deref().filter(|key| !key.is_empty());
        let (name, text) = match (options.format.as_deref().unwrap_or("openai-chat"), key) {
            ("openai-chat" | "openai-responses", Some(key)) => (AUTHORIZATION, format!("Bearer {key}")),
            ("anthropic", Some(key)) => (HeaderName::from_static("x-api-key"), key.to_owned()),
            ("azure-openai", Some(key)) => (HeaderName::from_static("api-key"), key.to_owned()),
            // the address has the key
            ("gemini", _) | ("openai-chat" | "openai-responses" | "anthropic" | "azure-openai", None) => {
                return Ok(request);
            }
            (other, _) => return Err(format!("the format `{}` is not supported", shortened(other))),
        };
        let mut value =
            HeaderValue::from_str(&text).map_err(|_| "the key of the model cannot be in a header".to_owned())?;
        value.set_sensitive(true);
        request.headers.entry(name).or_insert(value);
        Ok(request)
    }

    fn new(method: Method, options: &RequestOptions, kind: RequestKind) -> Result<Self, String> {
        let url: Url = options.url.parse().map_err(|error| format!("the address is not valid: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("the address must begin with http:// or https://".into());
        }
        let mut headers = HeaderMap::new();
        for (name, value) in options.headers.iter().flatten() {
            let bad = || format!("the header `{}` cannot be sent", shortened(name));
            let header: HeaderName = name.parse().map_err(|_| bad())?;
            if !OF_CONNECTION.contains(&header.as_str()) {
                headers.append(header, HeaderValue::from_str(value).map_err(|_| bad())?);
            }
        }
        let body = match &options.body {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::String(text)) => text.clone().into_bytes(),
            Some(other) => other.to_string().into_bytes(),
        };
        Ok(Self { method, url, headers, body, kind })
    }

    /// Makes the request. On the last attempt, `step.fetch` returns every response.
    pub(crate) async fn send(
        self,
        transport: &Transport,
        is_last: bool,
    ) -> (Result<Json, AdvisedFailure>, AttemptReport) {
        let Self { method, url, headers, body, kind } = self;
        let host = url.host_str().unwrap_or_default().to_owned();
        let (status, headers, body) = match transport.fetch(method, url, headers, body).await {
            Ok(response) => response,
            Err(NoAnswer::NotSent(why) | NoAnswer::Lost(why)) => {
                return (Err(advised(Failure::new(why), RetryAdvice::Default)), AttemptReport::default());
            }
        };
        let is_passing = is_passing(status);
        let failed = |transport: &Transport| {
            let text = String::from_utf8_lossy(&body);
            let failure = Failure::new(format!("{host} answers {status}: {}", shortened(text.trim())));
            advised(failure, advice(is_passing, &headers, transport.now()))
        };
        let (value, usage) = match kind {
            RequestKind::Fetch if is_passing && !is_last => return (Err(failed(transport)), AttemptReport::default()),
            RequestKind::Fetch => (response_value(status, &headers, &body), None),
            RequestKind::Inference if !status.is_success() => {
                return (Err(failed(transport)), AttemptReport::default());
            }
            RequestKind::Inference => match serde_json::from_slice::<Value>(&body) {
                Ok(value) => {
                    let usage = usage_of(&value);
                    (value, usage)
                }
                Err(_) => return (Err(failed(transport)), AttemptReport::default()),
            },
        };
        let value =
            values::to_json(&value).map_err(|error| advised(Failure::new(error.to_string()), RetryAdvice::Never));
        (value, AttemptReport { usage: usage.into_iter().collect(), ..AttemptReport::default() })
    }
}

fn decode(options: &Value) -> Result<RequestOptions, String> {
    serde_path_to_error::deserialize(options).map_err(|error| {
        let path = error.path().to_string();
        format!("the option `{}`: {}", shortened(&path), error.into_inner())
    })
}

/// Returns whether the same request may succeed later.
fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429)
}

fn advice(is_passing: bool, headers: &HeaderMap, now: Timestamp) -> RetryAdvice {
    if !is_passing {
        return RetryAdvice::Never;
    }
    let after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let delay: Option<Duration> = after.and_then(|text| retry_delay(text, now));
    delay.map_or(RetryAdvice::Default, RetryAdvice::After)
}

/// Returns a response in the form that the SDK expects.
fn response_value(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Value {
    let headers: BTreeMap<&str, String> = headers
        .iter()
        .filter(|(name, _)| !OF_CONNECTION.contains(&name.as_str()))
        .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    json!({ "status_code": status.as_u16(), "headers": headers, "body": String::from_utf8_lossy(body) })
}

/// Returns the tokens that a response of a model reports.
fn usage_of(response: &Value) -> Option<Usage> {
    let model = response.get("model").or_else(|| response.get("modelVersion")).and_then(Value::as_str);
    let usage = response.get("usage").or_else(|| response.get("usageMetadata"))?;
    let count = |paths: &[&str]| paths.iter().find_map(|path| usage.pointer(path)?.as_u64()).unwrap_or(0);
    let input = count(&["/prompt_tokens", "/input_tokens", "/promptTokenCount"]);
    let output = count(&["/completion_tokens", "/output_tokens", "/candidatesTokenCount"]);
    // those of Anthropic are not part of its input tokens
    let apart = count(&["/cache_read_input_tokens"]);
    let created = count(&["/cache_creation_input_tokens"]);
    let cached = count(&[
        "/prompt_tokens_details/cached_tokens",
        "/input_tokens_details/cached_tokens",
        "/cachedContentTokenCount",
        "/cache_read_input_tokens",
    ]);
    let model: Arc<str> = model.unwrap_or("unknown").into();
    let input = input.saturating_add(apart).saturating_add(created);
    Some(Usage::new(model).input_tokens(input).cached_input_tokens(cached).output_tokens(output))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_model_is_sent_as_its_service_expects() {
        for (format, header, value) in [
            ("openai-chat", "authorization", "Bearer k"),
            ("openai-responses", "authorization", "Bearer k"),
            ("anthropic", "x-api-key", "k"),
            ("azure-openai", "api-key", "k"),
        ] {
            let options = json!({"url": "https://models/", "auth_key": "k", "format": format, "body": {"a": 1}});
            let request = StepRequest::inference(&options).unwrap();
            assert_eq!(request.headers[header], value, "{format}");
            assert_eq!((&request.method, &request.body[..]), (&Method::POST, &br#"{"a":1}"#[..]));
            assert!(!format!("{request:?}").contains("\"k\""), "the key is not printed: {request:?}");
        }
        let unknown = StepRequest::inference(&json!({"url": "https://models/", "auth_key": "k", "format": "x"}));
        assert!(unknown.unwrap_err().contains("the format `x`"));
    }

    #[test]
    fn options_that_cannot_be_used_are_refused() {
        for (options, says) in [
            (json!({}), "missing field `url`"),
            (json!({"url": "x"}), "not valid"),
            (json!({"url": "file:///etc/passwd"}), "http://"),
            (json!({"url": "http://a", "method": "A B"}), "is no method"),
            (json!({"url": "http://a", "headers": {"a b": "c"}}), "the header `a b`"),
            (json!({"url": "http://a", "cache": "x"}), "unknown field `cache`"),
            (json!({"url": "http://a", "auth_key": "x"}), "`step.ai.infer` only"),
        ] {
            let problem = StepRequest::fetch(&options).unwrap_err();
            assert!(problem.contains(says), "{problem}");
        }
    }

    #[test]
    fn the_tokens_of_each_service_are_recorded() {
        for (response, expected) in [
            (
                json!({"model": "m", "usage": {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}}}),
                (5, 1, 2),
            ),
            (
                json!({"model": "m", "usage": {"input_tokens": 5, "output_tokens": 2, "cache_read_input_tokens": 3}}),
                (8, 3, 2),
            ),
            (
                json!({"modelVersion": "m", "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 2}}),
                (5, 0, 2),
            ),
        ] {
            let usage = usage_of(&response).unwrap();
            assert_eq!((usage.input_tokens, usage.cached_input_tokens, usage.output_tokens), expected);
            assert_eq!(&*usage.model, "m");
        }
        assert!(usage_of(&json!({"model": "m"})).is_none());
    }
}
