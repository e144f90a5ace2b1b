//! What is registered, over REST.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};

use crate::error::Problem;
use crate::router::Shared;
use crate::wire::{Data, Function};

/// `GET /v1/functions`.
pub(crate) async fn list(State(shared): State<Shared>) -> Result<Response, Problem> {
    let paused = shared.engine.functions().paused().await?;
    let functions: Vec<_> =
        shared.engine.functions().specs().map(|spec| Function::of(spec, paused.get(&spec.id).copied())).collect();
    Ok(Json(Data { data: functions }).into_response())
}
