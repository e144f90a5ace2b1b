//! Trends: runs, durations, the queue and the price of AI over an hour, a day or a week, of all
//! functions or of one.
//!
//! The page reads counts that the store keeps as runs start and end, and no run. A store without
//! such counts (DynamoDB) has no trends; CloudWatch has metrics of the same kind.

mod chart;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use stepladder_api::text::format_dollars;
use stepladder_engine::{Engine, EngineError, TrendPoint, TrendSpan, Trends};

use self::chart::charts_of;
pub(super) use self::chart::{Chart, chart_of_costs};
use super::shell::{DashboardTab, PageShell};
use super::text::{ShownTime, brief, format_duration, query_string};
use super::{PageRequest, html_page, problem_page};
use crate::error::HttpProblem;
use crate::router::SharedServerState;

/// The spans, each with its word in addresses and its name.
const SPANS: [(TrendSpan, &str, &str); 3] =
    [(TrendSpan::Hour, "hour", "Hour"), (TrendSpan::Day, "day", "Day"), (TrendSpan::Week, "week", "Week")];

#[derive(Template)]
#[template(path = "trends.html")]
struct TrendsPage {
    shell: PageShell,
    /// The links to the spans, each with its name and whether it is shown.
    spans: Vec<(String, &'static str, bool)>,
    /// The function whose trends are shown, with the link to all functions.
    function: Option<(String, String)>,
    /// What is shown; `None` if the store keeps no counts.
    shown: Option<ShownTrends>,
}

struct ShownTrends {
    step: String,
    charts: Vec<Chart>,
    steps: Vec<(ShownTime, TrendRow)>,
    functions: Vec<(String, String, TrendRow)>,
    total: TrendRow,
    /// Whether models were used.
    has_ai: bool,
}

/// Counts and durations as texts.
pub(super) struct TrendRow {
    pub(super) created: u64,
    pub(super) started: u64,
    pub(super) completed: u64,
    pub(super) failed: u64,
    /// The share of failed runs, in percent.
    pub(super) rate: String,
    pub(super) dropped: u64,
    pub(super) queued: u64,
    /// The median and the 95th percentile of durations and of waits.
    pub(super) took: [String; 2],
    pub(super) waited: [String; 2],
    pub(super) ai: String,
    pub(super) tokens: String,
}

impl TrendRow {
    fn of(point: &TrendPoint) -> Self {
        let duration = |of: Option<_>| of.map_or_else(|| "–".into(), format_duration);
        let ended = point.completed + point.failed;
        Self {
            created: point.created,
            started: point.started,
            completed: point.completed,
            failed: point.failed,
            rate: match ended {
                0 => "–".into(),
                ended => format!("{:.1} %", point.failed as f64 * 100.0 / ended as f64),
            },
            dropped: point.dropped,
            queued: point.queued,
            took: [0.5, 0.95].map(|share| duration(point.took(share))),
            waited: [0.5, 0.95].map(|share| duration(point.waited(share))),
            ai: format_dollars(point.ai_micro_dollars * 1_000),
            tokens: format!("{} in, {} out", point.tokens[0], point.tokens[1]),
        }
    }
}

/// `GET /trends`: the page with the trends.
pub(super) async fn page(State(shared): State<SharedServerState>, request: PageRequest) -> Response {
    match load_page(&shared, &request).await {
        Ok(page) => html_page(StatusCode::OK, &page),
        Err(problem) => problem_page(&shared, &request.headers, &problem),
    }
}

async fn load_page(shared: &SharedServerState, request: &PageRequest) -> Result<TrendsPage, HttpProblem> {
    let word = request.parameter("span").unwrap_or("day");
    let span = SPANS.iter().find(|(_, known, _)| *known == word);
    let (span, _, _) = *span
        .ok_or_else(|| HttpProblem::bad_request(format!("`span` is `{}`; use hour, day or week", brief(word, 40))))?;
    let function = request.query.get("function").filter(|id| !id.is_empty());
    let link = |word: &str, function: Option<&str>| {
        let function = function.map(|id| ("function", id));
        format!("/trends{}", query_string([("span", word)].into_iter().chain(function)))
    };
    Ok(TrendsPage {
        shell: PageShell::new(shared, &request.headers, DashboardTab::Trends).polling(shared),
        spans: SPANS.iter().map(|(of, word, name)| (link(word, function), *name, *of == span)).collect(),
        function: function.map(|id| (brief(id, 120), link(word, None))),
        shown: shared.engine.query().trends(span, function).await?.map(|trends| ShownTrends::of(&trends, span)),
    })
}

impl ShownTrends {
    fn of(trends: &Trends, span: TrendSpan) -> Self {
        let link = |id: &str| format!("/function{}", query_string([("id", id)]));
        let at = |n: usize| ShownTime::from_timestamp(trends.from + trends.step * u32::try_from(n).unwrap_or(0));
        Self {
            step: format_duration(trends.step),
            charts: charts_of(trends, span),
            steps: trends.points.iter().enumerate().map(|(n, point)| (at(n), TrendRow::of(point))).collect(),
            functions: trends
                .functions
                .iter()
                .map(|(id, point)| (brief(id, 120), link(id), TrendRow::of(point)))
                .collect(),
            total: TrendRow::of(&trends.total),
            has_ai: trends.total.ai_micro_dollars > 0 || trends.total.tokens != [0, 0],
        }
    }
}

/// Returns the charts of a function's last day; `None` if the store keeps no counts.
pub(super) async fn day_of_function(engine: &Engine, id: &str) -> Result<Option<(Vec<Chart>, TrendRow)>, EngineError> {
    let trends = engine.query().trends(TrendSpan::Day, Some(id)).await?;
    Ok(trends.map(|trends| (charts_of(&trends, TrendSpan::Day), TrendRow::of(&trends.total))))
}
