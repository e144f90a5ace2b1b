//! Many runs at a time, and functions that are paused, over REST.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use stepladder_core::RunId;
use stepladder_engine::{Bulk, Rerun, RunFilter};

use crate::error::Problem;
use crate::inputs::Parameters;
use crate::path::FunctionPath;
use crate::router::Shared;
use crate::runs;
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

/// The runs that a query chooses. Every run is chosen only where the query says so.
///
/// # Errors
/// 400 with what is wrong; also when no filter is given, or an empty one, as a script with an unset variable gives it.
fn chosen(query: &Parameters) -> Result<RunFilter, Problem> {
    const FILTERS: [&str; 4] = ["status", "function", "since", "until"];
    if let Some(name) = FILTERS.into_iter().find(|name| query.given(name) == Some("")) {
        return Err(Problem::bad_request(format!("`{name}` is empty; give it a value, or leave it out")));
    }
    match query.given("all") {
        None if FILTERS.iter().all(|name| query.given(name).is_none()) => Err(Problem::bad_request(
            "no run is chosen: give `status`, `function`, `since` or `until`, or `all=true` for every run",
        )),
        None | Some("true") => runs::filter(query),
        Some(other) => Err(Problem::bad_request(format!("`all` is `{other}`; use true, or leave it out"))),
    }
}

/// `POST /v1/runs/cancel?status=&function=&limit=&cursor=`: those of a page of the listing that have not ended.
pub(crate) async fn cancel(State(shared): State<Shared>, query: Parameters) -> Result<Response, Problem> {
    let filter = chosen(&query)?;
    Ok(Done::of(shared.engine.control().cancel_all(filter, "somebody asked for it").await?))
}

/// `POST /v1/runs/rerun?status=&function=&limit=&cursor=`: those of a page of the listing that have ended.
pub(crate) async fn rerun(State(shared): State<Shared>, query: Parameters, body: Body) -> Result<Response, Problem> {
    #[derive(Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wish {
        from_step: Option<String>,
    }
    let filter = chosen(&query)?;
    let body = shared.bodies.read(body, WISH_BYTES).await?;
    let mut admitted = shared.intake.admit(&shared.engine)?;
    let Wish { from_step } = match body.bytes.trim_ascii() {
        b"" => Wish::default(),
        bytes => serde_json::from_slice(bytes)
            .map_err(|e| Problem::bad_request(format!("the body is not a JSON object with `from_step`: {e}")))?,
    };
    admitted.reserve(filter.limit.unwrap_or(50))?;
    Ok(Done::of(shared.engine.control().rerun_all(filter, Rerun { from_step, input: None }).await?))
}

/// `POST /v1/functions/{id}/pause`.
pub(crate) async fn pause(State(shared): State<Shared>, FunctionPath(id): FunctionPath) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Paused {
        function_id: String,
        paused_since: Option<String>,
    }
    shared.engine.functions().pause(&id).await?;
    let paused_since = shared.engine.functions().paused_since(&id).await?.map(|at| at.to_string());
    Ok(Json(Data { data: Paused { function_id: id, paused_since } }).into_response())
}

/// `POST /v1/functions/{id}/resume`.
pub(crate) async fn resume(State(shared): State<Shared>, FunctionPath(id): FunctionPath) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Resumed {
        function_id: String,
        woken: usize,
    }
    let woken = shared.engine.functions().resume(&id).await?;
    Ok(Json(Data { data: Resumed { function_id: id, woken } }).into_response())
}
