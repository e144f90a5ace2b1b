//! Runs: the list with its filters, and the forms for several runs at the same time.
//!
//! The page is a [quick](stepladder_engine::ListingDepth::Quick) listing: it reads at most
//! [`MAX_ROWS_READ`](stepladder_engine::MAX_ROWS_READ) rows per function, however many are stored.

mod search;

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use stepladder_core::{RunId, Status, Timestamp};
use stepladder_engine::view::RunSummary;

pub(super) use self::search::RunSearch;
use self::search::SearchResult;
use super::live::fingerprint;
use super::notice::FormNotice;
use super::shell::{DashboardTab, PageShell};
use super::text::{self, ShownTime, brief, format_duration, query_string, sentence};
use super::{PageRequest, html_page, problem_page};
use crate::router::SharedServerState;

/// The number of runs on a page.
pub(super) const PAGE: usize = 50;
/// The maximum size of an error in the list, in bytes.
const ERROR_BYTES: usize = 300;

#[derive(Template)]
#[template(path = "runs.html")]
struct RunsPage {
    shell: PageShell,
    search: RunSearch,
    /// The statuses to filter by: each with whether it is selected, and with its link.
    statuses: Vec<(Status, bool, String)>,
    /// The link to runs of all statuses.
    every: String,
    functions: Vec<(String, bool)>,
    spans: Vec<(&'static str, &'static str, bool)>,
    runs: Vec<RunRow>,
    /// A description of how the searched text was interpreted, if any.
    meaning: Option<String>,
    /// The link to older runs, if there are any.
    older: Option<String>,
    /// The link to the newest runs, if this page shows older ones.
    newest: Option<String>,
    /// The address of this page, to which forms redirect.
    here: String,
    /// The command that sends a first event to this server.
    curl: String,
    /// The paused functions.
    paused: Vec<(String, String)>,
    notice: Option<FormNotice>,
    any_filter: bool,
}

/// A row in the list of runs.
pub(super) struct RunRow {
    pub(super) id: RunId,
    pub(super) function: String,
    pub(super) status: Status,
    pub(super) created: ShownTime,
    pub(super) took: String,
    /// When a live run was created, in milliseconds. The script uses this time to update the
    /// elapsed time.
    pub(super) since: Option<i64>,
    pub(super) error: Option<String>,
}

impl RunRow {
    pub(super) fn from_summary(run: &RunSummary, now: Timestamp) -> Self {
        Self {
            id: run.run,
            function: run.function.to_string(),
            status: run.status,
            created: ShownTime::from_timestamp(run.created_at),
            took: format_duration(run.ended_at.unwrap_or(now).since(run.created_at)),
            since: run.ended_at.is_none().then(|| run.created_at.as_millis()),
            error: run.error.as_ref().map(|error| brief(&sentence(error), ERROR_BYTES)),
        }
    }
}

/// `GET /`: the list of runs.
pub(super) async fn runs_page(State(shared): State<SharedServerState>, request: PageRequest) -> Response {
    let search = match RunSearch::from_request(&request, shared.engine.now()) {
        Ok(search) => search,
        Err(problem) => return problem_page(&shared, &request.headers, &problem),
    };
    let SearchResult { found, meaning } = match search.run(&shared.engine).await {
        Ok(looked) => looked,
        Err(error) => return problem_page(&shared, &request.headers, &error.into()),
    };
    let paused = match shared.engine.functions().paused().await {
        Ok(paused) => paused,
        Err(error) => return problem_page(&shared, &request.headers, &error.into()),
    };
    let link = |id: &str| format!("/function{}", query_string([("id", id)]));
    let mut paused: Vec<_> = paused.keys().map(|id| (id.to_string(), link(id))).collect();
    paused.sort_unstable();
    let now = shared.engine.now();
    let here = search.link(&[]);
    let shell = PageShell::new(&shared, &request.headers, DashboardTab::Runs);
    let shell = match search.cursor {
        None => {
            let seen = fingerprint(&found.runs).to_string();
            shell.live(format!("/live/runs{}", search.link(&[("seen", &seen)]).trim_start_matches('/')))
        }
        Some(_) => shell,
    };
    let chosen = search.function.as_deref();
    let statuses = Status::ALL
        .map(|status| (status, search.status == Some(status), search.link(&[("status", &status.to_string()), NEWEST])));
    let page = RunsPage {
        shell,
        statuses: statuses.into(),
        every: search.link(&[("status", ""), NEWEST]),
        functions: shared
            .engine
            .functions()
            .snapshot()
            .specs()
            .map(|spec| (spec.id.to_string(), chosen == Some(&spec.id)))
            .collect(),
        spans: search::SPANS.map(|(word, name, _)| (word, name, search.within.as_deref() == Some(word))).into(),
        runs: found.runs.iter().map(|run| RunRow::from_summary(run, now)).collect(),
        meaning,
        older: found.cursor.map(|cursor| search.link(&[("cursor", &cursor.to_string())])),
        newest: search.cursor.map(|_| search.link(&[NEWEST])),
        here,
        curl: curl_example(&shared, &request.headers),
        paused,
        notice: FormNotice::from_request(&request),
        any_filter: search.has_filter(),
        search,
    };
    html_page(StatusCode::OK, &page)
}

/// Returns the command that sends a first event to this server, at the address that the browser
/// uses.
fn curl_example(shared: &SharedServerState, headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost:8288");
    let is_secure = headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    let scheme = if is_secure { "https" } else { "http" };
    let key = if shared.keys.is_empty() { "dev" } else { "YOUR_EVENT_KEY" };
    let snapshot = shared.engine.functions().snapshot();
    let name = snapshot.specs().flat_map(|spec| &spec.triggers).map(|trigger| trigger.event.clone()).next();
    let name = name.as_deref().unwrap_or("test/hello.world").replace(['\'', '"', '\\'], "");
    format!("curl -X POST {scheme}://{host}/e/{key} -d '{{\"name\":\"{name}\"}}'")
}

/// A change of the link's parameters that removes the cursor, so that the link leads to the first
/// page.
const NEWEST: (&str, &str) = ("cursor", "");

/// `GET /runs`: redirects to `/`, where the list is.
pub(super) async fn redirect_to_list(request: PageRequest) -> Response {
    Redirect::permanent(&format!("/{}", text::query_string(request.query.all()))).into_response()
}
