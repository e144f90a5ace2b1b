//! `POST /v1/signals/{token}` and `POST /v1/signals/{token}/fail`: a third party completes a signal
//! that a run waits for, with data or with a failure. Only the first post counts.
//! `POST /v1/signals/{token}/heartbeat` keeps a wait open that asks for heartbeats. The callback
//! token is the only credential.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use stepladder_api::{DataResponse, SignalCompleted, SignalFailure, SignalHeartbeat};
use stepladder_core::Failure;
use stepladder_core::limits::SIGNAL_BYTES;
use stepladder_core::sentence::shortened;
use stepladder_engine::{HeartbeatEffect, HeartbeatReceipt, SignalReceipt};

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
    Ok(completed(shared.engine.subscriptions().signal(&token, data).await?))
}

/// Ends the wait for a signal with an error. The body is a [`SignalFailure`]. A repeated request
/// with the same failure gets the same response.
///
/// # Errors
/// 400 with the name of an invalid field; 409 if data or another failure was posted before, or
/// after the end of the wait or of the run.
pub(super) async fn fail(
    State(shared): State<SharedServerState>,
    TokenPath(token): TokenPath,
    body: Body,
) -> Result<Response, HttpProblem> {
    let body = shared.bodies.read(body, SIGNAL_BYTES).await?;
    let failure = posted_failure(&body.bytes)?;
    Ok(completed(shared.engine.subscriptions().fail_signal(&token, failure).await?))
}

/// Keeps a wait open that asks for heartbeats. The response says whether the heartbeat counts, and
/// when the next one is needed.
///
/// # Errors
/// 409 after the end of the wait or of the run.
pub(super) async fn heartbeat(
    State(shared): State<SharedServerState>,
    TokenPath(token): TokenPath,
) -> Result<Response, HttpProblem> {
    let HeartbeatReceipt { run, step, effect } = shared.engine.subscriptions().heartbeat(&token).await?;
    let next_before = effect.next_before().map(Into::into);
    let effect = match effect {
        HeartbeatEffect::Recorded(_) => stepladder_api::HeartbeatEffect::Recorded,
        HeartbeatEffect::Recent(_) => stepladder_api::HeartbeatEffect::Recent,
        HeartbeatEffect::Early => stepladder_api::HeartbeatEffect::Early,
        HeartbeatEffect::Unneeded => stepladder_api::HeartbeatEffect::Unneeded,
    };
    Ok(Json(DataResponse { data: SignalHeartbeat { run_id: run, step, effect, next_before } }).into_response())
}

fn completed(receipt: SignalReceipt) -> Response {
    let SignalReceipt { run, step, before } = receipt;
    Json(DataResponse { data: SignalCompleted { run_id: run, step, before } }).into_response()
}

/// Parses the body of a request that fails a signal.
fn posted_failure(body: &[u8]) -> Result<Failure, HttpProblem> {
    let text = json_text(body, "the body")?.filter(|text| text.trim_start().starts_with('{'));
    let text = text.ok_or_else(|| HttpProblem::bad_request("the body is not a JSON object with `message`"))?;
    let mut json = serde_json::Deserializer::from_str(text);
    let posted: Result<SignalFailure, _> = serde_path_to_error::deserialize(&mut json);
    let SignalFailure { message, name, code, stack, data } = posted.map_err(|error| {
        let field = Some(error.path().to_string()).filter(|path| path != ".");
        let field = field.map(|field| format!("`{}` is wrong: ", shortened(&field))).unwrap_or_default();
        HttpProblem::bad_request(format!("the body is not a failure: {field}{}", error.into_inner()))
    })?;
    json.end().map_err(|error| HttpProblem::bad_request(format!("the body is not a failure: {error}")))?;
    Ok(Failure { message, code: code.map(Into::into), name: name.map(Into::into), stack: stack.map(Into::into), data })
}
