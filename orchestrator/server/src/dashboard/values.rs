//! Values as files, in full, because pages truncate and fold large values.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use stepladder_core::{Json, RunId};

use super::{PageRequest, problem_page};
use crate::error::HttpProblem;
use crate::path::RunPath;
use crate::router::SharedServerState;

/// `GET /runs/{id}/value?of=event|output|step&n=`: one value of a run as a file.
pub(super) async fn download(
    State(shared): State<SharedServerState>,
    path: Result<RunPath, HttpProblem>,
    request: PageRequest,
) -> Response {
    match run_value(&shared, path, &request).await {
        Ok((name, json)) => file_response(&name, json.get().to_owned()),
        Err(problem) => problem_page(&shared, &request.headers, &problem),
    }
}

async fn run_value(
    shared: &SharedServerState,
    path: Result<RunPath, HttpProblem>,
    request: &PageRequest,
) -> Result<(String, Json), HttpProblem> {
    let RunPath(id) = path?;
    let run = shared.engine.query().run(id).await?;
    let none = |what: &str| HttpProblem::not_found(format!("run {id} has no {what}"));
    let named = |what: &str, id: RunId| format!("{id}-{what}.json");
    match request.parameter("of") {
        Some("event") => Ok((named("event", id), run.event.data)),
        Some("output") => Ok((named("output", id), run.summary.output.ok_or_else(|| none("output"))?)),
        Some("step") => {
            let n: usize =
                request.parameter("n").and_then(|n| n.parse().ok()).ok_or_else(|| none("step of this number"))?;
            let step = run.steps.into_iter().nth(n).ok_or_else(|| none("step of this number"))?;
            Ok((named(&format!("step-{n}"), id), step.output.ok_or_else(|| none("output in this step"))?))
        }
        _ => Err(HttpProblem::bad_request("`of` is missing or unknown; use event, output or step")),
    }
}

/// Returns a response that the browser saves as a file and never displays.
pub(super) fn file_response(name: &str, text: String) -> Response {
    let disposition = HeaderValue::try_from(format!("attachment; filename=\"{name}\""));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8")),
        (header::CONTENT_DISPOSITION, disposition.unwrap_or(HeaderValue::from_static("attachment"))),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (StatusCode::OK, headers, text).into_response()
}
