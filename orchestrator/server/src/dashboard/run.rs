//! The page of one run: its waterfall, its journal, and the run as it was after any entry.
//!
//! The page reads the run's journal, and those of at most [`MAX_CHILDREN`] runs that the run
//! called. The page shows a limited number of steps, marks, entries and bytes of values, and links
//! to the rest.

mod rows;
mod to_come;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use futures::future::join_all;
use stepladder_core::journal::{RunOrigin, Seq};
use stepladder_core::{RunId, Timestamp};
use stepladder_cost::RunCost;
use stepladder_engine::view::{RunDetail, StepStatus, StepView};
use stepladder_engine::{Engine, EngineError, RunAtEntry};

use self::rows::{ChildRow, LogRow, RowContext, StepRow};
use self::to_come::{NextAttempt, UpcomingAttempts};
use super::cost::FormattedCost;
use super::entries::EntryRow;
use super::json::indent_json;
use super::notice::FormNotice;
use super::runs::RunRow;
use super::scale::CompressedSpan;
use super::shell::{DashboardTab, PageShell};
use super::text::{ShownTime, brief, format_time_of_day, query_string};
use super::value::{PageByteBudget, ShownFailure, ShownValue, escaped_len};
use super::waterfall::Waterfall;
use super::{PageRequest, html_page, problem_page};
use crate::path::RunPath;
use crate::router::SharedServerState;

/// The maximum number of steps on a page.
const STEPS: usize = 60;
/// The maximum number of attempts that are drawn on a page, shared by all steps.
const ATTEMPTS: usize = 80;
/// The maximum number of journal entries on a page.
const ENTRIES: usize = 50;
/// The maximum number of called runs that are drawn with their steps.
const MAX_CHILDREN: usize = 5;
/// The maximum size of an input that the editor shows. If the editor is left empty, a larger input
/// is not changed.
pub(super) const EDITOR_BYTES: usize = 16 * 1024;
/// The maximum size of an error or an id in a list, in bytes.
const ERROR_BYTES: usize = 2_000;
/// The maximum total size of the names of the steps from which a rerun may start, in bytes.
const NAMES_BYTES: usize = 10 * 1024;
/// The maximum number of log lines on the page.
const LOGS: usize = 40;
/// The maximum number of handler errors on the page.
const HANDLER_ERRORS: usize = 10;

