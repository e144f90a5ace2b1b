//! One run: its waterfall, its journal, and the run as it stood at any entry.
//!
//! Reads the run's journal, and those of at most [`MOST_CHILDREN`] runs that it invoked. What a page shows of it is
//! bounded: so many steps, marks, entries and bytes of values; the rest is a link away.

mod rows;
mod to_come;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use futures::future::join_all;
use stepladder_core::journal::{Origin, Seq};
use stepladder_core::{RunId, Timestamp};
use stepladder_cost::RunCost;
use stepladder_engine::view::{RunDetail, StepStatus, StepView};
use stepladder_engine::{Engine, EngineError, RunAtEntry};

use self::rows::{Around, ChildRow, LogRow, StepRow};
use self::to_come::ToCome;
use super::act::Did;
use super::cost::CostWords;
use super::entries::EntryRow;
use super::runs::RunRow;
use super::scale::Squeezed;
use super::shell::{Shell, Tab};
use super::text::{Moment, brief, clock, query, sentence};
use super::value::{Room, Shown, escaped, indented};
use super::waterfall::Waterfall;
use super::{Asked, html, sorry};
use crate::path::RunPath;
use crate::router::Shared;

/// Steps on a page.
const STEPS: usize = 60;
/// Attempts that are drawn on a page, shared among its steps.
const ATTEMPTS: usize = 80;
/// Entries on a page, around the one that it stands at.
const ENTRIES: usize = 50;
/// Invoked runs whose steps are drawn.
const MOST_CHILDREN: usize = 5;
/// Bytes of an input that is put into the editor; a larger one is left as it is, or written anew.
pub(super) const EDITOR_BYTES: usize = 16 * 1024;
/// Bytes of errors and ids in lists.
const ERROR_BYTES: usize = 2_000;
/// Bytes of the names that a rerun may begin at.
const NAMES_BYTES: usize = 10 * 1024;
/// Lines of the log that are shown.
const LOGS: usize = 40;
/// Errors of the handler that are shown.
const HANDLER_ERRORS: usize = 10;

