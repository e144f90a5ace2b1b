//! Functions: the list, and the page of one function with its triggers, its limits and its latest
//! runs.
//!
//! The list reads the newest [`STRIP`] rows of each of the first [`STRIP_FUNCTIONS`] functions. The
//! page of a function reads its newest [`HISTORY`] rows. For the times of steps, it also reads the
//! journals of at most [`TIMED`] ended runs. For the wait queues, it reads the journals of live
//! runs.

mod history;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use futures::future::join_all;
use stepladder_core::{Json, RunId, Spec, Status, Timestamp};
use stepladder_engine::{Engine, EngineError};

use self::history::{RunHistoryChart, StepTimes, chart_runs, time_steps};
use super::apps::app_of;
use super::json::indent_json;
use super::notice::FormNotice;
use super::run::EDITOR_BYTES;
use super::runs::RunRow;
use super::shell::{DashboardTab, PageShell};
use super::text::{ShownTime, brief, format_duration, query_string};
use super::trends::{self, Chart, TrendRow};
use super::{PageRequest, html_page, problem_page};
use crate::error::HttpProblem;
use crate::router::SharedServerState;

/// The number of newest runs in each row of the list.
const STRIP: usize = 20;
/// The maximum number of functions in the list for which the newest runs are shown.
const STRIP_FUNCTIONS: usize = 50;
/// The maximum number of runs that are counted on the page of a function.
const HISTORY: usize = 300;
/// The maximum number of ended runs with timed steps.
const TIMED: usize = 30;
/// The maximum number of runs that are listed on the page of a function.
const LISTED: usize = 10;

/// A row in the list of functions.
struct FunctionRow {
    id: String,
    link: String,
    runs_link: String,
    triggers: Vec<String>,
    retries: u32,
    /// The names of errors that are not retried, as a list for people; empty if there are none.
    non_retryable: String,
    timeout: String,
    limits: Vec<String>,
    on_failure: Option<String>,
    /// The newest runs of the function, oldest first: status and id of each.
    strip: Vec<(Status, RunId)>,
    /// When the function was paused; `None` if it is not paused.
    paused: Option<ShownTime>,
}

impl FunctionRow {
    fn from_spec(spec: &Spec, strip: Vec<(Status, RunId)>, paused: Option<Timestamp>) -> Self {
        let triggers = spec.triggers.iter().map(|trigger| match &trigger.condition {
            None => trigger.event.to_string(),
            Some(condition) => format!("{} if {}", trigger.event, condition.source()),
        });
        let ticks = spec.schedule.lines.iter().map(|line| format!("cron {line}"));
        let limits = spec.concurrency.iter().map(ToString::to_string).chain(spec.describe_flow());
        Self {
            id: spec.id.to_string(),
            link: format!("/function{}", query_string([("id", &*spec.id)])),
            runs_link: format!("/{}", query_string([("function", &*spec.id)])),
            triggers: triggers.chain(ticks).collect(),
            retries: spec.retry.retries,
            non_retryable: spec.retry.non_retryable.join(", "),
            timeout: format_duration(spec.timeout),
            limits: limits.collect(),
            on_failure: spec.on_failure.as_deref().map(str::to_owned),
            strip,
            paused: paused.map(ShownTime::from_timestamp),
        }
    }
}

#[derive(Template)]
#[template(path = "functions.html")]
struct FunctionsPage {
    shell: PageShell,
    functions: Vec<FunctionRow>,
    strip: usize,
    notice: Option<FormNotice>,
}

/// `GET /functions`: the list of functions.
pub(super) async fn list_page(State(shared): State<SharedServerState>, request: PageRequest) -> Response {
    let catalog = shared.engine.functions().current().await;
    let strips =
        join_all(catalog.specs().take(STRIP_FUNCTIONS).map(|spec| newest_runs(&shared.engine, &spec.id))).await;
    let paused = match shared.engine.functions().paused().await {
        Ok(paused) => paused,
        Err(error) => return problem_page(&shared, &request.headers, &error.into()),
    };
    let mut strips = strips.into_iter();
    let mut functions = Vec::new();
    for spec in catalog.specs() {
        match strips.next().unwrap_or_else(|| Ok(Vec::new())) {
            Ok(strip) => functions.push(FunctionRow::from_spec(spec, strip, paused.get(&spec.id).copied())),
            Err(error) => return problem_page(&shared, &request.headers, &error.into()),
        }
    }
    let shell = PageShell::new(&shared, &request.headers, DashboardTab::Functions).polling(&shared);
    html_page(
        StatusCode::OK,
        &FunctionsPage { shell, functions, strip: STRIP, notice: FormNotice::from_request(&request) },
    )
}

