//! Many runs at a time, and functions that are paused, over REST.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use stepladder_core::RunId;
use stepladder_engine::{Bulk, Rerun};

use crate::error::Problem;
use crate::router::Shared;
use crate::runs::Which;
use crate::wire::Data;

/// Bytes of a wish for many reruns: a step's name.
const WISH_BYTES: usize = 64 * 1024;

/// What became of a page of runs.
#[derive(Serialize)]
struct Done {
    data: Vec<Told>,
    /// To go on with: asked for again, with the same filter.
    cursor: Option<RunId>,
}

#[derive(Serialize)]
struct Told {
    run_id: RunId,
}

impl Done {
    fn of(bulk: Bulk) -> Response {
        let data = bulk.done.into_iter().map(|run_id| Told { run_id }).collect();
        Json(Self { data, cursor: bulk.cursor }).into_response()
    }
}

/// `POST /v1/runs/cancel?status=&function=&limit=&cursor=`: those of a page of the listing that have not ended.
pub(crate) async fn cancel(
    State(shared): State<Shared>,
    query: Result<Query<Which>, QueryRejection>,
) -> Result<Response, Problem> {
    let filter = Which::filter(query)?;
    Ok(Done::of(shared.engine.cancel_all(filter, "somebody asked for it").await?))
}

/// `POST /v1/runs/rerun?status=&function=&limit=&cursor=`: those of a page of the listing that have ended.
pub(crate) async fn rerun(
    State(shared): State<Shared>,
    query: Result<Query<Which>, QueryRejection>,
    body: Body,
) -> Result<Response, Problem> {
    #[derive(Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wish {
        from_step: Option<String>,
    }
    let filter = Which::filter(query)?;
    let body = shared.bodies.read(body, WISH_BYTES).await?;
    let mut admitted = shared.intake.admit(&shared.engine)?;
    let Wish { from_step } = match body.bytes.trim_ascii() {
        b"" => Wish::default(),
        bytes => serde_json::from_slice(bytes)
            .map_err(|e| Problem::bad_request(format!("the body is not a JSON object with `from_step`: {e}")))?,
    };
    admitted.reserve(filter.limit.unwrap_or(50))?;
    Ok(Done::of(shared.engine.rerun_all(filter, Rerun { from_step, input: None }).await?))
}

/// `POST /v1/functions/{id}/pause`.
pub(crate) async fn pause(State(shared): State<Shared>, Path(id): Path<String>) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Paused {
        function_id: String,
        paused_since: Option<String>,
    }
    shared.engine.pause(&id).await?;
    let paused_since = shared.engine.paused_since(&id).await?.map(|at| at.to_string());
    Ok(Json(Data { data: Paused { function_id: id, paused_since } }).into_response())
}

/// `POST /v1/functions/{id}/resume`.
pub(crate) async fn resume(State(shared): State<Shared>, Path(id): Path<String>) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Resumed {
        function_id: String,
        woken: usize,
    }
    let woken = shared.engine.resume(&id).await?;
    Ok(Json(Data { data: Resumed { function_id: id, woken } }).into_response())
}
