//! The cost of runs at the list prices of AWS, over a day, a week or a month, and how much was
//! saved because finished steps were not repeated.
//!
//! The crate `stepladder-cost` computes the cost from journals. On one machine nothing has to be
//! paid: the page shows what the same runs would cost on AWS. There the store sums costs as runs
//! end, and the page reads the sums and the journals of [`LISTED_RUNS`] runs. DynamoDB has no sums:
//! the page sums the newest [`SUMMED_RUNS`] runs of the time span, and says so.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use futures::future::join_all;
use stepladder_api::text::{format_dollars, format_duration};
use stepladder_core::{RunId, Status};
use stepladder_cost::{RunCost, prices};
use stepladder_engine::{CostPoint, CostSpan, CostSums, Engine, EngineError, ListingDepth, RunFilter};

use super::shell::{DashboardTab, PageShell};
use super::text::{ShownTime, brief, query_string};
use super::trends::{Chart, chart_of_costs};
use super::{PageRequest, html_page, problem_page};
use crate::error::HttpProblem;
use crate::router::SharedServerState;

/// The number of runs that the page lists if the store has sums.
const LISTED_RUNS: usize = 25;
/// The number of runs that the page lists and sums if the store has none.
const SUMMED_RUNS: usize = 50;
/// The spans, each with its word in addresses and its name.
const SPANS: [(CostSpan, &str, &str); 3] =
    [(CostSpan::Day, "day", "Day"), (CostSpan::Week, "week", "Week"), (CostSpan::Month, "month", "30 days")];