async fn newest_runs(engine: &Engine, function: &str) -> Result<Vec<(Status, RunId)>, EngineError> {
    let rows = engine.query().newest_rows(function, STRIP).await?;
    let of = |row: &stepladder_core::RunRow| (row.ended.map_or(Status::Running, |(_, status)| status), row.run);
    Ok(rows.iter().rev().map(of).collect())
}

#[derive(Template)]
#[template(path = "function.html")]
struct FunctionPage {
    shell: PageShell,
    function: FunctionRow,
    /// The name and the address of the app that has the function; `None` if it is compiled in.
    app: Option<(String, String)>,
    trends_link: String,
    /// The charts of the last day, and its sums; `None` if the store keeps no counts.
    day: Option<(Vec<Chart>, TrendRow)>,
    /// The newest runs, if the store keeps no counts.
    history: RunHistoryChart,
    steps: Vec<StepTimes>,
    timed: usize,
    wait_queues: Vec<WaitQueueRow>,
    runs: Vec<RunRow>,
    /// An event that starts the function, with example data; `None` if no event starts the
    /// function.
    event: Option<String>,
    example: String,
    /// Whether the function itself declares the example.
    declared: bool,
    /// The run with the event that is the example, if the function declares none.
    example_of: Option<RunId>,
    notice: Option<FormNotice>,
}

/// The holders and the wait queue of a concurrency limit.
struct WaitQueueRow {
    key: String,
    slots: u32,
    held: Vec<(RunId, String)>,
    tickets: Vec<(RunId, ShownTime)>,
    /// Whether the wait queue may be longer than the part that is shown.
    more: bool,
}

/// `GET /function?id=`: the page of one function. The id is a query parameter, because it may
/// contain a `/`.
pub(super) async fn function_page(State(shared): State<SharedServerState>, request: PageRequest) -> Response {
    // the id is not trimmed, because it may start or end with a space
    let id = request.query.get("id").unwrap_or_default().to_owned();
    match load_page(&shared, &id, &request).await {
        Ok(page) => html_page(StatusCode::OK, &page),
        Err(problem) => problem_page(&shared, &request.headers, &problem),
    }
}

async fn load_page(shared: &SharedServerState, id: &str, request: &PageRequest) -> Result<FunctionPage, HttpProblem> {
    let engine = &shared.engine;
    let none = || HttpProblem::not_found(format!("there is no function `{}`", brief(id, 100)));
    let catalog = engine.functions().current().await;
    let spec = catalog.spec(id).ok_or_else(none)?;
    let rows = engine.query().newest_rows(id, HISTORY).await?;
    let now = engine.now();
    let ended = rows.iter().filter(|row| row.ended.is_some()).take(TIMED);
    // a run that was deleted in the meantime is omitted
    let details: Vec<_> = join_all(ended.map(|row| engine.query().run(row.run))).await.into_iter().flatten().collect();
    let newest = rows.iter().take(LISTED);
    let runs = join_all(newest.map(|row| engine.query().listed_run(row.run))).await;
    let runs = runs.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten();
    let wait_queues = engine.query().wait_queues_of(id).await?.into_iter().map(|view| WaitQueueRow {
        key: brief(&view.limit.key, 200),
        slots: view.limit.slots,
        held: view.held.iter().map(|h| (h.holder.run(), brief(h.holder.step().map_or("", |step| step), 80))).collect(),
        more: view.tickets.len() == stepladder_engine::MAX_TICKETS,
        tickets: view.tickets.iter().map(|ticket| (ticket.run, ShownTime::from_timestamp(ticket.queued_at))).collect(),
    });
    let fits = |data: &Json| data.get().len() <= EDITOR_BYTES;
    let declared = spec.example.as_ref().filter(|example| fits(&example.data));
    let first = || spec.triggers.first().map(|trigger| trigger.event.to_string());
    let event = declared.map(|example| example.name.to_string()).or_else(first);
    let recent = || details.iter().find(|run| Some(&*run.event.name) == event.as_deref() && fits(&run.event.data));
    let (data, example_of) = match declared {
        Some(example) => (Some(&example.data), None),
        None => recent().map(|run| (&run.event.data, run.summary.run)).unzip(),
    };
    Ok(FunctionPage {
        shell: PageShell::new(shared, &request.headers, DashboardTab::Functions).polling(shared),
        function: FunctionRow::from_spec(spec, Vec::new(), engine.functions().paused_since(id).await?),
        app: app_of(shared, id).await,
        day: trends::day_of_function(engine, id).await?,
        trends_link: format!("/trends{}", query_string([("function", id)])),
        history: chart_runs(&rows, now),
        steps: time_steps(&details),
        timed: details.len(),
        wait_queues: wait_queues.collect(),
        runs: runs.map(|run| RunRow::from_summary(&run, now)).collect(),
        example: data.map_or_else(|| "{}".into(), |data| indent_json(data.get())),
        declared: declared.is_some(),
        example_of,
        event,
        notice: FormNotice::from_request(request),
    })
}
