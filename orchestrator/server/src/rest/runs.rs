//! Routes that list, show, cancel and rerun runs.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use stepladder_api::{DataResponse, JournalEntry, JournalPage, Page, RerunRequest, Run, RunCancelled, RunRef};
use stepladder_core::limits::EVENT_BYTES;
use stepladder_core::{RunId, Status};
use stepladder_engine::{RerunOptions, RunFilter, RunPage};

use super::{answer, fit};
use crate::error::HttpProblem;
use crate::guard::body::json_text;
use crate::guard::inputs::QueryParameters;
use crate::path::RunPath;
use crate::router::{CANCEL_REASON, SharedServerState};

/// The maximum size of the body of a request that reruns one run: the data of an event, and the
/// name of a step.
const RERUN_BYTES: usize = EVENT_BYTES + 64 * 1024;
/// The default number of runs that a search for a text returns.
const DEFAULT_FOUND: usize = 50;
/// The maximum number of runs that a search for a text returns.
const MAX_FOUND: usize = 500;
/// The default number of journal entries on a page.
const DEFAULT_ENTRIES: usize = 500;
/// The maximum number of journal entries on a page.
const MAX_ENTRIES: usize = 1_000;
/// The number of bytes of a page besides its items.
const ENVELOPE_BYTES: usize = 128;

/// Parses the filter in a query. An empty parameter counts as missing.
///
/// # Errors
/// 400 with the name of an invalid parameter.
pub(super) fn run_filter(query: &QueryParameters) -> Result<RunFilter, HttpProblem> {
    let status = query.get("status").map(str::parse::<Status>).transpose();
    let cursor = query.get("cursor").map(|text| {
        text.parse().map_err(|_| {
            HttpProblem::bad_request(format!("`cursor` is `{text}`; use the `cursor` of the previous page"))
        })
    });
    let first_at = |at| RunId::new(at, 0);
    Ok(RunFilter {
        status: status.map_err(|fault| HttpProblem::bad_request(format!("`status`: {fault}")))?,
        functions: query.get("function").map(str::to_owned).into_iter().collect(),
        limit: query.number("limit", "1 to 500")?,
        from: query.time("since")?.map(first_at),
        before: query.time("until")?.map(first_at),
        cursor: cursor.transpose()?,
        label: query
            .get("label")
            .map(|text| text.parse().map_err(|fault| HttpProblem::bad_request(format!("`label`: {fault}"))))
            .transpose()?,
        ..RunFilter::default()
    })
}

/// `GET /v1/runs`: a page of runs.
pub(super) async fn list_runs(
    State(shared): State<SharedServerState>,
    query: QueryParameters,
) -> Result<Response, HttpProblem> {
    let filter = run_filter(&query)?;
    let (page, searched) = match query.get("text") {
        Some(text) => search(&shared, filter, text).await?,
        None => (shared.engine.query().runs(filter).await?, None),
    };
    let data = page.runs.iter().map(answer::run_json).collect::<Vec<Run>>();
    let mut page = Page { data, cursor: page.cursor, searched };
    if let Some(limit) = shared.answer_bytes {
        let fitting = fit::count_fitting(&page.data, limit - ENVELOPE_BYTES);
        if fitting < page.data.len() {
            page.data.truncate(fitting);
            page.cursor = page.data.last().map(|run| run.run_id);
        }
    }
    Ok(Json(page).into_response())
}

/// Searches runs for a text in their input or error. The cursor leads to the matches that do not
/// fit on the page, or else to the older runs that were not searched.
async fn search(
    shared: &SharedServerState,
    filter: RunFilter,
    text: &str,
) -> Result<(RunPage, Option<usize>), HttpProblem> {
    let limit = filter.limit.unwrap_or(DEFAULT_FOUND);
    if !(1..=MAX_FOUND).contains(&limit) {
        return Err(HttpProblem::bad_request(format!("`limit` is {limit}; use 1 to {MAX_FOUND}")));
    }
    let (mut page, searched) = shared.engine.query().runs_with_text(filter, text).await?;
    if page.runs.len() > limit {
        page.runs.truncate(limit);
        page.cursor = page.runs.last().map(|run| run.run);
    }
    Ok((page, Some(searched)))
}

