//! Routes that cancel or rerun many runs in one request.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use stepladder_api::{Page, RerunAllRequest, RunRef};
use stepladder_engine::{BulkResult, RerunOptions, RunFilter};

use super::runs;
use crate::error::HttpProblem;
use crate::guard::inputs::QueryParameters;
use crate::router::{CANCEL_REASON, SharedServerState};

/// The maximum size of the body of a request that reruns many runs. The body only names a step.
const RERUN_BYTES: usize = 64 * 1024;
/// The number of runs in a request that does not say how many.
const DEFAULT_LIMIT: usize = 50;

/// Returns a response with the changed runs, and with the cursor for the next request with the same
/// filter.
fn bulk_response(bulk: BulkResult) -> Response {
    let data = bulk.done.into_iter().map(|run_id| RunRef { run_id }).collect();
    Json(Page { data, cursor: bulk.cursor, searched: None }).into_response()
}

/// Parses the filter in a query. It selects all runs only if the query says so explicitly.
///
/// # Errors
/// 400 if a parameter is invalid. 400 also if no filter is given or one is empty, as in a script
/// with an unset variable.
fn required_filter(query: &QueryParameters) -> Result<RunFilter, HttpProblem> {
    const FILTERS: [&str; 5] = ["status", "function", "label", "since", "until"];
    if let Some(name) = FILTERS.into_iter().find(|name| query.given(name) == Some("")) {
        return Err(HttpProblem::bad_request(format!("`{name}` is empty; give it a value, or leave it out")));
    }
    match query.given("all") {
        None if FILTERS.iter().all(|name| query.given(name).is_none()) => Err(HttpProblem::bad_request(
            "no run is selected: give `status`, `function`, `label`, `since` or `until`, or `all=true` for every run",
        )),
        None | Some("true") => runs::run_filter(query),
        Some(other) => Err(HttpProblem::bad_request(format!("`all` is `{other}`; use true, or leave it out"))),
    }
}

/// `POST /v1/runs/cancel?status=&function=&limit=&cursor=`: cancels the live runs on one page of a
/// listing.
pub(super) async fn cancel_runs(
    State(shared): State<SharedServerState>,
    query: QueryParameters,
) -> Result<Response, HttpProblem> {
    let filter = required_filter(&query)?;
    Ok(bulk_response(shared.engine.control().cancel_all(filter, CANCEL_REASON).await?))
}

/// `POST /v1/runs/rerun?status=&function=&limit=&cursor=`: reruns the ended runs on one page of a
/// listing.
pub(super) async fn rerun_runs(
    State(shared): State<SharedServerState>,
    query: QueryParameters,
    body: Body,
) -> Result<Response, HttpProblem> {
    let filter = required_filter(&query)?;
    let body = shared.bodies.read(body, RERUN_BYTES).await?;
    let mut admitted = shared.intake.admit(&shared.engine)?;
    let RerunAllRequest { from_step } = match body.bytes.trim_ascii() {
        b"" => RerunAllRequest::default(),
        bytes => serde_json::from_slice(bytes)
            .map_err(|e| HttpProblem::bad_request(format!("the body is not a JSON object with `from_step`: {e}")))?,
    };
    admitted.reserve(filter.limit.unwrap_or(DEFAULT_LIMIT))?;
    Ok(bulk_response(shared.engine.control().rerun_all(filter, RerunOptions { from_step, input: None }).await?))
}