#[derive(Template)]
#[template(path = "run.html")]
struct RunPage {
    shell: Shell,
    row: RunRow,
    error: Option<String>,
    origin: Option<(&'static str, RunId)>,
    ended: Option<Moment>,
    waiting: Option<String>,
    event_id: String,
    event_name: String,
    event_data: Shown,
    sender_id: Option<String>,
    output: Option<Shown>,
    handler_errors: Vec<(Moment, String)>,
    /// When the function is run again, and would be after that.
    run_again: Option<ToCome>,
    /// The version of the function that it goes on under.
    version: Option<String>,
    /// The latest lines of its log, and how many there are.
    logs: Vec<LogRow>,
    all_logs: usize,
    cost: CostWords,
    axis: Vec<Squeezed>,
    steps: Vec<StepRow>,
    /// How many steps there are, and the links to those before and after.
    all_steps: usize,
    fewer: Option<String>,
    more: Option<String>,
    entries: Vec<EntryRow>,
    /// Entries that there are, and the number of entries that the page stands at.
    total: Seq,
    at: Seq,
    past: bool,
    previous: Option<Seq>,
    next: Option<Seq>,
    /// Steps that a rerun may begin at.
    names: Vec<String>,
    editor: String,
    registered: bool,
    did: Option<Did>,
}

/// `GET /runs/{id}`; with `at`, as it stood after so many entries.
pub(super) async fn page(
    State(shared): State<Shared>,
    path: Result<RunPath, crate::error::Problem>,
    asked: Asked,
) -> Response {
    let RunPath(run) = match path {
        Ok(path) => path,
        Err(problem) => return sorry(&shared, &asked.headers, &problem),
    };
    let places = asked.query.number("at", "the number of an entry").and_then(|at: Option<Seq>| {
        let first = asked.query.number("steps", "the number of a step, from 0")?;
        Ok((at, first.unwrap_or(0)))
    });
    let (at, first) = match places {
        Ok(places) => places,
        Err(problem) => return sorry(&shared, &asked.headers, &problem),
    };
    match look(&shared, run, at, first, &asked).await {
        Ok(page) => html(StatusCode::OK, &page),
        Err(error) => sorry(&shared, &asked.headers, &error.into()),
    }
}

async fn look(
    shared: &Shared,
    run: RunId,
    at: Option<Seq>,
    first: usize,
    asked: &Asked,
) -> Result<RunPage, EngineError> {
    let engine = &shared.engine;
    let look = engine.query().run_at(run, at).await?;
    let RunAtEntry { detail, entries, total } = &look;
    let seen = entries.len() as Seq;
    let past = seen < *total;
    // what stood then is drawn as of then
    let now = entries.last().filter(|_| past).map_or_else(|| engine.now(), |(_, entry)| entry.at);
    let end = detail.summary.ended_at.unwrap_or(now).max(detail.summary.created_at);
    let spec = engine.functions().specs().find(|spec| spec.id == detail.summary.function);
    let limits = spec.map_or(0, |spec| spec.concurrency.len());
    let first = if first < detail.steps.len() { first } else { 0 };
    let shown: Vec<(usize, &StepView)> = detail.steps.iter().enumerate().skip(first).take(STEPS).collect();
    let children = children(engine, &shown).await;
    let invoked: Vec<&StepView> = children.iter().flat_map(|(_, run)| ChildRow::drawn(run)).collect();
    let waterfall = Waterfall::new(entries, &detail.steps, &invoked, end);
    let mut room = Room::new();
    let event_data = room.show(&detail.event.data, value_link(run, "event"));
    let output = detail.summary.output.as_deref().map(|output| room.show(output, value_link(run, "output")));
    let attempts = (ATTEMPTS / shown.len().max(1)).clamp(1, 40);
    let retries = engine.functions().retries_of(&detail.summary.function);
    let shared_by_rows = Around { run, waterfall: &waterfall, attempts, now, retries: retries.as_ref() };
    let mut steps: Vec<StepRow> =
        shown.iter().map(|(n, step)| StepRow::of(*n, step, &shared_by_rows, &mut room)).collect();
    for (n, child) in &children {
        if let Some(step) = steps.iter_mut().find(|step| step.n == *n) {
            step.children = ChildRow::all(child, &waterfall, &mut room);
        }
    }
    let last = first + shown.len();
    let page_of = |steps: usize| {
        let (steps, at) = (steps.to_string(), at.map(|at| at.to_string()));
        let parts = [("at", at.as_deref()), ("steps", Some(&steps[..]))];
        query(parts.into_iter().filter_map(|(name, value)| Some((name, value?))))
    };
    let shell = Shell::new(shared, &asked.headers, Tab::Runs);
    let live = detail.summary.ended_at.is_none();
    let shell = if live && !past { shell.live(format!("/live/runs/{run}?seen={total}")) } else { shell };
    Ok(RunPage {
        shell,
        row: RunRow::of(&detail.summary, now),
        error: detail.summary.error.as_ref().map(|error| room.words(&sentence(error), ERROR_BYTES)),
        origin: match detail.origin {
            Origin::Event | Origin::Cron => None,
            Origin::Invoke { parent, .. } => Some(("Invoked by", parent)),
            Origin::Failure { of } => Some(("Handles the failure of", of)),
            Origin::Rerun { of } => Some(("A rerun of", of)),
        },
        ended: detail.summary.ended_at.map(Moment::of),
        waiting: detail.waiting.clone().or_else(|| moving(&look).filter(|_| live && !past)),
        event_id: detail.event.id.to_string(),
        event_name: detail.event.name.to_string(),
        event_data,
        sender_id: detail.event.external_id.as_deref().map(str::to_owned),
        output,
        handler_errors: handler_errors(&detail.handler_errors, &mut room),
        run_again: detail.handler_due.map(|due| {
            let failures = u32::try_from(detail.handler_errors.len()).unwrap_or(u32::MAX);
            ToCome::of(retries.as_ref(), failures, (failures.saturating_add(1), due), attempts)
        }),
        version: detail.version.as_deref().map(|version| brief(version, 120)),
        logs: latest(&detail.logs, LOGS).iter().map(|log| LogRow::of(log, &mut room)).collect(),
        all_logs: detail.logs.len(),
        cost: CostWords::of(&RunCost::of(entries.iter().map(|(_, entry)| entry), limits)),
        axis: waterfall.squeezed(),
        steps,
        all_steps: detail.steps.len(),
        fewer: (first > 0).then(|| page_of(first.saturating_sub(STEPS))),
        more: (last < detail.steps.len()).then(|| page_of(last)),
        entries: around(&look, past, &mut room),
        total: *total,
        at: seen,
        past,
        previous: (seen > 1).then(|| seen - 1),
        next: past.then_some(seen + 1),
        names: names(&detail.steps),
        editor: match detail.event.data.get() {
            data if data.len() <= EDITOR_BYTES => indented(data),
            _ => String::new(),
        },
        registered: spec.is_some(),
        did: Did::of(asked),
    })
}

/// The first few invoked runs, by the number of the step that invoked them. One that cannot be read is left out: its link
/// is there.
async fn children(engine: &Engine, shown: &[(usize, &StepView)]) -> Vec<(usize, RunDetail)> {
    let invoked = shown.iter().filter_map(|(n, step)| Some((*n, step.child?))).take(MOST_CHILDREN);
    let looks = invoked.map(async |(n, child)| {
        let run = engine.query().run(child).await.ok()?;
        Some((n, run))
    });
    join_all(looks).await.into_iter().flatten().collect()
}

/// What a live run does that waits for nothing: what executes, or that nobody has taken it up yet.
fn moving(look: &RunAtEntry) -> Option<String> {
    let executes = |step: &&StepView| step.status == StepStatus::Running;
    let names: Vec<String> = look.detail.steps.iter().filter(executes).take(5).map(doing).collect();
    Some(match &names[..] {
        [] => "waits for a worker to take up its wake".into(),
        _ => format!("executes {}", names.join(", ")),
    })
}

/// ``step `a` (attempt 2, since 12:00:01)``.
fn doing(step: &StepView) -> String {
    let name = brief(&step.id, 100);
    match step.attempts.last() {
        Some(attempt) => format!("`{name}` (attempt {}, since {})", attempt.attempt, clock(attempt.started_at)),
        None => format!("`{name}`"),
    }
}

/// The last of a list.
fn latest<T>(all: &[T], most: usize) -> &[T] {
    &all[all.len().saturating_sub(most)..]
}

fn handler_errors(errors: &[(Timestamp, stepladder_core::Failure)], room: &mut Room) -> Vec<(Moment, String)> {
    latest(errors, HANDLER_ERRORS)
        .iter()
        .map(|(at, error)| (Moment::of(*at), room.words(&sentence(error), ERROR_BYTES)))
        .collect()
}

/// The names of the first steps, in so many bytes: a rerun from a later one goes through REST.
fn names(steps: &[StepView]) -> Vec<String> {
    let mut room = NAMES_BYTES;
    let fitting = steps.iter().take(STEPS).take_while(|step| {
        // each is there twice: as it is sent, and as it is shown
        let bytes = 2 * escaped(&step.id);
        let fits = bytes <= room;
        room = room.saturating_sub(bytes);
        fits
    });
    fitting.map(|step| step.id.to_string()).collect()
}

/// The entries before the one that the page stands at, that one last.
fn around(look: &RunAtEntry, past: bool, room: &mut Room) -> Vec<EntryRow> {
    let entries = latest(&look.entries, ENTRIES);
    let last = look.entries.last().map(|(seq, _)| *seq);
    entries.iter().rev().map(|(seq, entry)| EntryRow::of(*seq, entry, past && Some(*seq) == last, room)).collect()
}

/// Where a value of a run is to be had whole.
pub(super) fn value_link(run: RunId, of: &str) -> String {
    format!("/runs/{run}/value?of={of}")
}
