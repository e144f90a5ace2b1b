//! The page of one run: its timeline with the selected step, its journal, and the run as it was
//! after any entry.
//!
//! The page reads the run's journal, those of at most [`MAX_CHILDREN`] runs that the run called,
//! and those of the runs that [`related_runs`] finds. It shows a limited number of rows, entries
//! and bytes of values, and links to the rest.

mod address;
pub(super) mod answer;
mod answer_text;
pub(super) mod compare;
mod journal;
mod now;
mod relations;
mod rows;
mod steps;
mod to_come;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use futures::future::join_all;
use stepladder_core::journal::Seq;
use stepladder_core::{OwnStep, RunId, Status};
use stepladder_cost::RunCost;
use stepladder_engine::view::{RunDetail, StepStatus, StepView};
use stepladder_engine::{Engine, EngineError, RunAtEntry};

use self::address::{RunAddress, ZoomLinks};
use self::journal::{entry_rows, handler_errors, latest_items, step_names};
use self::now::{Activity, AnswerForm};
use self::relations::{RelatedRun, related_runs};
use self::rows::{DetailContext, LogRow, StepDetail, step_name};
use self::steps::{ListContext, StepList, drawn_steps};
use self::to_come::{NextAttempt, UpcomingAttempts};
use super::cost::FormattedCost;
use super::entries::EntryRow;
use super::json::indent_json;
use super::notice::FormNotice;
use super::runs::RunRow;
use super::scale::{ScaleBreak, ScaleTick};
use super::shell::{DashboardTab, PageShell};
use super::text::{ShownTime, brief, sentence};
use super::value::{PageByteBudget, ShownFailure, ShownValue};
use super::waterfall::{RunOverview, Waterfall, WaterfallTime};
use super::{PageRequest, changed_page, problem_page};
use crate::path::RunPath;
use crate::router::SharedServerState;

/// The maximum number of attempts that are drawn on a page, shared by all rows.
const ATTEMPTS: usize = 400;
/// The maximum number of called runs that are drawn with their steps.
const MAX_CHILDREN: usize = 5;
/// The maximum size of an input that the editor shows. If the editor is left empty, a larger input
/// is not changed.
pub(super) const EDITOR_BYTES: usize = 16 * 1024;
/// The maximum size of an error, in bytes.
const ERROR_BYTES: usize = 4_000;
/// The maximum number of log lines on the page.
const LOGS: usize = 40;
/// The minimum number of steps for which the page shows a picture of the whole run.
const OVERVIEW_STEPS: usize = 12;

#[derive(Template)]
#[template(path = "run.html")]
struct RunPage {
    shell: PageShell,
    row: RunRow,
    error: Option<ShownFailure>,
    /// The step whose error ended the run, with the link to it.
    failed_step: Option<(String, String)>,
    related: Vec<RelatedRun>,
    ended: Option<ShownTime>,
    /// What the run waits for, apart from its steps.
    waiting: Option<String>,
    activity: Activity,
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
    address: RunAddress,
    breaks: Vec<ScaleBreak>,
    ticks: Vec<ScaleTick>,
    overview: Option<RunOverview>,
    zoom: ZoomLinks,
    list: StepList,
    /// The links to the first failed and to the slowest step.
    first_failed: Option<String>,
    slowest: Option<String>,
    switch_scale: String,
    switch_groups: String,
    step: Option<StepDetail>,
    /// The number of all steps of the run.
    all_steps: usize,
    entries: Vec<EntryRow>,
    /// The number of all entries of the run.
    total: Seq,
    at: Seq,
    past: bool,
    previous: Option<Seq>,
    next: Option<Seq>,
    /// The names of the steps from which a rerun may start, each with whether it is selected.
    names: Vec<(String, bool)>,
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
    let address = match RunAddress::from_request(&request) {
        Ok(address) => address,
        Err(problem) => return problem_page(&shared, &request.headers, &problem),
    };
    match load_page(&shared, run, address, &request).await {
        Ok(page) => changed_page(&request.headers, &page),
        Err(error) => problem_page(&shared, &request.headers, &error.into()),
    }
}

