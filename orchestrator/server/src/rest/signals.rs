//! `POST /v1/signals/{token}`: a third party completes a signal that a run waits for. Only the
//! first post counts. The callback token is the only credential.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use stepladder_api::{DataResponse, SignalCompleted};
use stepladder_core::limits::SIGNAL_BYTES;

use crate::error::HttpProblem;
use crate::guard::body::json_text;
use crate::path::TokenPath;
use crate::router::SharedServerState;

/// Completes a signal. The body is any JSON; an empty body means `null`. A repeated request with
/// the same data gets the same response.
///
/// # Errors
/// 409 for different data, or after the end of the wait or of the run.
pub(super) async fn complete(
    State(shared): State<SharedServerState>,
    TokenPath(token): TokenPath,
    body: Body,
) -> Result<Response, HttpProblem> {
    let body = shared.bodies.read(body, SIGNAL_BYTES).await?;
    let data = match json_text(&body.bytes, "the body")? {
        Some(text) => serde_json::from_str(text)
            .map_err(|e| HttpProblem::bad_request(format!("the body is not valid JSON: {e}")))?,
        None => stepladder_core::json::null(),
    };
    let signalled = shared.engine.subscriptions().signal(&token, data).await?;
    let data = SignalCompleted { run_id: signalled.run, step: signalled.step, before: signalled.before };
    Ok(Json(DataResponse { data }).into_response())
}
