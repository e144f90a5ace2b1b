//! Actions on many runs: the selected ones, or all that match the search.
//!
//! Each action first shows how many runs it would change. All matching runs are changed page by
//! page: one request changes at most [`BATCH`], and its page sends the next request. No request
//! takes long, and a closed page stops the action.

use askama::Template;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, StreamExt};
use stepladder_core::{RunId, Timestamp};
use stepladder_engine::{EngineError, RerunOptions, RunFilter};

use super::search::RunSearch;
use super::{PAGE, RunRow};
use crate::dashboard::act::CANCEL_REASON;
use crate::dashboard::form::{FORM_BYTES, FormFields};
use crate::dashboard::notice::{FormResult, count_of, shown_count};
use crate::dashboard::shell::{DashboardTab, PageShell, is_local};
use crate::dashboard::{PageRequest, html_page, problem_page};
use crate::error::HttpProblem;
use crate::guard::inputs::{QueryParameters, decode_pairs};
use crate::router::SharedServerState;

/// The number of runs that one request changes.
const BATCH: usize = 100;
/// The number of runs that are changed concurrently.
const PARALLEL_RUNS: usize = 8;
/// The maximum number of runs that are counted before an action.
const COUNTED: usize = 10_000;
/// The fields of the form.
const FIELDS: [&str; 9] = ["back", "do", "run", "sure", "cursor", "until", "done", "ended", "missed"];

/// What a form does with runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RunAction {
    Cancel,
    Rerun,
}

/// A form that changes runs.
struct BulkForm {
    action: RunAction,
    /// Whether all matching runs are changed, not the selected ones.
    is_all: bool,
    is_sure: bool,
    back: String,
    selected: Vec<String>,
    cursor: Option<RunId>,
    /// The time of the question. Later runs are not changed.
    until: Timestamp,
    progress: Progress,
}

/// The result so far.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    done: u32,
    ended: u32,
    missed: u32,
}

#[derive(Template)]
#[template(path = "bulk.html")]
struct BulkPage {
    shell: PageShell,
    title: String,
    /// What the action does, as a sentence.
    effect: &'static str,
    word: &'static str,
    button: String,
    is_danger: bool,
    back: String,
    fields: Vec<(&'static str, String)>,
    selected: Vec<String>,
    runs: Vec<RunRow>,
    /// The number of runs that are not listed.
    more: usize,
    /// The result so far, if the action has begun.
    progress: Option<String>,
}

enum BulkAnswer {
    /// The result, the address of the page that shows it, and the created runs, which can be
    /// cancelled.
    Done(FormResult, String, Vec<RunId>),
    Page(Box<BulkPage>),
}

/// `POST /runs`: cancels or reruns the selected runs, or all that match, after a question.
pub(in crate::dashboard) async fn act_on_runs(
    State(shared): State<SharedServerState>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match answer(&shared, &headers, body).await {
        Ok(BulkAnswer::Done(result, to, created)) => result.redirect_with(&to, &created),
        Ok(BulkAnswer::Page(page)) => html_page(StatusCode::OK, &*page).into_response(),
        Err(problem) => problem_page(&shared, &headers, &problem),
    }
}

async fn answer(shared: &SharedServerState, headers: &HeaderMap, body: Body) -> Result<BulkAnswer, HttpProblem> {
    let form = BulkForm::read(shared, body).await?;
    match (form.is_all, form.is_sure) {
        (false, _) if form.selected.is_empty() => Ok(BulkAnswer::Done(FormResult::NoneSelected, form.back, Vec::new())),
        (false, false) => ask_about_selected(shared, headers, form).await,
        (false, true) => change_selected(shared, form).await,
        (true, false) => ask_about_all(shared, headers, form).await,
        (true, true) => change_all(shared, headers, form).await,
    }
}

impl BulkForm {
    async fn read(shared: &SharedServerState, body: Body) -> Result<Self, HttpProblem> {
        let fields = FormFields::read(shared, body, FORM_BYTES, &FIELDS).await?;
        let (action, is_all) = match fields.get("do") {
            "cancel" => (RunAction::Cancel, false),
            "rerun" => (RunAction::Rerun, false),
            "cancel-all" => (RunAction::Cancel, true),
            "rerun-all" => (RunAction::Rerun, true),
            other => {
                let sentence = format!("`do` is `{other}`; use cancel, rerun, cancel-all or rerun-all");
                return Err(HttpProblem::bad_request(sentence));
            }
        };
        let selected: Vec<String> = fields.all("run").map(str::to_owned).collect();
        if selected.len() > PAGE {
            let sentence = format!("{} runs are selected; a page has at most {PAGE}", selected.len());
            return Err(HttpProblem::bad_request(sentence));
        }
        let now = shared.engine.now();
        let until = number(&fields, "until")?.and_then(|millis| i64::try_from(millis).ok());
        let cursor = match fields.get("cursor") {
            "" => None,
            text => Some(text.parse().map_err(|_| HttpProblem::bad_request("`cursor` is not the id of a run"))?),
        };
        let count =
            |name| Ok::<_, HttpProblem>(number(&fields, name)?.and_then(|n| u32::try_from(n).ok()).unwrap_or(0));
        Ok(Self {
            action,
            is_all,
            is_sure: fields.get("sure") == "yes",
            back: Some(fields.get("back")).filter(|back| is_local(back)).unwrap_or("/").to_owned(),
            selected,
            cursor,
            until: until.map_or(now, Timestamp::from_millis).min(now),
            progress: Progress { done: count("done")?, ended: count("ended")?, missed: count("missed")? },
        })
    }