async fn load_page(
    shared: &SharedServerState,
    run: RunId,
    address: RunAddress,
    request: &PageRequest,
) -> Result<RunPage, EngineError> {
    let engine = &shared.engine;
    let look = engine.query().run_at(run, address.at).await?;
    let RunAtEntry { detail, entries, total } = &look;
    let summary = &detail.summary;
    let seen = entries.len() as Seq;
    let past = seen < *total;
    // a past state of the run is drawn as of the time of its latest entry
    let now = entries.last().filter(|_| past).map_or_else(|| engine.now(), |(_, entry)| entry.at);
    let live = summary.ended_at.is_none() && !past;
    let catalog = engine.functions().snapshot();
    let spec = catalog.spec(&summary.function);
    let limits = spec.map_or(0, |spec| spec.concurrency.len());
    let retries = engine.functions().retries_of(&summary.function);
    let selected = address.step.filter(|n| *n < detail.steps.len()).or_else(|| default_step(detail));
    let mut budget = PageByteBudget::new();
    let error = summary.error.as_ref().map(|error| budget.show_failure(error, ERROR_BYTES));
    let event_data = budget.show(&detail.event.data, value_link(run, "event"));
    let output = summary.output.as_deref().map(|output| budget.show(output, value_link(run, "output")));
    let can_rerun =
        spec.is_some() && detail.steps.iter().all(|step| OwnStep::from_id(&step.id) != Some(OwnStep::Compensation));
    let run_error = summary.error.as_ref();
    let context = DetailContext { run, now, run_error, retries: retries.as_ref(), can_rerun };
    let step = selected.map(|n| StepDetail::of(n, &detail.steps[n], &context, &mut budget));
    let children = children(engine, &detail.steps).await;
    let invoked: Vec<&StepView> = children.iter().flat_map(|(_, run)| drawn_steps(run)).collect();
    let time = WaterfallTime {
        kind: address.scale(),
        begin: summary.created_at,
        end: summary.ended_at.unwrap_or(now).max(summary.created_at),
        is_live: live,
        zoom: address.zoom,
    };
    let waterfall = Waterfall::new(&time, &detail.steps, &invoked);
    let attempts = (ATTEMPTS / detail.steps.len().clamp(1, steps::WINDOW)).clamp(1, 40);
    let context = ListContext { address: &address, waterfall: &waterfall, now, selected, attempts };
    let mut list = StepList::of(detail, &context, &mut budget);
    list.add_children(&children, &waterfall, &mut budget);
    let shell = PageShell::new(shared, &request.headers, DashboardTab::Runs);
    let shell = if live { shell.live(format!("/live/runs/{run}?seen={total}")) } else { shell };
    let activity = if live { Activity::of(detail, &address, retries.as_ref()) } else { Activity::default() };
    Ok(RunPage {
        shell,
        row: RunRow::from_summary(summary, now),
        error,
        failed_step: failed_step(detail).map(|n| {
            let name = brief(&step_name(&detail.steps[n]).0, 120);
            (name, format!("{}#step", address.of_step(n)))
        }),
        related: related_runs(engine, detail).await,
        ended: summary.ended_at.map(ShownTime::from_timestamp),
        waiting: general_wait(detail, live && activity.rows.is_empty()),
        activity,
        event_id: detail.event.id.to_string(),
        event_name: detail.event.name.to_string(),
        event_data,
        sender_id: detail.event.external_id.as_deref().map(str::to_owned),
        output,
        handler_errors: handler_errors(&detail.handler_errors, &mut budget),
        next_attempts: detail.handler_due.map(|due| {
            let failures = u32::try_from(detail.handler_errors.len()).unwrap_or(u32::MAX);
            let next = NextAttempt { number: failures.saturating_add(1), due };
            UpcomingAttempts::of(retries.as_ref(), failures, next, 8)
        }),
        version: detail.version.as_deref().map(|version| brief(version, 120)),
        logs: latest_items(&detail.logs, LOGS).iter().map(|log| LogRow::of(log, &mut budget)).collect(),
        all_logs: detail.logs.len(),
        cost: FormattedCost::from_cost(&RunCost::of_journal(entries.iter().map(|(_, entry)| entry), limits)),
        breaks: waterfall.scale.breaks(live && address.zoom.is_none()),
        ticks: waterfall.scale.ticks(),
        overview: (detail.steps.len() >= OVERVIEW_STEPS).then(|| RunOverview::of(&time, &detail.steps)),
        zoom: ZoomLinks::of(&address, time.length()),
        list,
        first_failed: detail
            .steps
            .iter()
            .position(|step| step.status == StepStatus::Failed)
            .map(|n| address.of_step(n)),
        slowest: slowest_step(detail, now).map(|n| address.of_step(n)),
        switch_scale: address.with(|address| address.is_true_scale = !address.is_true_scale).link(),
        switch_groups: address.with(|address| (address.is_grouped, address.first) = (!address.is_grouped, None)).link(),
        step,
        all_steps: detail.steps.len(),
        entries: entry_rows(&look, past, &mut budget),
        total: *total,
        at: seen,
        past,
        previous: (seen > 1).then(|| seen - 1),
        next: past.then_some(seen + 1),
        names: step_names(&detail.steps, selected.filter(|_| address.step.is_some())),
        editor: match detail.event.data.get() {
            data if data.len() <= EDITOR_BYTES => indent_json(data),
            _ => String::new(),
        },
        registered: spec.is_some(),
        notice: FormNotice::from_request(request),
        address,
    })
}

