//! Runs: the list with its filters, and the forms for several runs at the same time.
//!
//! The page is a [quick](stepladder_engine::ListingDepth::Quick) listing: it reads at most
//! [`MAX_ROWS_READ`](stepladder_engine::MAX_ROWS_READ) rows per function, however many are stored.

mod activity;
mod bulk;
mod errors;
mod search;

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Redirect, Response};
use stepladder_core::{Label, RunId, Status, Timestamp};
use stepladder_engine::view::RunSummary;
use stepladder_engine::{ActivityKind, COUNTED_LIVE_RUNS, StatusCounts};

pub(super) use self::activity::ShownActivity;
pub(super) use self::bulk::act_on_runs;
pub(super) use self::search::RunSearch;
use self::search::{Doing, SearchResult};
use super::live::fingerprint;
use super::notice::FormNotice;
use super::shell::{DashboardTab, PageShell};
use super::text::{self, ShownTime, brief, format_duration, query_string, sentence};
use super::{PageRequest, changed_page, problem_page};
use crate::router::SharedServerState;

/// The number of runs on a page.
pub(super) const PAGE: usize = 50;
/// The maximum size of an error in the list, in bytes.
const ERROR_BYTES: usize = 300;
/// The maximum size of the preview of an input, in bytes.
const PREVIEW_BYTES: usize = 160;
/// The maximum size of the value of a label in the list, in bytes.
const LABEL_BYTES: usize = 60;

#[derive(Template)]
#[template(path = "runs.html")]
struct RunsPage {
    shell: PageShell,
    search: RunSearch,
    /// The statuses to filter by.
    pills: Vec<StatusPill>,
    /// The number of the newest runs that the counts are about, if there are more.
    counted: Option<usize>,
    /// The groups of failed runs with the same error: text, number of runs and link.
    errors: Vec<(String, usize, String)>,
    /// Whether the search selects runs by an index, so that all of them can be changed at once.
    is_bulk: bool,
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

/// A status to filter by.
struct StatusPill {
    name: String,
    class: String,
    link: String,
    is_current: bool,
    count: Option<usize>,
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
    /// What a live run is doing, if it is known.
    pub(super) activity: Option<ShownActivity>,
    /// The beginning of the run's input, if it was read.
    pub(super) input: Option<String>,
    /// The labels: key, value, and the link to the runs with the same label.
    pub(super) labels: Vec<(String, String, String)>,
}

fn shown_label(label: &Label) -> (String, String, String) {
    let text = format!("{}:{}", label.key, label.value);
    let link = format!("/{}", query_string([("q", &text[..])]));
    (label.key.to_string(), brief(&label.value, LABEL_BYTES), link)
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
            activity: run.activity.as_ref().map(ShownActivity::from_activity),
            input: run.input.as_ref().map(|input| input.get()).filter(|input| *input != "{}").map(preview),
            labels: run.labels.iter().map(shown_label).collect(),
        }
    }
}

/// Returns the beginning of an input on one line.
fn preview(input: &str) -> String {
    let start = text::truncate(input, 4 * PREVIEW_BYTES);
    let line: String = start.split_whitespace().collect::<Vec<_>>().join(" ");
    let cut = brief(&line, PREVIEW_BYTES);
    if start.len() < input.len() && !cut.ends_with('…') { format!("{cut}…") } else { cut }
}

/// `GET /`: the list of runs.
pub(super) async fn runs_page(State(shared): State<SharedServerState>, request: PageRequest) -> Response {
    let search = match RunSearch::from_request(&request, shared.engine.now()) {
        Ok(search) => search,
        Err(problem) => return problem_page(&shared, &request.headers, &problem),
    };
    let counts = async {
        match search.text.is_empty() && search.error.is_empty() {
            true => shared.engine.query().status_counts(&search.filter()).await,
            false => Ok(None),
        }
    };
    let (result, counts) = tokio::join!(search.run(&shared.engine, true), counts);
    let (SearchResult { found, meaning, errors, is_bulk }, counts) = match result.and_then(|r| Ok((r, counts?))) {
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
    let counted = counts.as_ref().and_then(|counts| counts.newest);
    let link = |key: &str| search.link(&[("error", key), ("status", "Failed"), ("doing", ""), NEWEST]);
    let page = RunsPage {
        shell,
        pills: status_pills(&search, counts.as_ref()),
        counted,
        errors: errors.into_iter().map(|group| (group.key.clone(), group.runs, link(&group.key))).collect(),
        is_bulk,
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
    changed_page(&request.headers, &page)
}

/// Returns the statuses to filter by. If the store counts runs, a status of which there are none is
/// left out, unless it is selected or an end.
fn status_pills(search: &RunSearch, counts: Option<&StatusCounts>) -> Vec<StatusPill> {
    let count = |status| counts.map(|counts| sum(counts.by_status.iter().filter(|(of, _)| *of == status)));
    let total = counts.map(|counts| sum(counts.by_status.iter()));
    let is_any = search.status.is_none() && search.doing.is_none();
    let pill = |name: &str, class: &str, change: [(&str, &str); 2], is_current, count| StatusPill {
        name: name.to_owned(),
        class: class.to_owned(),
        link: search.link(&[change[0], change[1], ("error", ""), NEWEST]),
        is_current,
        count,
    };
    let doing = |word: &str, class: &str, what: Doing, count| {
        pill(word, class, [("doing", &word.to_lowercase()), ("status", "")], search.doing == Some(what), count)
    };
    let mut pills = vec![
        pill("All", "", [("doing", ""), ("status", "")], is_any, total),
        doing("Live", "Running", Doing::Live, count(Status::Running)),
    ];
    for kind in ActivityKind::ALL {
        let n = counts.map(|counts| sum(counts.by_activity.iter().filter(|(of, _)| *of == kind)));
        let is_usual = !matches!(kind, ActivityKind::Paused | ActivityKind::Unreachable | ActivityKind::Delayed);
        if search.doing == Some(Doing::Activity(kind)) || n.map_or(is_usual, |n| n > 0) {
            // only some of the live runs are counted by what they do
            let n = n.filter(|_| count(Status::Running).is_some_and(|live| live <= COUNTED_LIVE_RUNS));
            pills.push(doing(&kind.to_string(), class_of(kind), Doing::Activity(kind), n));
        }
    }
    for status in Status::ALL.into_iter().filter(|status| status.is_end() || search.status == Some(*status)) {
        let name = status.to_string();
        let n = if status.is_end() { count(status) } else { None };
        pills.push(pill(&name, &name, [("status", &name), ("doing", "")], search.status == Some(status), n));
    }
    pills
}

fn sum<'a, T: 'a>(counts: impl Iterator<Item = &'a (T, usize)>) -> usize {
    counts.map(|(_, n)| n).sum()
}

/// Returns the CSS class of a kind of activity.
fn class_of(kind: ActivityKind) -> &'static str {
    match kind {
        ActivityKind::Queued => "Queued",
        ActivityKind::Running => "Running",
        ActivityKind::Retrying | ActivityKind::Unreachable => "Retrying",
        ActivityKind::Sleeping => "Sleeping",
        ActivityKind::Awaiting | ActivityKind::Paused => "Awaiting",
        ActivityKind::Calling => "Invoking",
        ActivityKind::Delayed => "Scheduled",
    }
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
