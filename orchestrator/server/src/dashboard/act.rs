//! Handles the forms of pages. The response to each form redirects to a page that shows the result.
//!
//! [`same_site`](crate::guard::origin::same_site) guards all forms, because the login cookie does
//! not prove that the user sent the form.

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect, Response};
use serde_json::value::RawValue;
use stepladder_core::RunId;
use stepladder_core::limits::EVENT_BYTES;
use stepladder_engine::{Cancellation, EngineError, RerunOptions};

use super::form::{FORM_BYTES, FormFields};
use super::notice::FormResult;
use super::problem_page;
use super::text::{brief, query_string};
use crate::error::HttpProblem;
use crate::guard::body::json_text;
use crate::path::RunPath;
use crate::router::SharedServerState;

/// The reason that is shown for a run that a user of the dashboard cancelled.
pub(super) const CANCEL_REASON: &str = "from the dashboard";

/// `POST /runs/{id}/cancel`: cancels a run.
pub(super) async fn cancel(
    State(shared): State<SharedServerState>,
    headers: HeaderMap,
    path: Result<RunPath, HttpProblem>,
) -> Response {
    let cancelled = match path {
        Ok(RunPath(run)) => {
            shared.engine.control().cancel(run, CANCEL_REASON).await.map(|how| (run, how)).map_err(HttpProblem::from)
        }
        Err(problem) => Err(problem),
    };
    match cancelled {
        Ok((run, Cancellation { is_new, .. })) => {
            let (done, ended) = if is_new { (1, 0) } else { (0, 1) };
            FormResult::Cancelled { done, ended, missed: 0 }.redirect(&format!("/runs/{run}"))
        }
        Err(problem) => problem_page(&shared, &headers, &problem),
    }
}

/// `POST /runs/{id}/hasten`: skips the sleep or the retry delay of a step. Without a step, skips
/// the retry delay of the handler.
pub(super) async fn skip_wait(
    State(shared): State<SharedServerState>,
    headers: HeaderMap,
    path: Result<RunPath, HttpProblem>,
    body: Body,
) -> Response {
    match skip_wait_of_form(&shared, path, body).await {
        Ok(run) => FormResult::WaitSkipped.redirect(&format!("/runs/{run}")),
        Err(problem) => problem_page(&shared, &headers, &problem),
    }
}

async fn skip_wait_of_form(
    shared: &SharedServerState,
    path: Result<RunPath, HttpProblem>,
    body: Body,
) -> Result<RunId, HttpProblem> {
    let RunPath(run) = path?;
    let fields = FormFields::read(shared, body, FORM_BYTES, &["step"]).await?;
    // an empty field means no step, because no step has an empty name
    match fields.get("step") {
        "" => shared.engine.control().skip_handler_wait(run).await?,
        step => shared.engine.control().skip_wait(run, step).await?,
    };
    Ok(run)
}

/// `POST /function/pause`: pauses or resumes a function.
pub(super) async fn pause(State(shared): State<SharedServerState>, headers: HeaderMap, body: Body) -> Response {
    match pause_or_resume(&shared, body).await {
        Ok((result, to)) => result.redirect(&to),
        Err(problem) => problem_page(&shared, &headers, &problem),
    }
}

async fn pause_or_resume(shared: &SharedServerState, body: Body) -> Result<(FormResult, String), HttpProblem> {
    let fields = FormFields::read(shared, body, FORM_BYTES, &["id", "do"]).await?;
    let id = fields.get("id");
    let result = match fields.get("do") {
        "pause" => shared.engine.functions().pause(id).await.map(|_| FormResult::Paused)?,
        "resume" => shared.engine.functions().resume(id).await.map(|_| FormResult::Resumed)?,
        other => return Err(HttpProblem::bad_request(format!("`do` is `{other}`; use pause or resume"))),
    };
    Ok((result, format!("/function{}", query_string([("id", id)]))))
}

/// `POST /functions`: pauses or resumes the selected functions. `undo` resumes those that were
/// paused since a time.
pub(super) async fn pause_selected(
    State(shared): State<SharedServerState>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match pause_or_resume_selected(&shared, body).await {
        Ok(result) => result.redirect("/functions"),
        Err(problem) => problem_page(&shared, &headers, &problem),
    }
}