/// `GET /v1/runs/{id}`: one run in full.
pub(super) async fn get_run(
    State(shared): State<SharedServerState>,
    RunPath(run): RunPath,
) -> Result<Response, HttpProblem> {
    let mut answer = DataResponse { data: answer::run_detail_json(&shared.engine.query().run(run).await?) };
    if let Some(limit) = shared.answer_bytes {
        fit::fit_run(&mut answer, limit)?;
    }
    Ok(Json(answer).into_response())
}

/// `GET /v1/runs/{id}/journal`: a page of the run's journal.
pub(super) async fn get_journal(
    State(shared): State<SharedServerState>,
    RunPath(run): RunPath,
    query: QueryParameters,
) -> Result<Response, HttpProblem> {
    let from = query.number("from", "the number of an entry, from 0")?.unwrap_or(0);
    let limit = query.number("limit", "1 to 1000")?.unwrap_or(DEFAULT_ENTRIES);
    if !(1..=MAX_ENTRIES).contains(&limit) {
        return Err(HttpProblem::bad_request(format!("`limit` is {limit}; use 1 to {MAX_ENTRIES}")));
    }
    let page = shared.engine.query().journal(run, from, limit).await?;
    let entries = page.entries.iter();
    let entries = entries.map(|(seq, entry)| JournalEntry { seq: *seq, at: entry.at.into(), fact: &entry.fact });
    let mut answer = JournalPage { data: entries.collect(), next: page.next };
    if let Some(limit) = shared.answer_bytes {
        let fitting = fit::count_fitting(&answer.data, limit - ENVELOPE_BYTES);
        answer.next = answer.data.get(fitting).map(|entry| entry.seq).or(answer.next);
        answer.data.truncate(fitting);
    }
    Ok(Json(answer).into_response())
}

/// `DELETE /v1/runs/{id}`: cancels a run.
pub(super) async fn cancel(
    State(shared): State<SharedServerState>,
    RunPath(run): RunPath,
) -> Result<Response, HttpProblem> {
    let status = shared.engine.control().cancel(run, CANCEL_REASON).await?.status;
    Ok((StatusCode::ACCEPTED, Json(DataResponse { data: RunCancelled { run_id: run, status } })).into_response())
}

/// `POST /v1/runs/{id}/rerun`: reruns a run.
pub(super) async fn rerun(
    State(shared): State<SharedServerState>,
    RunPath(run): RunPath,
    body: Body,
) -> Result<Response, HttpProblem> {
    let body = shared.bodies.read(body, RERUN_BYTES).await?;
    let mut admitted = shared.intake.admit(&shared.engine)?;
    let RerunRequest { from_step, input } = rerun_request(&body.bytes)?;
    admitted.reserve(1)?;
    let run_id = shared.engine.control().rerun(run, RerunOptions { from_step, input }).await?;
    Ok((StatusCode::CREATED, Json(DataResponse { data: RunRef { run_id } })).into_response())
}

/// Parses the body of a rerun request. Without a body, the run is rerun from the beginning.
fn rerun_request(body: &[u8]) -> Result<RerunRequest, HttpProblem> {
    let Some(text) = json_text(body, "the body")? else { return Ok(RerunRequest::default()) };
    if !text.trim_start().starts_with('{') {
        return Err(HttpProblem::bad_request("the body is not a JSON object with `from_step` or `input`"));
    }
    let request: RerunRequest = serde_json::from_str(text)
        .map_err(|e| HttpProblem::bad_request(format!("the body does not say how to rerun: {e}")))?;
    if let Some(input) = request.input.as_ref().filter(|input| input.get().len() > EVENT_BYTES) {
        let sentence = format!("`input` has {} bytes; at most {EVENT_BYTES} are allowed", input.get().len());
        return Err(HttpProblem::new(StatusCode::PAYLOAD_TOO_LARGE, sentence));
    }
    Ok(request)
}
