//! The cost of runs at the list prices of AWS, and how much was saved because finished steps were
//! not repeated.
//!
//! The crate `stepladder-cost` computes the cost from journals. On one machine nothing has to be
//! paid: the page shows what the same runs would cost on AWS. The page reads the journals of the
//! newest [`RUNS`] runs.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use futures::future::join_all;
use stepladder_api::text::{format_dollars, format_duration};
use stepladder_core::{RunId, Status};
use stepladder_cost::{RunCost, prices};
use stepladder_engine::{Engine, EngineError, ListingDepth, RunFilter};

use super::shell::{DashboardTab, PageShell};
use super::text::{ShownTime, brief, query_string};
use super::{PageRequest, html_page, problem_page};
use crate::router::SharedServerState;

/// The number of runs for which the cost is computed.
const RUNS: usize = 50;

#[derive(Template)]
#[template(path = "cost.html")]
struct CostPage {
    shell: PageShell,
    runs: Vec<RunRow>,
    functions: Vec<FunctionRow>,
    total: FormattedCost,
    counted: usize,
    older: Option<String>,
    is_first: bool,
    prices: ListPrices,
}

/// The list prices that the page shows, in dollars per million units.
struct ListPrices {
    write_units: f64,
    read_units: f64,
    sqs_requests: f64,
    invocations: f64,
    gb_second: String,
    date: &'static str,
}

struct RunRow {
    id: RunId,
    function: String,
    status: Status,
    created: ShownTime,
    cost: FormattedCost,
}

struct FunctionRow {
    id: String,
    link: String,
    runs: usize,
    /// The average cost of a run.
    each: String,
    cost: FormattedCost,
}

/// The cost of one or more runs, as strings for a page.
pub(super) struct FormattedCost {
    pub(super) write_units: u64,
    pub(super) read_units: u64,
    pub(super) sqs_requests: u64,
    pub(super) invocations: u64,
    pub(super) requests: String,
    pub(super) compute: String,
    pub(super) executed: String,
    /// The price of the models and the number of tokens; `None` if no model was used.
    pub(super) ai: Option<String>,
    pub(super) tokens: Option<String>,
    /// The number of steps that were not repeated, and the time saved; `None` if nothing was saved.
    pub(super) saved: Option<String>,
}

impl FormattedCost {
    pub(super) fn from_cost(cost: &RunCost) -> Self {
        let saved = (cost.saved_steps > 0).then(|| {
            let steps = if cost.saved_steps == 1 { "1 step".into() } else { format!("{} steps", cost.saved_steps) };
            let tokens = if cost.saved_tokens > 0 { format!(", {} tokens", cost.saved_tokens) } else { String::new() };
            format!("{steps}, {}{tokens}", format_duration(cost.saved_time))
        });
        let ai = cost.input_tokens + cost.output_tokens > 0;
        Self {
            write_units: cost.write_units,
            read_units: cost.read_units,
            sqs_requests: cost.sqs_requests,
            invocations: cost.invocations,
            requests: format_dollars(cost.requests_nanodollars()),
            compute: format_dollars(cost.compute_nanodollars()),
            executed: format_duration(cost.executed),
            ai: ai.then(|| {
                format!("{}{}", format_dollars(cost.ai_microdollars * 1_000), if cost.unpriced { "+" } else { "" })
            }),
            tokens: ai.then(|| format!("{} in, {} out", cost.input_tokens, cost.output_tokens)),
            saved,
        }
    }
}

/// `GET /cost`: the page with the cost of runs.
pub(super) async fn page(State(shared): State<SharedServerState>, request: PageRequest) -> Response {
    let before = match request.query.number("cursor", "a link of the previous page") {
        Ok(before) => before,
        Err(problem) => return problem_page(&shared, &request.headers, &problem),
    };
    match load_page(&shared, before, &request).await {
        Ok(page) => html_page(StatusCode::OK, &page),
        Err(error) => problem_page(&shared, &request.headers, &error.into()),
    }
}

async fn load_page(
    shared: &SharedServerState,
    before: Option<RunId>,
    request: &PageRequest,
) -> Result<CostPage, EngineError> {
    let engine = &shared.engine;
    let filter = RunFilter { cursor: before, limit: Some(RUNS), depth: ListingDepth::Quick, ..RunFilter::default() };
    let found = engine.query().runs(filter).await?;
    let costs = join_all(found.runs.iter().map(|run| cost_of(engine, run.run))).await;
    let (mut runs, mut total) = (Vec::new(), RunCost::default());
    let mut functions: BTreeMap<String, (usize, RunCost)> = BTreeMap::new();
    for (run, cost) in found.runs.iter().zip(costs) {
        let cost = cost?;
        total += cost;
        let function = functions.entry(run.function.to_string()).or_default();
        function.0 += 1;
        function.1 += cost;
        runs.push(RunRow {
            id: run.run,
            function: brief(&run.function, 120),
            status: run.status,
            created: ShownTime::from_timestamp(run.created_at),
            cost: FormattedCost::from_cost(&cost),
        });
    }
    let mut functions: Vec<_> = functions.into_iter().collect();
    functions.sort_by_key(|(_, (_, cost))| std::cmp::Reverse(cost.requests_nanodollars() + cost.compute_nanodollars()));
    let of = |(id, (runs, cost)): (String, (usize, RunCost))| FunctionRow {
        link: format!("/function{}", query_string([("id", &id[..])])),
        id: brief(&id, 120),
        runs,
        each: format_dollars((cost.requests_nanodollars() + cost.compute_nanodollars()) / runs.max(1) as u64),
        cost: FormattedCost::from_cost(&cost),
    };
    let shell = PageShell::new(shared, &request.headers, DashboardTab::Cost);
    Ok(CostPage {
        shell: if before.is_none() { shell.polling(shared) } else { shell },
        counted: runs.len(),
        runs,
        functions: functions.into_iter().map(of).collect(),
        total: FormattedCost::from_cost(&total),
        older: found.cursor.map(|cursor| format!("/cost{}", query_string([("cursor", &cursor.to_string()[..])]))),
        is_first: before.is_none(),
        prices: ListPrices {
            write_units: prices::WRITE_UNIT.dollars_a_million(),
            read_units: prices::READ_UNIT.dollars_a_million(),
            sqs_requests: prices::SQS_REQUEST.dollars_a_million(),
            invocations: prices::INVOCATION.dollars_a_million(),
            gb_second: format!("${:.10}", prices::GB_SECOND.dollars_a_million() / 1e6),
            date: prices::WRITE_UNIT.date,
        },
    })
}

async fn cost_of(engine: &Engine, run: RunId) -> Result<RunCost, EngineError> {
    let look = engine.query().run_at(run, None).await?;
    let catalog = engine.functions().snapshot();
    let spec = catalog.spec(&look.detail.summary.function);
    Ok(RunCost::of_journal(look.entries.iter().map(|(_, entry)| entry), spec.map_or(0, |spec| spec.concurrency.len())))
}