#[derive(Template)]
#[template(path = "run.html")]
struct RunPage {
    shell: PageShell,
    row: RunRow,
    error: Option<ShownFailure>,
    origin: Option<(&'static str, RunId)>,
    ended: Option<ShownTime>,
    waiting: Option<String>,
    event_id: String,
    event_name: String,
    event_data: ShownValue,
    sender_id: Option<String>,
    output: Option<ShownValue>,
    handler_errors: Vec<(ShownTime, ShownFailure)>,
    /// The next attempts of the handler, if it waits for a retry.
    next_attempts: Option<UpcomingAttempts>,
    /// The version of the function that the run uses.
    version: Option<String>,
    /// The latest log lines of the run.
    logs: Vec<LogRow>,
    all_logs: usize,
    cost: FormattedCost,
    axis: Vec<CompressedSpan>,
    steps: Vec<StepRow>,
    /// The number of all steps of the run.
    all_steps: usize,
    fewer: Option<String>,
    more: Option<String>,
    entries: Vec<EntryRow>,
    /// The number of all entries of the run.
    total: Seq,
    at: Seq,
    past: bool,
    previous: Option<Seq>,
    next: Option<Seq>,
    /// The names of the steps from which a rerun may start.
    names: Vec<String>,
    editor: String,
    registered: bool,
    notice: Option<FormNotice>,
}

/// `GET /runs/{id}`: the page of a run. With `at`, shows the run as it was after that many entries.
pub(super) async fn run_page(
    State(shared): State<SharedServerState>,
    path: Result<RunPath, crate::error::HttpProblem>,
    request: PageRequest,
) -> Response {
    let RunPath(run) = match path {
        Ok(path) => path,
        Err(problem) => return problem_page(&shared, &request.headers, &problem),
    };
    let places = request.query.number("at", "the number of an entry").and_then(|at: Option<Seq>| {
        let first = request.query.number("steps", "the number of a step, from 0")?;
        Ok((at, first.unwrap_or(0)))
    });
    let (at, first) = match places {
        Ok(places) => places,
        Err(problem) => return problem_page(&shared, &request.headers, &problem),
    };
    match load_page(&shared, run, at, first, &request).await {
        Ok(page) => html_page(StatusCode::OK, &page),
        Err(error) => problem_page(&shared, &request.headers, &error.into()),
    }
}

async fn load_page(
    shared: &SharedServerState,
    run: RunId,
    at: Option<Seq>,
    first: usize,
    request: &PageRequest,
) -> Result<RunPage, EngineError> {
    let engine = &shared.engine;
    let look = engine.query().run_at(run, at).await?;
    let RunAtEntry { detail, entries, total } = &look;
    let seen = entries.len() as Seq;
    let past = seen < *total;
    // a past state of the run is drawn as of the time of its latest entry
    let now = entries.last().filter(|_| past).map_or_else(|| engine.now(), |(_, entry)| entry.at);
    let end = detail.summary.ended_at.unwrap_or(now).max(detail.summary.created_at);
    let catalog = engine.functions().snapshot();
    let spec = catalog.spec(&detail.summary.function);
    let limits = spec.map_or(0, |spec| spec.concurrency.len());
    let first = if first < detail.steps.len() { first } else { 0 };
    let shown: Vec<(usize, &StepView)> = detail.steps.iter().enumerate().skip(first).take(STEPS).collect();
    let children = children(engine, &shown).await;
    let invoked: Vec<&StepView> = children.iter().flat_map(|(_, run)| ChildRow::drawn_steps(run)).collect();
    let waterfall = Waterfall::new(detail.summary.created_at, end, &detail.steps, &invoked);
    let mut budget = PageByteBudget::new();
    let event_data = budget.show(&detail.event.data, value_link(run, "event"));
    let output = detail.summary.output.as_deref().map(|output| budget.show(output, value_link(run, "output")));
    let attempts = (ATTEMPTS / shown.len().max(1)).clamp(1, 40);
    let retries = engine.functions().retries_of(&detail.summary.function);
    let context = RowContext { run, waterfall: &waterfall, attempts, now, retries: retries.as_ref() };
    let mut steps: Vec<StepRow> = shown.iter().map(|(n, step)| StepRow::of(*n, step, &context, &mut budget)).collect();
    for (n, child) in &children {
        if let Some(step) = steps.iter_mut().find(|step| step.n == *n) {
            step.children = ChildRow::all(child, &waterfall, &mut budget);
        }
    }
    let last = first + shown.len();
    let page_of = |steps: usize| {
        let (steps, at) = (steps.to_string(), at.map(|at| at.to_string()));
        let parts = [("at", at.as_deref()), ("steps", Some(&steps[..]))];
        query_string(parts.into_iter().filter_map(|(name, value)| Some((name, value?))))
    };
    let shell = PageShell::new(shared, &request.headers, DashboardTab::Runs);
    let live = detail.summary.ended_at.is_none();
    let shell = if live && !past { shell.live(format!("/live/runs/{run}?seen={total}")) } else { shell };
    Ok(RunPage {
        shell,
        row: RunRow::from_summary(&detail.summary, now),
        error: detail.summary.error.as_ref().map(|error| budget.show_failure(error, ERROR_BYTES)),
        origin: match detail.origin {
            RunOrigin::Event | RunOrigin::Cron => None,
            RunOrigin::Invoke { parent, .. } => Some(("Invoked by", parent)),
            RunOrigin::Failure { of } => Some(("Handles the failure of", of)),
            RunOrigin::Rerun { of } => Some(("A rerun of", of)),
        },
        ended: detail.summary.ended_at.map(ShownTime::from_timestamp),
        waiting: detail.waiting.clone().or_else(|| activity(&look).filter(|_| live && !past)),
        event_id: detail.event.id.to_string(),
        event_name: detail.event.name.to_string(),
        event_data,
        sender_id: detail.event.external_id.as_deref().map(str::to_owned),
        output,
        handler_errors: handler_errors(&detail.handler_errors, &mut budget),
        next_attempts: detail.handler_due.map(|due| {
            let failures = u32::try_from(detail.handler_errors.len()).unwrap_or(u32::MAX);
            UpcomingAttempts::of(
                retries.as_ref(),
                failures,
                NextAttempt { number: failures.saturating_add(1), due },
                attempts,
            )
        }),
        version: detail.version.as_deref().map(|version| brief(version, 120)),
        logs: latest_items(&detail.logs, LOGS).iter().map(|log| LogRow::of(log, &mut budget)).collect(),
        all_logs: detail.logs.len(),
        cost: FormattedCost::from_cost(&RunCost::of_journal(entries.iter().map(|(_, entry)| entry), limits)),
        axis: waterfall.compressed(),
        steps,
        all_steps: detail.steps.len(),
        fewer: (first > 0).then(|| page_of(first.saturating_sub(STEPS))),
        more: (last < detail.steps.len()).then(|| page_of(last)),
        entries: entry_rows(&look, past, &mut budget),
        total: *total,
        at: seen,
        past,
        previous: (seen > 1).then(|| seen - 1),
        next: past.then_some(seen + 1),
        names: model_names(&detail.steps),
        editor: match detail.event.data.get() {
            data if data.len() <= EDITOR_BYTES => indent_json(data),
            _ => String::new(),
        },
        registered: spec.is_some(),
        notice: FormNotice::from_request(request),
    })
}

/// Reads the first called runs, each with the number of the step that called it. A run that cannot
/// be read is omitted; the page still links to it.
async fn children(engine: &Engine, shown: &[(usize, &StepView)]) -> Vec<(usize, RunDetail)> {
    let invoked = shown.iter().filter_map(|(n, step)| Some((*n, step.child?))).take(MAX_CHILDREN);
    let looks = invoked.map(async |(n, child)| {
        let run = engine.query().run(child).await.ok()?;
        Some((n, run))
    });
    join_all(looks).await.into_iter().flatten().collect()
}

/// Describes what a live run is doing if it waits for nothing: it executes steps, or waits for a
/// worker.
fn activity(look: &RunAtEntry) -> Option<String> {
    let executes = |step: &&StepView| step.status == StepStatus::Running;
    let names: Vec<String> = look.detail.steps.iter().filter(executes).take(5).map(executing_step).collect();
    Some(match &names[..] {
        [] => "waits for a worker to process its wake".into(),
        _ => format!("executes {}", names.join(", ")),
    })
}

/// Describes an executing step, such as `` `a` (attempt 2, since 12:00:01)``.
fn executing_step(step: &StepView) -> String {
    let name = brief(&step.id, 100);
    match step.attempts.last() {
        Some(attempt) => {
            format!("`{name}` (attempt {}, since {})", attempt.attempt, format_time_of_day(attempt.started_at))
        }
        None => format!("`{name}`"),
    }
}

/// Returns the last `most` items of a list.
fn latest_items<T>(all: &[T], most: usize) -> &[T] {
    &all[all.len().saturating_sub(most)..]
}

fn handler_errors(
    errors: &[(Timestamp, stepladder_core::Failure)],
    budget: &mut PageByteBudget,
) -> Vec<(ShownTime, ShownFailure)> {
    latest_items(errors, HANDLER_ERRORS)
        .iter()
        .map(|(at, error)| (ShownTime::from_timestamp(*at), budget.show_failure(error, ERROR_BYTES)))
        .collect()
}

/// Returns the names of the first steps, at most [`NAMES_BYTES`] in total. To rerun from a later
/// step, a user needs the REST interface.
fn model_names(steps: &[StepView]) -> Vec<String> {
    let mut room = NAMES_BYTES;
    let fitting = steps.iter().take(STEPS).take_while(|step| {
        // the page contains each name twice: as a value and as a label
        let bytes = 2 * escaped_len(&step.id);
        let fits = bytes <= room;
        room = room.saturating_sub(bytes);
        fits
    });
    fitting.map(|step| step.id.to_string()).collect()
}

/// Returns the rows of the latest entries, newest first.
fn entry_rows(look: &RunAtEntry, past: bool, budget: &mut PageByteBudget) -> Vec<EntryRow> {
    let entries = latest_items(&look.entries, ENTRIES);
    let last = look.entries.last().map(|(seq, _)| *seq);
    entries
        .iter()
        .rev()
        .map(|(seq, entry)| EntryRow::from_entry(*seq, entry, past && Some(*seq) == last, budget))
        .collect()
}

/// Returns the path under which a value of a run can be read in full.
pub(super) fn value_link(run: RunId, of: &str) -> String {
    format!("/runs/{run}/value?of={of}")
}
