//! Sends each request to OpenAI once, and keeps the status, the header `Retry-After` and the
//! service's message.
//!
//! The `async-openai` client would retry three times on its own. Its errors also lack the header,
//! and lack the status if the body has an unexpected form. This module is the HTTP service of the
//! client, so it sees the response first. The engine retries by the advice in the error.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use async_openai::{error::OpenAIError, middleware::HttpRequestFactory};
use reqwest::{Response, StatusCode, header::HeaderMap};
use serde_json::Value;
use stepladder::Error;

use crate::http::{self as services_http, BodyError};
use crate::secret::Secret;

/// The HTTP service that the `async-openai` client uses.
#[derive(Clone, Debug)]
pub(super) struct SendOnceService {
    client: reqwest::Client,
    key: Secret,
}

/// Why a request got no usable response.
#[derive(Debug)]
pub(super) enum RequestFailure {
    /// The server did not respond, or the connection ended early.
    Unreachable(reqwest::Error),
    /// The response exceeds the maximum size.
    TooLarge,
    /// A response with the status 2xx and a body that is not JSON. Contains the body, with masked
    /// secrets and truncated if long.
    NotJson(String),
    /// A response with a status other than 2xx.
    Rejected {
        status: StatusCode,
        retry_after: Option<String>,
        /// The value of OpenAI's own header for retries, in milliseconds.
        retry_after_ms: Option<u64>,
        /// The service's message, with masked secrets and truncated if long.
        message: String,
    },
}

impl SendOnceService {
    pub(super) fn new(key: Secret) -> Result<Self, Error> {
        Ok(Self { client: services_http::build_client()?, key })
    }

    /// Returns the HTTP client that sends the requests.
    pub(super) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    async fn send(self, request: HttpRequestFactory) -> Result<Response, OpenAIError> {
        let request = request.build().await?;
        let response = self.client.execute(request).await.map_err(unreachable_error)?;
        let status = response.status();
        let headers = response.headers().clone();
        let body = services_http::read_body(response).await.map_err(|error| match error {
            BodyError::Interrupted(error) => unreachable_error(error),
            BodyError::TooLarge => boxed(RequestFailure::TooLarge),
        })?;
        if status.is_success() {
            // decoded here, because the `async-openai` client would log an undecodable answer with
            // all its contents
            return match serde_json::from_slice::<Value>(&body) {
                Ok(mut json) => {
                    let body = if self.key.mask_json(&mut json) { json.to_string().into_bytes() } else { body };
                    Ok(http::Response::new(body).into())
                }
                Err(_) => Err(boxed(RequestFailure::NotJson(self.key.excerpt(&String::from_utf8_lossy(&body))))),
            };
        }
        let text = String::from_utf8_lossy(&body);
        Err(boxed(RequestFailure::Rejected {
            status,
            retry_after: header_text(&headers, "retry-after"),
            retry_after_ms: header_text(&headers, "retry-after-ms").and_then(|ms| ms.trim().parse().ok()),
            message: self.key.excerpt(&error_message(&text)),
        }))
    }
}

impl tower::Service<HttpRequestFactory> for SendOnceService {
    type Response = Response;
    type Error = OpenAIError;
    type Future = Pin<Box<dyn Future<Output = Result<Response, OpenAIError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OpenAIError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequestFactory) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}

impl RequestFailure {
    /// Converts the failure to the error of a step. The statuses 408, 409, 425, 429 and 5xx are
    /// retried; every other status is terminal.
    pub(super) fn into_error(self) -> Error {
        match self {
            // the cause of the error decides whether it is retried
            Self::Unreachable(_) => Error::new(self),
            Self::TooLarge => BodyError::TooLarge.into_error("openai"),
            Self::NotJson(body) => Error::new(format!("openai's answer is not JSON (check OPENAI_BASE_URL): {body}")),
            Self::Rejected { status, retry_after, retry_after_ms, message } => {
                let message = format!("openai answered {status}: {message}{}", status_hint(status));
                let retryable = status.is_server_error() || matches!(status.as_u16(), 408 | 409 | 425 | 429);
                match retry_after_ms {
                    Some(ms) if retryable => Error::retry_after(Duration::from_millis(ms), message)
                        .with_code(format!("http-{}", status.as_u16())),
                    Some(_) | None => Error::from_http_status(status.as_u16(), retry_after.as_deref(), message),
                }
            }
        }
    }
}

impl fmt::Display for RequestFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(_) => f.write_str("openai cannot be reached"),
            Self::TooLarge => write!(f, "openai's response {}", BodyError::TooLarge),
            Self::NotJson(body) => write!(f, "openai's answer is not JSON: {body}"),
            Self::Rejected { status, message, .. } => write!(f, "openai answered {status}: {message}"),
        }
    }
}

impl std::error::Error for RequestFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreachable(error) => Some(error),
            Self::TooLarge | Self::NotJson(_) | Self::Rejected { .. } => None,
        }
    }
}

fn boxed(failure: RequestFailure) -> OpenAIError {
    OpenAIError::Boxed(Box::new(failure))
}

// the URL may contain a password, and its query may contain a key
fn unreachable_error(error: reqwest::Error) -> OpenAIError {
    boxed(RequestFailure::Unreachable(error.without_url()))
}

fn header_text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn status_hint(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => " (check OPENAI_API_KEY)",
        StatusCode::NOT_FOUND => " (check OPENAI_BASE_URL and OPENAI_MODEL)",
        _ => "",
    }
}

// OpenAI sends {"error":{"message","code"}}; similar servers send {"error":"…"}, {"message":"…"}
// or plain text
fn error_message(body: &str) -> String {
    let Ok(json) = serde_json::from_str::<Value>(body) else {
        return if body.trim().is_empty() { "(no message)".to_owned() } else { body.to_owned() };
    };
    let error = json.get("error").unwrap_or(&json);
    let message = error.as_str().or_else(|| error["message"].as_str());
    let code = error["code"].as_str().or_else(|| error["type"].as_str());
    match (message, code) {
        (Some(message), Some(code)) => format!("{message} [{code}]"),
        (Some(message), None) => message.to_owned(),
        // the JSON is serialized again, so that the key is not escaped and can be masked
        (None, _) => json.to_string(),
    }
}
