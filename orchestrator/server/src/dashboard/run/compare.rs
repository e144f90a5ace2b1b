//! The comparison of a rerun with the original run: their inputs, outputs and steps.

use std::collections::HashMap;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use stepladder_core::{RunId, Status, StepKind, Timestamp, encrypted};
use stepladder_engine::view::{RunDetail, StepView};

use super::rows::step_name;
use crate::dashboard::diff::{DiffLine, diff_lines};
use crate::dashboard::json::indent_json;
use crate::dashboard::shell::{DashboardTab, PageShell};
use crate::dashboard::text::{brief, format_duration, sentence};
use crate::dashboard::{PageRequest, html_page, problem_page};
use crate::error::HttpProblem;
use crate::path::RunPath;
use crate::router::SharedServerState;

/// The maximum number of steps that are compared.
const STEPS: usize = 500;
/// The maximum number of steps with different outcomes that are shown line by line, and the maximum
/// number of lines in total.
const DIFFS: usize = 20;
const LINES: usize = 600;
/// The maximum size of a name, in bytes.
const NAME_BYTES: usize = 200;

#[derive(Template)]
#[template(path = "compare.html")]
struct ComparePage {
    shell: PageShell,
    function: String,
    original: RunSide,
    rerun: RunSide,
    input: ValueDiff,
    outcome: ValueDiff,
    steps: Vec<StepPair>,
    more: usize,
}

/// One of the two runs.
struct RunSide {
    run: RunId,
    status: Status,
    took: String,
}

/// The differences of two values; no lines if they are equal.
struct ValueDiff {
    lines: Vec<DiffLine>,
    /// Whether there are more lines.
    is_cut: bool,
}

/// A step in both runs.
struct StepPair {
    name: String,
    /// The link, the status and the duration of the step in each run.
    sides: [Option<(String, &'static str, String)>; 2],
    verdict: &'static str,
    diff: ValueDiff,
}

/// `GET /runs/{id}/compare?with=`: compares a run with another one.
pub(crate) async fn compare(
    State(shared): State<SharedServerState>,
    path: Result<RunPath, HttpProblem>,
    request: PageRequest,
) -> Response {
    match page(&shared, path, &request).await {
        Ok(page) => html_page(StatusCode::OK, &page),
        Err(problem) => problem_page(&shared, &request.headers, &problem),
    }
}

async fn page(
    shared: &SharedServerState,
    path: Result<RunPath, HttpProblem>,
    request: &PageRequest,
) -> Result<ComparePage, HttpProblem> {
    let RunPath(run) = path?;
    let with = request.parameter("with").unwrap_or_default();
    let with: RunId = with
        .parse()
        .map_err(|_| HttpProblem::bad_request(format!("`with` is `{}`; use the id of a run", brief(with, 100))))?;
    let (rerun, original) = (shared.engine.query().run(run).await?, shared.engine.query().run(with).await?);
    let now = shared.engine.now();
    let mut room = LINES;
    let side = |run: &RunDetail| RunSide {
        run: run.summary.run,
        status: run.summary.status,
        took: format_duration(run.summary.ended_at.unwrap_or(now).since(run.summary.created_at)),
    };
    let input = ValueDiff::of(&input_text(&original), &input_text(&rerun), &mut room);
    let outcome = ValueDiff::of(&outcome_of_run(&original), &outcome_of_run(&rerun), &mut room);
    let (steps, more) = step_pairs(&original, &rerun, now, &mut room);
    Ok(ComparePage {
        shell: PageShell::new(shared, &request.headers, DashboardTab::Runs),
        function: rerun.summary.function.to_string(),
        original: side(&original),
        rerun: side(&rerun),
        input,
        outcome,
        steps,
        more,
    })
}

impl ValueDiff {
    fn of(old: &str, new: &str, room: &mut usize) -> Self {
        let mut lines = diff_lines(old, new);
        let is_cut = lines.len() > *room;
        lines.truncate(*room);
        *room -= lines.len();
        Self { lines, is_cut }
    }

    fn none() -> Self {
        Self { lines: Vec::new(), is_cut: false }
    }
}

fn input_text(run: &RunDetail) -> String {
    indent_json(&encrypted::described(run.event.data.get()))
}

fn outcome_of_run(run: &RunDetail) -> String {
    match (&run.summary.output, &run.summary.error) {
        (Some(output), _) => indent_json(&encrypted::described(output.get())),
        (None, Some(error)) => sentence(error),
        (None, None) => String::new(),
    }
}

fn outcome_of_step(step: &StepView) -> String {
    match (&step.output, &step.error) {
        (Some(output), _) => indent_json(&encrypted::described(output.get())),
        (None, Some(error)) => sentence(error),
        (None, None) => String::new(),
    }
}

/// Pairs the steps of two runs by their ids, in the order of the rerun. Steps that only the
/// original run has follow.
fn step_pairs(original: &RunDetail, rerun: &RunDetail, now: Timestamp, room: &mut usize) -> (Vec<StepPair>, usize) {
    let old: HashMap<&str, usize> = original.steps.iter().enumerate().map(|(n, step)| (&*step.id, n)).collect();
    let new: std::collections::HashSet<&str> = rerun.steps.iter().map(|step| &*step.id).collect();
    let both = rerun.steps.iter().enumerate().map(|(n, step)| (old.get(&*step.id).copied(), Some(n)));
    let gone =
        original.steps.iter().enumerate().filter(|(_, step)| !new.contains(&*step.id)).map(|(n, _)| (Some(n), None));
    let all: Vec<(Option<usize>, Option<usize>)> = both.chain(gone).collect();
    let side = |run: &RunDetail, n: usize| {
        let step = &run.steps[n];
        let took = format_duration(step.ended_at.unwrap_or(now).since(step.started_at));
        (format!("/runs/{}?step={n}#step", run.summary.run), step.status.as_str(), took)
    };
    let mut diffs = DIFFS;
    let pairs = all.iter().take(STEPS).map(|&(before, after)| {
        let steps = [before.map(|n| &original.steps[n]), after.map(|n| &rerun.steps[n])];
        let is_kept = after.is_some_and(|n| rerun.steps[n].attempts.is_empty() && rerun.steps[n].kind == StepKind::Run);
        let (verdict, diff) = match steps {
            [Some(before), Some(after)] => {
                let [old, new] = [outcome_of_step(before), outcome_of_step(after)];
                match (old == new, is_kept) {
                    (true, true) => ("kept", ValueDiff::none()),
                    (true, false) => ("same", ValueDiff::none()),
                    (false, _) if diffs > 0 => {
                        diffs -= 1;
                        ("different", ValueDiff::of(&old, &new, room))
                    }
                    (false, _) => ("different", ValueDiff::none()),
                }
            }
            [None, _] => ("only in the rerun", ValueDiff::none()),
            [_, None] => ("only in the original", ValueDiff::none()),
        };
        let name = steps[1].or(steps[0]).map(|step| brief(&step_name(step).0, NAME_BYTES)).unwrap_or_default();
        StepPair { name, sides: [before.map(|n| side(original, n)), after.map(|n| side(rerun, n))], verdict, diff }
    });
    (pairs.collect(), all.len().saturating_sub(STEPS))
}
