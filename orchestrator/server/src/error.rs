//! Refused and failed requests: a status and a sentence. Invalid input is never logged as an error,
//! and never gets a response with the status 500.

use std::fmt::Display;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use stepladder_core::event::EventError;
use stepladder_core::sentence::shortened;
use stepladder_engine::ports::StoreError;
use stepladder_engine::{EngineError, permanent};

/// The default value of `Retry-After`, in seconds.
const RETRY_AFTER: u64 = 1;

/// An HTTP status, with a sentence that says what is wrong and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpProblem {
    pub(crate) status: StatusCode,
    pub(crate) sentence: String,
    /// The value of `Retry-After` in seconds. Only responses with the status 429 or 503 have this
    /// header.
    retry_after: u64,
}

impl HttpProblem {
    /// Creates a problem. A long sentence is truncated, because it may quote the request, and a
    /// response must not grow with the request.
    pub(crate) fn new(status: StatusCode, sentence: impl Display) -> Self {
        Self { status, sentence: shortened(sentence), retry_after: RETRY_AFTER }
    }

    pub(crate) fn bad_request(sentence: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, sentence)
    }

    pub(crate) fn not_found(sentence: impl Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, sentence)
    }

    pub(crate) fn forbidden(sentence: impl Display) -> Self {
        Self::new(StatusCode::FORBIDDEN, sentence)
    }

    /// Creates a problem with the status 429. After `seconds` the client may try again.
    pub(crate) fn too_many_requests(sentence: impl Display, seconds: u64) -> Self {
        Self { retry_after: seconds, ..Self::new(StatusCode::TOO_MANY_REQUESTS, sentence) }
    }

    /// Returns a response with the given body and with the headers that belong to the status.
    pub(crate) fn with_body(&self, body: impl IntoResponse) -> Response {
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::SERVICE_UNAVAILABLE || self.status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(header::RETRY_AFTER, self.retry_after.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl IntoResponse for HttpProblem {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct ErrorBody<'a> {
            error: &'a str,
        }
        self.with_body(Json(ErrorBody { error: &self.sentence }))
    }
}

impl From<EngineError> for HttpProblem {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::NotFound(sentence) => Self::not_found(sentence),
            EngineError::Invalid(sentence) => Self::bad_request(sentence),
            EngineError::TooLate(sentence) => Self::new(StatusCode::CONFLICT, sentence),
            EngineError::Store(error @ StoreError::Unavailable(_)) => {
                tracing::warn!(why = error.reason_with_causes(), "the store is unavailable; the client gets 503");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "the store is unavailable; try again")
            }
            EngineError::Store(error @ StoreError::Refused(_)) => {
                permanent::report_failure("answer a request", None, &error);
                let sentence = "the store refuses the request; the server's log says why";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, sentence)
            }
            EngineError::Store(error @ StoreError::Unreadable(_)) => {
                permanent::report_failure("answer a request", None, &error);
                let sentence = "the store holds unreadable data; the server's log says what";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, sentence)
            }
        }
    }
}

impl From<EventError> for HttpProblem {
    fn from(bad: EventError) -> Self {
        match bad {
            EventError::Malformed(sentence) => Self::bad_request(sentence),
            EventError::TooLarge(sentence) => Self::new(StatusCode::PAYLOAD_TOO_LARGE, sentence),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_429_and_503_say_when_to_try_again() {
        let down = HttpProblem::from(EngineError::Store(StoreError::Unavailable("disk full at /secret".into())));
        assert!(!down.sentence.contains("secret"));
        let down = down.into_response();
        assert_eq!(down.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(down.headers()[header::RETRY_AFTER], "1");
        let busy = HttpProblem::too_many_requests("busy", 17).into_response();
        assert_eq!(
            (busy.status(), &busy.headers()[header::RETRY_AFTER]),
            (StatusCode::TOO_MANY_REQUESTS, &"17".parse().unwrap())
        );
        assert!(HttpProblem::bad_request("no").into_response().headers().get(header::RETRY_AFTER).is_none());
    }

    #[test]
    fn bad_input_is_a_4xx() {
        let of = |error: EngineError| HttpProblem::from(error).status.as_u16();
        assert_eq!(of(EngineError::NotFound("x".into())), 404);
        assert_eq!(of(EngineError::Invalid("x".into())), 400);
        assert_eq!(of(EngineError::TooLate("x".into())), 409);
        assert_eq!(HttpProblem::from(EventError::TooLarge("x".into())).status, StatusCode::PAYLOAD_TOO_LARGE);
    }
}