async fn pause_or_resume_selected(shared: &SharedServerState, body: Body) -> Result<FormResult, HttpProblem> {
    let fields = FormFields::read(shared, body, FORM_BYTES, &["function", "do", "since"]).await?;
    let functions = shared.engine.functions();
    let selected: Vec<&str> = fields.all("function").collect();
    let paused = functions.paused().await?;
    let (mut done, mut already, mut missed) = (0, 0, 0);
    match fields.get("do") {
        "pause" | "resume" if selected.is_empty() => Ok(FormResult::NoneSelected),
        "pause" => {
            let from = shared.engine.now().as_millis();
            for id in selected {
                match functions.pause(id).await {
                    Ok(true) => done += 1,
                    Ok(false) => already += 1,
                    Err(EngineError::NotFound(_)) => missed += 1,
                    Err(error) => return Err(error.into()),
                }
            }
            let [s, ms] =
                [from.div_euclid(1_000), from.rem_euclid(1_000)].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
            Ok(FormResult::PausedMany { done, already, missed, from: [s, ms] })
        }
        "resume" => {
            for id in selected {
                match functions.resume(id).await {
                    Ok(_) if paused.contains_key(id) => done += 1,
                    Ok(_) => already += 1,
                    Err(EngineError::NotFound(_)) => missed += 1,
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(FormResult::ResumedMany { done, already, missed })
        }
        "undo" => {
            let since = fields.get("since");
            let fault = || HttpProblem::bad_request(format!("`since` is `{}`; use a number", brief(since, 40)));
            let since: i64 = since.parse().map_err(|_| fault())?;
            for (id, _) in paused.iter().filter(|(_, at)| at.as_millis() >= since) {
                functions.resume(id).await?;
                done += 1;
            }
            Ok(FormResult::ResumedMany { done, already, missed })
        }
        other => Err(HttpProblem::bad_request(format!("`do` is `{}`; use pause, resume or undo", brief(other, 40)))),
    }
}

/// `POST /runs/{id}/rerun`: reruns a run from the beginning or from a step, with the same input or
/// with new input. Redirects to the new run.
pub(super) async fn rerun(
    State(shared): State<SharedServerState>,
    headers: HeaderMap,
    path: Result<RunPath, HttpProblem>,
    body: Body,
) -> Response {
    match rerun_of_form(&shared, path, body).await {
        Ok(run) => Redirect::to(&format!("/runs/{run}")).into_response(),
        Err(problem) => problem_page(&shared, &headers, &problem),
    }
}

async fn rerun_of_form(
    shared: &SharedServerState,
    path: Result<RunPath, HttpProblem>,
    body: Body,
) -> Result<RunId, HttpProblem> {
    let RunPath(run) = path?;
    let fields = FormFields::read(shared, body, FORM_BYTES, &["from_step", "input"]).await?;
    let mut admitted = shared.intake.admit(&shared.engine)?;
    admitted.reserve(1)?;
    let from_step = Some(fields.get("from_step")).filter(|step| !step.is_empty()).map(str::to_owned);
    let how = RerunOptions { from_step, input: json_input(fields.get("input"))? };
    Ok(shared.engine.control().rerun(run, how).await?)
}

/// Parses the JSON that was typed into a form. Returns `None` if the field is blank. The engine
/// checks whether the value is allowed.
pub(super) fn json_input(text: &str) -> Result<Option<stepladder_core::Json>, HttpProblem> {
    if text.len() > EVENT_BYTES {
        let sentence = format!("the input has {} bytes; at most {EVENT_BYTES} are allowed", text.len());
        return Err(HttpProblem::new(axum::http::StatusCode::PAYLOAD_TOO_LARGE, sentence));
    }
    let Some(text) = json_text(text.as_bytes(), "the input")? else { return Ok(None) };
    let input: Box<RawValue> = serde_json::from_str(text)
        .map_err(|e| HttpProblem::bad_request(format!("the input is not valid JSON: {e}")))?;
    Ok(Some(input.into()))
}
