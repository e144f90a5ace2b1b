//! `POST /v1/signals/{token}`: a third party completes what a run waits for, once. The token is all that is asked for.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::value::RawValue;
use stepladder_core::limits::SIGNAL_BYTES;
use stepladder_core::{RunId, json};

use crate::error::Problem;
use crate::path::TokenPath;
use crate::router::Shared;
use crate::wire::Data;

/// The body is any JSON, or nothing, which is `null`. The same post again is answered as the first was; another one gets
/// 409, as does one whose wait or run is over.
pub(crate) async fn complete(
    State(shared): State<Shared>,
    TokenPath(token): TokenPath,
    body: Body,
) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Completed<'a> {
        run_id: RunId,
        step: &'a str,
        /// Whether the same had been posted before.
        before: bool,
    }
    let body = shared.bodies.read(body, SIGNAL_BYTES).await?;
    let signalled = shared.engine.subscriptions().signal(&token, data(&body.bytes)?).await?;
    let data = Completed { run_id: signalled.run, step: &signalled.step, before: signalled.before };
    Ok(Json(Data { data }).into_response())
}

fn data(body: &[u8]) -> Result<stepladder_core::Json, Problem> {
    let text = std::str::from_utf8(body)
        .map_err(|e| Problem::bad_request(format!("the body is not UTF-8 at byte {}", e.valid_up_to())))?;
    if text.trim().is_empty() {
        return Ok(json::null());
    }
    json::check(text).map_err(|unfit| Problem::bad_request(format!("the body {unfit}")))?;
    let data: Box<RawValue> =
        serde_json::from_str(text).map_err(|e| Problem::bad_request(format!("the body is not valid JSON: {e}")))?;
    Ok(data.into())
}
