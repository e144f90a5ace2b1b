//! Values in full: as a page of its own, as text, and as a file. Other pages cut large values.

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use stepladder_core::{Json, RunId};

use super::run::value_link;
use super::shell::{DashboardTab, PageShell};
use super::text::brief;
use super::value::ShownValue;
use super::{PageRequest, html_page, problem_page};
use crate::error::HttpProblem;
use crate::path::RunPath;
use crate::router::SharedServerState;

/// The maximum size of a title, in bytes.
const TITLE_BYTES: usize = 300;

/// A value in full, with what its page says about it.
pub(super) struct FullValue {
    pub(super) title: String,
    /// The name of the file.
    pub(super) file: String,
    /// The path of the file.
    pub(super) link: String,
    /// The path of the page that the value is from.
    pub(super) from: String,
    pub(super) json: Json,
}

#[derive(Template)]
#[template(path = "value.html")]
struct ValuePage {
    shell: PageShell,
    title: String,
    from: String,
    value: ShownValue,
}

/// `GET /runs/{id}/value?of=event|output|step&n=&view=`: one value of a run.
pub(super) async fn run_value(
    State(shared): State<SharedServerState>,
    path: Result<RunPath, HttpProblem>,
    request: PageRequest,
) -> Response {
    let value = read_value(&shared, path, &request).await;
    value_response(&shared, &request, DashboardTab::Runs, value)
}

async fn read_value(
    shared: &SharedServerState,
    path: Result<RunPath, HttpProblem>,
    request: &PageRequest,
) -> Result<FullValue, HttpProblem> {
    let RunPath(id) = path?;
    let run = shared.engine.query().run(id).await?;
    let none = |what: &str| HttpProblem::not_found(format!("run {id} has no {what}"));
    let function = run.summary.function.clone();
    let value = |title: String, of: &str, json: Json| {
        let file = format!("{id}-{}.json", of.replace("&n=", "-"));
        FullValue { title, file, link: value_link(id, of), from: format!("/runs/{id}"), json }
    };
    match request.parameter("of") {
        Some("event") => Ok(value(format!("Input of {function}"), "event", run.event.data)),
        Some("output") => {
            let output = run.summary.output.ok_or_else(|| none("output"))?;
            Ok(value(format!("Output of {function}"), "output", output))
        }
        Some("step") => {
            let n: usize =
                request.parameter("n").and_then(|n| n.parse().ok()).ok_or_else(|| none("step of this number"))?;
            let step = run.steps.into_iter().nth(n).ok_or_else(|| none("step of this number"))?;
            let output = step.output.ok_or_else(|| none("output in this step"))?;
            let full = value(format!("Output of {}", step.id), &format!("step&n={n}"), output);
            Ok(FullValue { from: step_link(id, n), ..full })
        }
        _ => Err(HttpProblem::bad_request("`of` is missing or unknown; use event, output or step")),
    }
}

/// Returns the path of a step on the page of its run.
fn step_link(run: RunId, n: usize) -> String {
    format!("/runs/{run}?step={n}#step")
}

/// Returns a response with a value, in the form that `view` names: `page`, `raw` (text), or a file
/// if there is none.
pub(super) fn value_response(
    shared: &SharedServerState,
    request: &PageRequest,
    tab: DashboardTab,
    value: Result<FullValue, HttpProblem>,
) -> Response {
    let value = match value {
        Ok(value) => value,
        Err(problem) => return problem_page(shared, &request.headers, &problem),
    };
    match request.parameter("view") {
        None => file_response(&value.file, value.json.get().to_owned()),
        Some("raw") => text_response(value.json.get().to_owned()),
        Some("page") => {
            let page = ValuePage {
                shell: PageShell::new(shared, &request.headers, tab),
                title: brief(&value.title, TITLE_BYTES),
                from: value.from,
                value: ShownValue::on_own_page(&value.json, value.link),
            };
            html_page(StatusCode::OK, &page)
        }
        Some(other) => {
            let sentence = format!("`view` is `{other}`; use page or raw, or leave it out for a file");
            problem_page(shared, &request.headers, &HttpProblem::bad_request(sentence))
        }
    }
}

/// Returns a response that the browser saves as a file and never displays.
fn file_response(name: &str, text: String) -> Response {
    let disposition = HeaderValue::try_from(format!("attachment; filename=\"{name}\""));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8")),
        (header::CONTENT_DISPOSITION, disposition.unwrap_or(HeaderValue::from_static("attachment"))),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (StatusCode::OK, headers, text).into_response()
}

/// Returns a response that the browser displays as text and never as a document.
fn text_response(text: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (StatusCode::OK, headers, text).into_response()
}
