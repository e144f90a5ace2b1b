//! The dashboard: pages for people. Templates escape all text from outside, and isolate its text
//! direction from the text around it.
//!
//! A page works without its script (`templates/app.js`). When the server says that the page has
//! changed, the script fetches it again and replaces the changed parts. The script knows nothing
//! about runs.
//!
//! Rules about runs are deliberately not part of the dashboard, nor are reads that grow with the
//! stored data. Each module says how much its page reads.

mod act;
mod apps;
mod cost;
mod diff;
mod entries;
mod events;
pub(crate) mod form;
mod functions;
mod health;
mod json;
mod live;
mod login;
mod notice;
mod prose;
mod run;
mod runs;
mod scale;
mod shell;
mod text;
mod trends;
mod unchanged;
mod value;
mod values;
mod waterfall;

use askama::Template;
use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};

pub(crate) use self::live::MAX_STREAMS;
use self::shell::{DashboardTab, PageShell};
use crate::error::HttpProblem;
use crate::guard::inputs::{self, QueryParameters};
use crate::guard::origin;
use crate::router::SharedServerState;

/// The content security policy. A page may use only the server's own style sheet, script and
/// streams, and may send forms only to this server. Nothing may be inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Returns the routes of pages and forms that require the dashboard token.
pub(crate) fn routes(shared: &SharedServerState) -> Router<SharedServerState> {
    let only_known = from_fn_with_state(shared.clone(), inputs::guard);
    let pages = Router::new()
        .route("/", get(runs::runs_page))
        .route("/runs/{id}", get(run::run_page))
        .route("/runs/{id}/value", get(values::run_value))
        .route("/runs/{id}/compare", get(run::compare::compare))
        .route("/function", get(functions::function_page))
        .route("/apps", get(apps::page))
        .route("/events/{id}", get(events::event_page))
        .route("/events/{id}/data", get(events::data))
        .route("/trends", get(trends::page))
        .route("/cost", get(cost::page))
        .route("/health/page", get(health::page))
        .route("/live/none", get(live::no_content))
        .route("/live/runs", get(live::stream_of_listing))
        .route("/live/runs/{id}", get(live::stream_of_run))
        .layer(only_known.clone());
    let forms = Router::new()
        .route("/runs", post(runs::act_on_runs).get(runs::redirect_to_list))
        .route("/events", get(events::list_page).post(events::send))
        .route("/events/{id}/replay", post(events::replay_from_form))
        .route("/functions", get(functions::list_page).post(act::pause_selected))
        .route("/function/pause", post(act::pause))
        .route("/apps/sync", post(apps::sync))
        .route("/apps/remove", post(apps::remove))
        .route("/runs/{id}/cancel", post(act::cancel))
        .route("/runs/{id}/hasten", post(act::skip_wait))
        .route("/runs/{id}/rerun", post(act::rerun))
        .route("/runs/{id}/answer", post(run::answer::answer))
        .route("/health/redrive", post(health::redrive))
        .route("/logout", post(login::log_out))
        .layer(only_known)
        .layer(from_fn(origin::same_site));
    pages.merge(forms).layer(from_fn(notice::forget))
}

pub(crate) fn login_routes() -> Router<SharedServerState> {
    Router::new().route("/login", get(login::login_form).post(login::log_in))
}

/// Returns the routes that require no token: assets, and the choice of a theme.
pub(crate) fn open_routes(shared: &SharedServerState) -> Router<SharedServerState> {
    let only_known = from_fn_with_state(shared.clone(), inputs::guard);
    Router::new()
        .route("/style.css", get(style_sheet))
        .route("/app.js", get(page_script))
        .route("/theme", post(shell::choose_theme))
        .layer(only_known)
        .layer(from_fn(origin::same_site))
}

async fn style_sheet() -> Response {
    asset_response(
        "text/css; charset=utf-8",
        concat!(
            include_str!("../templates/style.css"),
            include_str!("../templates/value.css"),
            include_str!("../templates/run.css"),
            include_str!("../templates/trends.css")
        ),
    )
}

async fn page_script() -> Response {
    asset_response(
        "text/javascript; charset=utf-8",
        concat!(
            include_str!("../templates/times.js"),
            include_str!("../templates/app.js"),
            include_str!("../templates/merge.js"),
            include_str!("../templates/value.js"),
            include_str!("../templates/run.js"),
            include_str!("../templates/palette.js")
        ),
    )
}

/// Returns a response with an asset from memory. Browsers check for a new version each time,
/// because an update of the server may change the asset.
fn asset_response(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], text).into_response()
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage {
    shell: PageShell,
    title: &'static str,
    sentence: String,
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    shell: PageShell,
    problem: Option<&'a str>,
    /// The page to show after the login.
    next: &'a str,
}

/// Returns a response with the login form, and with the problem of the last attempt if there was
/// one.
fn login_page(
    shared: &SharedServerState,
    headers: &HeaderMap,
    status: StatusCode,
    problem: Option<&str>,
    next: &str,
) -> Response {
    html_page(status, &LoginPage { shell: PageShell::new(shared, headers, DashboardTab::Login), problem, next })
}

/// Returns whether a browser opens the address as a page.
pub(crate) fn opens_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

pub(crate) use self::login::login_link;

/// Returns a response with a page that shows a problem.
pub(crate) fn problem_page(shared: &SharedServerState, headers: &HeaderMap, problem: &HttpProblem) -> Response {
    let shell = PageShell::new(shared, headers, DashboardTab::None);
    let title = match problem.status {
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::BAD_REQUEST => "Invalid request",
        StatusCode::FORBIDDEN => "Not allowed",
        StatusCode::CONFLICT => "No longer possible",
        StatusCode::PAYLOAD_TOO_LARGE => "Too large",
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => "Try again later",
        _ => "Problem",
    };
    let sentence = text::capitalized(&problem.sentence);
    problem.with_body(html_page(problem.status, &ProblemPage { shell, title, sentence }))
}

fn html_page(status: StatusCode, page: &impl Template) -> Response {
    html_response(status, page, |text| unchanged::without_known_parts(&text, &HeaderMap::new()))
}

/// Returns a response with a page that leaves out the parts that the browser already has.
fn changed_page(headers: &HeaderMap, page: &impl Template) -> Response {
    html_response(StatusCode::OK, page, |text| unchanged::without_known_parts(&text, headers))
}

fn html_response(status: StatusCode, page: &impl Template, finish: impl FnOnce(String) -> String) -> Response {
    let text = match page.render() {
        Ok(text) => finish(text),
        Err(error) => {
            tracing::error!(%error, "a page cannot be rendered");
            return HttpProblem::new(StatusCode::INTERNAL_SERVER_ERROR, "the page cannot be rendered").into_response();
        }
    };
    let mut response = (status, Html(text)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    // with `no-referrer`, browsers would send forms with `Origin: null`
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A request for a page: its headers and its query.
struct PageRequest {
    headers: HeaderMap,
    query: QueryParameters,
}

impl PageRequest {
    /// Returns a parameter without the white space around it. An empty parameter counts as missing.
    fn parameter(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(str::trim)
    }
}

impl FromRequestParts<SharedServerState> for PageRequest {
    type Rejection = HttpProblem;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        state: &SharedServerState,
    ) -> Result<Self, HttpProblem> {
        let query = QueryParameters::from_request_parts(parts, state).await?;
        Ok(Self { headers: parts.headers.clone(), query })
    }
}
