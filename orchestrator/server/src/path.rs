//! Parses ids in paths. A string that cannot be an id is treated as unknown (404), not as
//! malformed.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use stepladder_core::RunId;
use stepladder_core::limits::name_problem;

use crate::error::HttpProblem;

pub(crate) struct RunPath(pub(crate) RunId);

/// The event id in a path: the server's id or the sender's id.
pub(crate) struct EventPath(pub(crate) String);

pub(crate) struct FunctionPath(pub(crate) String);

/// The callback token in a path. It is empty if the path is not UTF-8, because no token is.
pub(crate) struct TokenPath(pub(crate) String);

/// The event key in a path; `None` if it is not UTF-8.
pub(crate) struct KeyPath(pub(crate) Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for RunPath {
    type Rejection = HttpProblem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpProblem> {
        let run = path_segment(parts, state).await.and_then(|text| text.parse().ok());
        run.map(Self)
            .ok_or_else(|| HttpProblem::not_found("there is no such run: the id of a run is a ULID of 26 characters"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for EventPath {
    type Rejection = HttpProblem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpProblem> {
        // an invalid id belongs to no event, so the store is not read
        let text = path_segment(parts, state).await.filter(|text| name_problem(text).is_none());
        text.map(Self)
            .ok_or_else(|| HttpProblem::not_found("there is no such event: this cannot be the id of an event"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for FunctionPath {
    type Rejection = HttpProblem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpProblem> {
        let text = path_segment(parts, state).await;
        text.map(Self).ok_or_else(|| HttpProblem::not_found("there is no such function: its id is not UTF-8"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for TokenPath {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(path_segment(parts, state).await.unwrap_or_default()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for KeyPath {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(path_segment(parts, state).await))
    }
}

/// Decodes the variable segment of a path. Returns `None` if it is not UTF-8.
async fn path_segment<S: Send + Sync>(parts: &mut Parts, state: &S) -> Option<String> {
    Path::<String>::from_request_parts(parts, state).await.ok().map(|Path(text)| text)
}