    /// Returns the filter of the list from which the form was sent. For a rerun, it selects ended
    /// runs, otherwise live ones.
    fn filter(&self, shared: &SharedServerState) -> Result<RunFilter, HttpProblem> {
        let query = self.back.split_once('?').map_or("", |(_, query)| query);
        let query = QueryParameters::new(decode_pairs(query, "`back`")?);
        let request = PageRequest { headers: HeaderMap::new(), query };
        let search = RunSearch::from_request(&request, self.until)?;
        let few = || HttpProblem::bad_request("this search finds single runs; select them in the list");
        let (filter, _) = search.indexed(&shared.engine, true).ok_or_else(few)?;
        let is_rerun = self.action == RunAction::Rerun;
        // the id of a run may be as late as its event's time, which may be in the future
        Ok(RunFilter { live: !is_rerun, ended: is_rerun, cursor: None, inputs: false, ..filter })
    }

    fn is_possible(&self, filter: &RunFilter) -> bool {
        match self.action {
            RunAction::Cancel => filter.status.is_none_or(|status| !status.is_end()),
            RunAction::Rerun => filter.status.is_none_or(|status| status.is_end()) && filter.activity.is_none(),
        }
    }

    fn page(self, shared: &SharedServerState, headers: &HeaderMap, title: String, button: String) -> Box<BulkPage> {
        let is_danger = self.action == RunAction::Cancel;
        let Progress { done, ended, missed } = self.progress;
        Box::new(BulkPage {
            shell: PageShell::new(shared, headers, DashboardTab::Runs),
            title,
            effect: match self.action {
                RunAction::Cancel => {
                    "This cannot be undone: a cancelled run cannot be continued, only run again as a new run. A step that is running now ends, but its result is not recorded."
                }
                RunAction::Rerun => {
                    "Each run starts again as a new run with the same input. Its steps run again, and may pay for their calls again."
                }
            },
            word: match (self.action, self.is_all) {
                (RunAction::Cancel, false) => "cancel",
                (RunAction::Cancel, true) => "cancel-all",
                (RunAction::Rerun, false) => "rerun",
                (RunAction::Rerun, true) => "rerun-all",
            },
            button,
            is_danger,
            back: self.back,
            fields: vec![
                ("cursor", self.cursor.map_or_else(String::new, |run| run.to_string())),
                ("until", self.until.as_millis().to_string()),
                ("done", done.to_string()),
                ("ended", ended.to_string()),
                ("missed", missed.to_string()),
            ],
            selected: self.selected,
            runs: Vec::new(),
            more: 0,
            progress: None,
        })
    }

    fn verb(&self) -> &'static str {
        if self.action == RunAction::Cancel { "Cancel" } else { "Rerun" }
    }

    fn result(&self) -> FormResult {
        let Progress { done, ended, missed } = self.progress;
        match self.action {
            _ if self.is_all && done + ended + missed == 0 => FormResult::NoneMatched,
            RunAction::Cancel => FormResult::Cancelled { done, ended, missed },
            RunAction::Rerun => FormResult::Rerun { done, missed },
        }
    }
}

fn number(fields: &FormFields, name: &str) -> Result<Option<u64>, HttpProblem> {
    let fault = |text: &str| HttpProblem::bad_request(format!("`{name}` is `{text}`; use a number"));
    Some(fields.get(name)).filter(|text| !text.is_empty()).map(|text| text.parse().map_err(|_| fault(text))).transpose()
}

async fn ask_about_selected(
    shared: &SharedServerState,
    headers: &HeaderMap,
    form: BulkForm,
) -> Result<BulkAnswer, HttpProblem> {
    let now = shared.engine.now();
    let mut runs = Vec::new();
    for run in form.selected.iter().filter_map(|run| run.parse().ok()) {
        runs.extend(shared.engine.query().listed_run(run).await?.map(|run| RunRow::from_summary(&run, now)));
    }
    let title = format!("{} {}?", form.verb(), count_of(shown_count(form.selected.len()), "run"));
    let button = title.trim_end_matches('?').to_owned();
    let mut page = form.page(shared, headers, title, button);
    page.runs = runs;
    Ok(BulkAnswer::Page(page))
}

