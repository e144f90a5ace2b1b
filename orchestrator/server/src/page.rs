//! The pages that people look at: functions and the newest runs, and one run. Plain HTML without scripts; whatever
//! came from outside is escaped by the templates.

mod show;

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use stepladder_core::{RunId, Status};

use self::show::{FunctionRow, RunRow, RunView};
use crate::error::Problem;
use crate::path::RunPath;
use crate::router::Shared;
use crate::runs::Which;

/// Nothing but the server's own style sheet, and forms that go back to it.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview<'a> {
    version: &'a str,
    functions: Vec<FunctionRow>,
    runs: Vec<RunRow>,
    /// Each status, and whether the list is of that one.
    statuses: Vec<(Status, bool)>,
    shown: Option<Status>,
    function: Option<String>,
    next: Option<RunId>,
    /// Whether the page shows the newest, and so is worth loading again.
    newest: bool,
}

#[derive(Template)]
#[template(path = "run.html")]
struct OneRun {
    run: RunView,
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    sentence: &'a str,
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    problem: Option<&'a str>,
}

/// `GET /`.
pub(crate) async fn overview(State(shared): State<Shared>, query: Result<Query<Which>, QueryRejection>) -> Response {
    let filter = match Which::filter(query) {
        Ok(filter) => filter,
        Err(problem) => return sorry(&problem),
    };
    let (shown, function, newest) = (filter.status, filter.function.clone(), filter.cursor.is_none());
    match shared.engine.runs(filter).await {
        Err(error) => sorry(&error.into()),
        Ok(page) => html(
            StatusCode::OK,
            &Overview {
                version: &shared.version,
                functions: shared.engine.specs().map(FunctionRow::of).collect(),
                runs: page.runs.iter().map(|run| RunRow::of(run, shared.engine.now())).collect(),
                statuses: Status::ALL.map(|status| (status, shown == Some(status))).into(),
                shown,
                function,
                next: page.cursor,
                newest,
            },
        ),
    }
}

/// `GET /runs/{id}`.
pub(crate) async fn run(State(shared): State<Shared>, path: Result<RunPath, Problem>) -> Response {
    let RunPath(run) = match path {
        Ok(path) => path,
        Err(problem) => return sorry(&problem),
    };
    match shared.engine.run(run).await {
        Ok(run) => html(StatusCode::OK, &OneRun { run: RunView::of(&run, shared.engine.now()) }),
        Err(error) => sorry(&error.into()),
    }
}

/// `GET /style.css`.
pub(crate) async fn style() -> Response {
    let headers = [(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    (headers, include_str!("../templates/style.css")).into_response()
}

/// The login form, and what was wrong with the last try.
pub(crate) fn login(status: StatusCode, problem: Option<&str>) -> Response {
    html(status, &LoginPage { problem })
}

fn sorry(problem: &Problem) -> Response {
    let page = html(problem.status, &ProblemPage { sentence: &problem.sentence });
    problem.with_body(page)
}

fn html(status: StatusCode, page: &impl Template) -> Response {
    let text = match page.render() {
        Ok(text) => text,
        Err(error) => {
            tracing::error!(%error, "a page cannot be written");
            return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the page cannot be written").into_response();
        }
    };
    let mut response = (status, Html(text)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    // not `no-referrer`: browsers would then send the login form with `Origin: null`
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
