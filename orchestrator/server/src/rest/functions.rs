//! Routes that list, pause and resume functions.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use stepladder_api::{DataResponse, Function, FunctionPaused, FunctionResumed, Time};

use crate::error::HttpProblem;
use crate::path::FunctionPath;
use crate::router::SharedServerState;

/// `GET /v1/functions`: the registered functions.
pub(super) async fn list_functions(State(shared): State<SharedServerState>) -> Result<Response, HttpProblem> {
    let catalog = shared.engine.functions().current().await;
    let paused = shared.engine.functions().paused().await?;
    let functions: Vec<_> = catalog.specs().map(|spec| Function::new(spec, paused.get(&spec.id).copied())).collect();
    Ok(Json(DataResponse { data: functions }).into_response())
}

/// `POST /v1/functions/{id}/pause`: pauses a function.
pub(super) async fn pause(
    State(shared): State<SharedServerState>,
    FunctionPath(id): FunctionPath,
) -> Result<Response, HttpProblem> {
    shared.engine.functions().pause(&id).await?;
    let paused_since = shared.engine.functions().paused_since(&id).await?.map(Time);
    Ok(Json(DataResponse { data: FunctionPaused { function_id: id, paused_since } }).into_response())
}

/// `POST /v1/functions/{id}/resume`: resumes a function.
pub(super) async fn resume(
    State(shared): State<SharedServerState>,
    FunctionPath(id): FunctionPath,
) -> Result<Response, HttpProblem> {
    let woken = shared.engine.functions().resume(&id).await?;
    Ok(Json(DataResponse { data: FunctionResumed { function_id: id, woken } }).into_response())
}