async fn ask_about_all(
    shared: &SharedServerState,
    headers: &HeaderMap,
    form: BulkForm,
) -> Result<BulkAnswer, HttpProblem> {
    let filter = form.filter(shared)?;
    if !form.is_possible(&filter) {
        return Ok(BulkAnswer::Done(FormResult::NoneMatched, form.back, Vec::new()));
    }
    let query = shared.engine.query();
    let counted = query.count(&filter, COUNTED).await?;
    // without journals, these live runs cannot be told from the others
    let is_bound = filter.activity.is_some() || filter.status.is_some_and(|status| !status.is_end());
    let first = query.runs(RunFilter { limit: Some(10), ..filter }).await?.runs;
    if counted == 0 {
        return Ok(BulkAnswer::Done(FormResult::NoneMatched, form.back, Vec::new()));
    }
    let number = match (counted >= COUNTED, is_bound) {
        (true, _) => format!("more than {COUNTED} runs"),
        (false, true) => format!("up to {}", count_of(shown_count(counted), "run")),
        (false, false) => count_of(shown_count(counted), "run"),
    };
    let title = format!("{} all matching runs: {number}?", form.verb());
    let button = format!("{} {number}", form.verb());
    let now = shared.engine.now();
    let mut page = form.page(shared, headers, title, button);
    page.more = if is_bound { 0 } else { counted.saturating_sub(first.len()) };
    page.runs = first.iter().map(|run| RunRow::from_summary(run, now)).collect();
    Ok(BulkAnswer::Page(page))
}

async fn change_selected(shared: &SharedServerState, mut form: BulkForm) -> Result<BulkAnswer, HttpProblem> {
    let runs: Vec<RunId> = form.selected.iter().filter_map(|run| run.parse().ok()).collect();
    form.progress = Progress { missed: shown_count(form.selected.len() - runs.len()), ..Progress::default() };
    let created = change(shared, &mut form, &runs).await?;
    Ok(BulkAnswer::Done(form.result(), form.back, created))
}

async fn change_all(
    shared: &SharedServerState,
    headers: &HeaderMap,
    mut form: BulkForm,
) -> Result<BulkAnswer, HttpProblem> {
    let filter = RunFilter { cursor: form.cursor, limit: Some(BATCH), ..form.filter(shared)? };
    if !form.is_possible(&filter) {
        return Ok(BulkAnswer::Done(FormResult::NoneMatched, form.back, Vec::new()));
    }
    let page = shared.engine.query().runs(filter).await?;
    let until = form.until;
    let runs: Vec<RunId> = page.runs.iter().filter(|run| run.created_at <= until).map(|run| run.run).collect();
    change(shared, &mut form, &runs).await?;
    form.cursor = page.cursor;
    if form.cursor.is_none() {
        return Ok(BulkAnswer::Done(form.result(), form.back, Vec::new()));
    }
    let Progress { done, ended, missed } = form.progress;
    let so_far = match form.action {
        RunAction::Cancel => {
            format!("{} cancelled, {ended} had already ended, {missed} failed.", count_of(done, "run"))
        }
        RunAction::Rerun => format!("{} rerun, {missed} failed to start.", count_of(done, "run")),
    };
    let title = if form.action == RunAction::Cancel { "Cancelling runs" } else { "Rerunning runs" };
    let mut next = form.page(shared, headers, title.into(), "Continue".into());
    next.progress = Some(so_far);
    Ok(BulkAnswer::Page(next))
}

/// Changes runs, and adds the results to the progress. Returns the runs that were created.
async fn change(shared: &SharedServerState, form: &mut BulkForm, runs: &[RunId]) -> Result<Vec<RunId>, HttpProblem> {
    // a cancellation is never refused because of load
    let mut admitted = None;
    if form.action == RunAction::Rerun {
        admitted.insert(shared.intake.admit(&shared.engine)?).reserve(runs.len())?;
    }
    let (action, control) = (form.action, shared.engine.control());
    let each = runs.iter().map(|run| async move {
        match action {
            RunAction::Cancel => control.cancel(*run, CANCEL_REASON).await.map(|how| (how.is_new, None)),
            RunAction::Rerun => control.rerun(*run, RerunOptions::default()).await.map(|new| (true, Some(new))),
        }
    });
    let each: Vec<_> = each.collect();
    let results: Vec<Result<_, EngineError>> = stream::iter(each).buffered(PARALLEL_RUNS).collect().await;
    let mut created = Vec::new();
    for result in results {
        match result {
            Ok((true, run)) => {
                form.progress.done += 1;
                created.extend(run);
            }
            Ok((false, _)) => form.progress.ended += 1,
            Err(error) => {
                tracing::warn!(%error, "a run of a bulk action was not changed");
                form.progress.missed += 1;
            }
        }
    }
    Ok(created)
}