#[derive(Template)]
#[template(path = "cost.html")]
struct CostPage {
    shell: PageShell,
    /// The links to the spans, each with its name and whether it is shown.
    spans: Vec<(String, &'static str, bool)>,
    /// The function whose costs are shown, with the link to all functions.
    function: Option<(String, String)>,
    /// The begin of the span.
    from: ShownTime,
    total: CostRow,
    /// The functions, each with its link.
    functions: Vec<(String, String, CostRow)>,
    /// The chart and its values; `None` if the store keeps no sums.
    steps: Option<(Chart, Vec<(ShownTime, CostRow)>)>,
    runs: Vec<RunRow>,
    older: Option<String>,
    newest: Option<String>,
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

/// Runs and their cost.
struct CostRow {
    runs: u64,
    /// The sum of all prices.
    all: String,
    /// The average of all prices of a run.
    each: String,
    cost: FormattedCost,
}

impl CostRow {
    fn of(point: &CostPoint) -> Self {
        let all = nanodollars(&point.cost);
        Self {
            runs: point.runs,
            all: format_dollars(all),
            each: format_dollars(all / point.runs.max(1)),
            cost: FormattedCost::from_cost(&point.cost),
        }
    }
}

/// Returns the price of the requests, of the compute time and of the models.
fn nanodollars(cost: &RunCost) -> u64 {
    let ai = cost.ai_microdollars.saturating_mul(1_000);
    (cost.requests_nanodollars() + cost.compute_nanodollars()).saturating_add(ai)
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
    match load_page(&shared, &request).await {
        Ok(page) => html_page(StatusCode::OK, &page),
        Err(problem) => problem_page(&shared, &request.headers, &problem),
    }
}

async fn load_page(shared: &SharedServerState, request: &PageRequest) -> Result<CostPage, HttpProblem> {
    let engine = &shared.engine;
    let cursor: Option<RunId> = request.query.number("cursor", "a link of the previous page")?;
    let word = request.parameter("span").unwrap_or("day");
    let span = SPANS.iter().find(|(_, known, _)| *known == word);
    let (span, word, _) = *span
        .ok_or_else(|| HttpProblem::bad_request(format!("`span` is `{}`; use day, week or month", brief(word, 40))))?;
    let function = request.query.get("function").filter(|id| !id.is_empty());
    let link = |word: &str, function: Option<&str>, cursor: Option<RunId>| {
        let cursor = cursor.map(|run| run.to_string());
        let rest = [("function", function), ("cursor", cursor.as_deref())];
        let rest = rest.into_iter().filter_map(|(name, value)| Some((name, value?)));
        format!("/cost{}", query_string([("span", word)].into_iter().chain(rest)))
    };
    let from = span.from(engine.now());
    let sums = engine.query().costs(span, function).await?;
    let filter = RunFilter {
        functions: function.map(str::to_owned).into_iter().collect(),
        from: Some(RunId::new(from, 0)),
        cursor,
        limit: Some(if sums.is_some() { LISTED_RUNS } else { SUMMED_RUNS }),
        depth: ListingDepth::Quick,
        ..RunFilter::default()
    };
    let found = engine.query().runs(filter).await?;
    let costs = join_all(found.runs.iter().map(|run| cost_of(engine, run.run))).await;
    let costs = costs.into_iter().collect::<Result<Vec<_>, _>>()?;
    let steps = sums.as_ref().map(|sums| (chart_of_costs(sums), values_of(sums)));
    let (total, mut functions) = match sums {
        Some(CostSums { total, functions, .. }) => (total, functions),
        None => sum(found.runs.iter().map(|run| run.function.clone()).zip(costs.iter().copied())),
    };
    functions.sort_by_key(|(_, point)| std::cmp::Reverse(nanodollars(&point.cost)));
    let of = |(id, point): (Arc<str>, CostPoint)| {
        (brief(&id, 120), format!("/function{}", query_string([("id", &id[..])])), CostRow::of(&point))
    };
    let runs = found.runs.iter().zip(&costs).map(|(run, cost)| RunRow {
        id: run.run,
        function: brief(&run.function, 120),
        status: run.status,
        created: ShownTime::from_timestamp(run.created_at),
        cost: FormattedCost::from_cost(cost),
    });
    let shell = PageShell::new(shared, &request.headers, DashboardTab::Cost);
    Ok(CostPage {
        shell: if cursor.is_none() { shell.polling(shared) } else { shell },
        spans: SPANS.iter().map(|(of, word, name)| (link(word, function, None), *name, *of == span)).collect(),
        function: function.map(|id| (brief(id, 120), link(word, None, None))),
        from: ShownTime::from_timestamp(from),
        total: CostRow::of(&total),
        functions: functions.into_iter().map(of).collect(),
        steps,
        runs: runs.collect(),
        older: found.cursor.map(|cursor| link(word, function, Some(cursor))),
        newest: cursor.map(|_| link(word, function, None)),
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

/// Returns the values of the chart.
fn values_of(sums: &CostSums) -> Vec<(ShownTime, CostRow)> {
    let at = |n: usize| ShownTime::from_timestamp(sums.from + sums.step * u32::try_from(n).unwrap_or(0));
    sums.points.iter().enumerate().map(|(n, point)| (at(n), CostRow::of(point))).collect()
}

/// Sums the costs of runs, in all and by function.
fn sum(runs: impl Iterator<Item = (Arc<str>, RunCost)>) -> (CostPoint, Vec<(Arc<str>, CostPoint)>) {
    let (mut total, mut functions) = (CostPoint::default(), BTreeMap::<Arc<str>, CostPoint>::new());
    for (function, cost) in runs {
        total.add(1, cost);
        functions.entry(function).or_default().add(1, cost);
    }
    (total, functions.into_iter().collect())
}

async fn cost_of(engine: &Engine, run: RunId) -> Result<RunCost, EngineError> {
    let look = engine.query().run_at(run, None).await?;
    let catalog = engine.functions().snapshot();
    let spec = catalog.spec(&look.detail.summary.function);
    Ok(RunCost::of_journal(look.entries.iter().map(|(_, entry)| entry), spec.map_or(0, |spec| spec.concurrency.len())))
}
