//! What is registered, over REST.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};

use crate::router::Shared;
use crate::wire::{Data, Function};

/// `GET /v1/functions`.
pub(crate) async fn list(State(shared): State<Shared>) -> Response {
    let functions: Vec<_> = shared.engine.specs().map(Function::of).collect();
    Json(Data { data: functions }).into_response()
}
