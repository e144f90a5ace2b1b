//! Apps: functions in other processes. The page reads the registered apps.

use std::sync::Arc;

use askama::Template;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::form::{FormFields, OPEN_FORM_BYTES};
use super::notice::{FormNotice, FormResult};
use super::shell::{DashboardTab, PageShell};
use super::text::{ShownTime, brief, capitalized, query_string};
use super::{PageRequest, html_page, problem_page};
use crate::apps::{AppDirectory, AppListing};
use crate::error::HttpProblem;
use crate::router::SharedServerState;

/// The path of the page.
const PAGE: &str = "/apps";
/// The maximum number of functions of an app that are listed.
const LISTED: usize = 50;

#[derive(Template)]
#[template(path = "apps.html")]
struct AppsPage {
    shell: PageShell,
    apps: Vec<AppRow>,
    notice: Option<FormNotice>,
}

struct AppRow {
    name: Option<String>,
    url: String,
    sdk: Option<String>,
    framework: Option<String>,
    /// The id of each function, and the address of its page.
    functions: Vec<(String, String)>,
    /// The number of functions that are not listed.
    more: usize,
    synced: Option<ShownTime>,
    problem: Option<String>,
}

impl AppRow {
    fn from_listing(app: AppListing) -> Self {
        let AppListing { name, url, sdk, framework, functions, synced_at, problem } = app;
        let none = || name.as_ref().filter(|_| functions.is_empty()).map(|_| "the app has no functions".to_owned());
        Self {
            problem: problem.or_else(none).map(|problem| capitalized(&brief(&problem, 500))),
            url: brief(&url, 300),
            sdk: sdk.map(|sdk| brief(&sdk, 60)),
            framework: framework.map(|framework| brief(&framework, 60)),
            more: functions.len().saturating_sub(LISTED),
            functions: functions.into_iter().take(LISTED).map(|id| (brief(&id, 120), function_link(&id))).collect(),
            synced: synced_at.map(ShownTime::from_timestamp),
            name,
        }
    }
}

fn function_link(id: &str) -> String {
    format!("/function{}", query_string([("id", id)]))
}

/// `GET /apps`: the list of apps.
pub(super) async fn page(State(shared): State<SharedServerState>, request: PageRequest) -> Response {
    match load_page(&shared, &request).await {
        Ok(page) => html_page(StatusCode::OK, &page),
        Err(problem) => problem_page(&shared, &request.headers, &problem),
    }
}

async fn load_page(shared: &SharedServerState, request: &PageRequest) -> Result<AppsPage, HttpProblem> {
    let apps = directory(shared)?.apps().await?;
    Ok(AppsPage {
        shell: PageShell::new(shared, &request.headers, DashboardTab::Apps).polling(shared),
        apps: apps.into_iter().map(AppRow::from_listing).collect(),
        notice: FormNotice::from_request(request),
    })
}

/// `POST /apps/sync`: asks an app for its functions, and registers them.
pub(super) async fn sync(State(shared): State<SharedServerState>, headers: HeaderMap, body: Body) -> Response {
    match sync_app(&shared, body).await {
        Ok(result) => result.redirect(PAGE),
        Err(problem) => problem_page(&shared, &headers, &problem),
    }
}

async fn sync_app(shared: &SharedServerState, body: Body) -> Result<FormResult, HttpProblem> {
    let fields = FormFields::read(shared, body, OPEN_FORM_BYTES, &["url"]).await?;
    let url = fields.get("url").trim();
    if url.is_empty() {
        return Err(HttpProblem::bad_request("`url` is empty; enter the address of the app"));
    }
    let problem = |sentence: String| HttpProblem::new(StatusCode::BAD_GATEWAY, sentence);
    directory(shared)?.sync(url).await.map_err(problem)?;
    Ok(FormResult::AppSynced)
}

/// `POST /apps/remove`: removes an app.
pub(super) async fn remove(State(shared): State<SharedServerState>, headers: HeaderMap, body: Body) -> Response {
    match remove_app(&shared, body).await {
        Ok(result) => result.redirect(PAGE),
        Err(problem) => problem_page(&shared, &headers, &problem),
    }
}

async fn remove_app(shared: &SharedServerState, body: Body) -> Result<FormResult, HttpProblem> {
    let fields = FormFields::read(shared, body, OPEN_FORM_BYTES, &["name"]).await?;
    directory(shared)?.remove(fields.get("name")).await?;
    Ok(FormResult::AppRemoved)
}

fn directory(shared: &SharedServerState) -> Result<&Arc<dyn AppDirectory>, HttpProblem> {
    shared.apps.as_ref().ok_or_else(|| HttpProblem::not_found("this server has no apps"))
}

/// Returns the name and the address of the app that has a function; `None` if the function is
/// compiled in.
pub(super) async fn app_of(shared: &SharedServerState, function: &str) -> Option<(String, String)> {
    let apps = shared.apps.as_ref()?.apps().await;
    // the page shows the function without its app if the apps cannot be read
    let apps = apps.inspect_err(|error| tracing::warn!(%error, "the apps cannot be read")).ok()?;
    let app = apps.into_iter().find(|app| app.functions.iter().any(|id| id == function))?;
    Some((app.name?, brief(&app.url, 300)))
}