/// Describes what a live run waits for, apart from what its steps do.
fn general_wait(run: &RunDetail, is_idle: bool) -> Option<String> {
    let of_run = run.waiting.clone().filter(|_| !run.waits_in_step);
    of_run.or_else(|| is_idle.then(|| "waits for a worker to process its wake".to_owned()))
}

/// Returns the step whose error is the error of the run.
fn failed_step(run: &RunDetail) -> Option<usize> {
    let error = sentence(run.summary.error.as_ref().filter(|_| run.summary.status == Status::Failed)?);
    run.steps.iter().rposition(|step| step.error.as_ref().is_some_and(|failure| error.starts_with(&sentence(failure))))
}

/// Returns the step that is selected if the address selects none: the one that failed the run, or
/// one on which a person can act, or else the last one.
fn default_step(run: &RunDetail) -> Option<usize> {
    let of = |status: StepStatus| run.steps.iter().position(|step| step.status == status);
    if run.summary.ended_at.is_some() {
        return failed_step(run).or_else(|| of(StepStatus::Failed)).or_else(|| run.steps.len().checked_sub(1));
    }
    of(StepStatus::Awaiting)
        .or_else(|| of(StepStatus::Retrying))
        .or_else(|| of(StepStatus::Sleeping))
        .or(Some(0))
        .filter(|n| *n < run.steps.len())
}

fn slowest_step(run: &RunDetail, now: stepladder_core::Timestamp) -> Option<usize> {
    let took = |step: &StepView| step.ended_at.unwrap_or(now).since(step.started_at);
    (run.steps.len() > 1).then(|| (0..run.steps.len()).max_by_key(|n| took(&run.steps[*n])))?
}

/// Reads the first called runs, each with the number of the step that called it. A run that cannot
/// be read is omitted; the page still links to it.
async fn children(engine: &Engine, steps: &[StepView]) -> Vec<(usize, RunDetail)> {
    let invoked = steps.iter().enumerate().filter_map(|(n, step)| Some((n, step.child?))).take(MAX_CHILDREN);
    let looks = invoked.map(async |(n, child)| {
        let run = engine.query().run(child).await.ok()?;
        Some((n, run))
    });
    join_all(looks).await.into_iter().flatten().collect()
}

/// Returns the path under which a value of a run can be read in full.
pub(super) fn value_link(run: RunId, of: &str) -> String {
    format!("/runs/{run}/value?of={of}")
}
