//! What runs cost at AWS's list prices, and what remembering their steps saved.
//!
//! Counted from journals, by the model of `infra/COST.md`, which a test counts against the adapters: requests of a run at
//! one step an invocation on warm workers. On one machine nothing of it is paid; it says what the same runs would cost
//! there. Reads the journals of the newest [`RUNS`] runs.

pub(super) mod model;

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use futures::future::join_all;
use stepladder_core::{RunId, Status, Usage};
use stepladder_engine::{Engine, EngineError, RunSearch};

use self::model::Cost;
use super::shell::{Shell, Tab};
use super::text::{Moment, brief, duration, query};
use super::{Asked, html, sorry};
use crate::router::Shared;
use crate::runs::number;

/// Runs that are counted.
const RUNS: usize = 50;

#[derive(Template)]
#[template(path = "cost.html")]
struct CostPage {
    shell: Shell,
    runs: Vec<RunCost>,
    functions: Vec<FunctionCost>,
    total: Told,
    counted: usize,
    older: Option<String>,
    is_first: bool,
}

struct RunCost {
    id: RunId,
    function: String,
    status: Status,
    created: Moment,
    cost: Told,
}

struct FunctionCost {
    id: String,
    link: String,
    runs: usize,
    /// What one of its runs costs, on average.
    each: String,
    cost: Told,
}

/// A cost as text.
pub(super) struct Told {
    pub(super) wru: u64,
    pub(super) rru: u64,
    pub(super) sqs: u64,
    pub(super) invocations: u64,
    pub(super) requests: String,
    pub(super) compute: String,
    pub(super) executed: String,
    /// What models cost, and their tokens; nothing when none was used.
    pub(super) ai: Option<String>,
    pub(super) tokens: Option<String>,
    /// Steps that did not run again, and what they took; nothing when nothing was saved.
    pub(super) saved: Option<String>,
}

impl Told {
    pub(super) fn of(cost: &Cost) -> Self {
        let saved = (cost.saved_steps > 0).then(|| {
            let steps = if cost.saved_steps == 1 { "1 step".into() } else { format!("{} steps", cost.saved_steps) };
            let tokens = if cost.saved_tokens > 0 { format!(", {} tokens", cost.saved_tokens) } else { String::new() };
            format!("{steps}, {}{tokens}", duration(cost.saved_time))
        });
        let ai = cost.input_tokens + cost.output_tokens > 0;
        Self {
            wru: cost.wru,
            rru: cost.rru,
            sqs: cost.sqs,
            invocations: cost.invocations,
            requests: dollars(cost.requests_nanodollars()),
            compute: dollars(cost.compute_nanodollars()),
            executed: duration(cost.executed),
            ai: ai
                .then(|| format!("{}{}", dollars(cost.ai_microdollars * 1_000), if cost.unpriced { "+" } else { "" })),
            tokens: ai.then(|| format!("{} in, {} out", cost.input_tokens, cost.output_tokens)),
            saved,
        }
    }
}

/// What a step used of a model, in words.
pub(super) fn used(usage: &Usage) -> String {
    let Usage { model, input_tokens, cached_input_tokens, output_tokens, micro_dollars, .. } = usage;
    let cached = if *cached_input_tokens > 0 { format!(" ({cached_input_tokens} cached)") } else { String::new() };
    let price = micro_dollars.map_or_else(|| "price not known".into(), |micro| dollars(micro.saturating_mul(1_000)));
    format!("{}: {input_tokens} tokens in{cached}, {output_tokens} out, {price}", brief(model, 100))
}

/// `$0.0000338`: three digits that say something, of a sum however small.
fn dollars(nano: u64) -> String {
    if nano == 0 {
        return "$0".into();
    }
    let dollars = nano as f64 / 1e9;
    // digits behind the point until the third that is no zero before anything
    let digits = (2.0 - dollars.log10().floor()).clamp(2.0, 9.0) as usize;
    format!("${dollars:.digits$}")
}

/// `GET /cost`.
pub(super) async fn page(State(shared): State<Shared>, asked: Asked) -> Response {
    let before = match number(&asked.query, "cursor", "the link of the page before") {
        Ok(before) => before,
        Err(problem) => return sorry(&shared, &asked.headers, &problem),
    };
    match look(&shared, before, &asked).await {
        Ok(page) => html(StatusCode::OK, &page),
        Err(error) => sorry(&shared, &asked.headers, &error.into()),
    }
}

async fn look(shared: &Shared, before: Option<RunId>, asked: &Asked) -> Result<CostPage, EngineError> {
    let engine = &shared.engine;
    let found = engine.query().search(&RunSearch { before, limit: RUNS, ..RunSearch::default() }).await?;
    let costs = join_all(found.runs.iter().map(|run| cost_of(engine, run.run))).await;
    let (mut runs, mut total) = (Vec::new(), Cost::default());
    let mut functions: BTreeMap<String, (usize, Cost)> = BTreeMap::new();
    for (run, cost) in found.runs.iter().zip(costs) {
        let cost = cost?;
        total += cost;
        let function = functions.entry(run.function.to_string()).or_default();
        function.0 += 1;
        function.1 += cost;
        runs.push(RunCost {
            id: run.run,
            function: brief(&run.function, 120),
            status: run.status,
            created: Moment::of(run.created_at),
            cost: Told::of(&cost),
        });
    }
    let mut functions: Vec<_> = functions.into_iter().collect();
    functions.sort_by_key(|(_, (_, cost))| std::cmp::Reverse(cost.requests_nanodollars() + cost.compute_nanodollars()));
    let of = |(id, (runs, cost)): (String, (usize, Cost))| FunctionCost {
        link: format!("/function{}", query([("id", &id[..])])),
        id: brief(&id, 120),
        runs,
        each: dollars((cost.requests_nanodollars() + cost.compute_nanodollars()) / runs.max(1) as u64),
        cost: Told::of(&cost),
    };
    Ok(CostPage {
        shell: Shell::new(shared, &asked.headers, Tab::Cost),
        counted: runs.len(),
        runs,
        functions: functions.into_iter().map(of).collect(),
        total: Told::of(&total),
        older: found.cursor.map(|cursor| format!("/cost{}", query([("cursor", &cursor.to_string()[..])]))),
        is_first: before.is_none(),
    })
}

async fn cost_of(engine: &Engine, run: RunId) -> Result<Cost, EngineError> {
    let look = engine.query().look(run, None).await?;
    let spec = engine.functions().specs().find(|spec| spec.id == look.detail.summary.function);
    Ok(Cost::of(&look, spec.map_or(0, |spec| spec.concurrency.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_have_three_digits_that_say_something() {
        let shown = [0, 1, 28_725, 37_900_000, 1_234_567_890, 123_456_789_000_000].map(dollars);
        assert_eq!(shown, ["$0", "$0.000000001", "$0.0000287", "$0.0379", "$1.23", "$123456.79"]);
    }
}
