//! Health: the backlog, executing bodies, due timers, and dead letters with a button to redrive
//! them.
//!
//! The page reads the sweep's cursor and at most [`MOST_TIMERS`](stepladder_engine::MOST_TIMERS)
//! timers within 11 minutes. If the queues are a separate service, each is counted with one
//! request.

use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use stepladder_core::RunId;
use stepladder_core::wake::TimerPurpose;
use stepladder_engine::ports::queues::{QueueContents, QueueDepth, RedriveBounds, RedriveResult};
use stepladder_engine::{EngineError, Health};

use super::notice::{FormNotice, FormResult, shown_count};
use super::shell::{DashboardTab, PageShell};
use super::text::{ShownTime, brief, format_duration};
use super::{PageRequest, html_page, problem_page};
use crate::error::HttpProblem;
use crate::router::SharedServerState;

/// The maximum number of rows in a table.
const ROWS: usize = 50;
/// The maximum number of dead letters of each queue that one press of the button moves.
const REDRIVE_BATCH: usize = 100;
/// The maximum time that one press of the button may take. It is much less than any timeout of the
/// HTTP function.
const REDRIVE_TIME: Duration = Duration::from_secs(2);

#[derive(Template)]
#[template(path = "health.html")]
struct HealthPage {
    shell: PageShell,
    /// The numbers of due, waiting and served wakes; `None` if the queue is a separate service.
    backlog: Option<(usize, usize, u64)>,
    /// Whether the queues are separate services.
    remote: bool,
    /// The queues that are separate services; `None` if the service did not respond.
    queues: Option<Vec<QueueRow>>,
    /// The number of dead letters in all queues.
    dead: u64,
    executing: Vec<BodyRow>,
    bodies: usize,
    swept_to: Option<ShownTime>,
    timers: Vec<TimerRow>,
    /// The number of timers, if there are more than the table shows.
    all_timers: Option<String>,
    late: String,
    notice: Option<FormNotice>,
}

struct QueueRow {
    queue: String,
    holds: String,
    visible: u64,
    in_flight: u64,
    delayed: u64,
    dead: bool,
}

impl QueueRow {
    fn from_depth(depth: &QueueDepth) -> Self {
        Self {
            queue: brief(&depth.queue, 120),
            holds: match &depth.contents {
                QueueContents::Wakes => "wakes".into(),
                QueueContents::WakesOf(function) => format!("wakes of {}", brief(function, 100)),
                QueueContents::Events => "events".into(),
                QueueContents::DeadWakes => "wakes that no worker could process".into(),
                QueueContents::DeadEvents => "events that could not be ingested".into(),
            },
            visible: depth.visible,
            in_flight: depth.in_flight,
            delayed: depth.delayed,
            dead: depth.contents.is_dead(),
        }
    }
}

struct BodyRow {
    run: RunId,
    step: String,
    attempt: u32,
    took: String,
    since: Option<i64>,
}

struct TimerRow {
    due: ShownTime,
    run: RunId,
    function: String,
    purpose: String,
    late: bool,
}

/// `GET /health/page`: the health page. (`/health` is for load balancers.)
pub(super) async fn page(State(shared): State<SharedServerState>, request: PageRequest) -> Response {
    match load_page(&shared, &request).await {
        Ok(page) => html_page(StatusCode::OK, &page),
        Err(error) => problem_page(&shared, &request.headers, &error.into()),
    }
}

async fn load_page(shared: &SharedServerState, request: &PageRequest) -> Result<HealthPage, EngineError> {
    let (health, depths) = tokio::join!(shared.engine.query().health(), depths(shared));
    let Health { backlog, executing, swept_to, timers, more_timers } = health?;
    let late = timers.iter().filter(|timer| timer.due < shared.engine.now()).count();
    let at_least = |n: usize| if more_timers && n == timers.len() { format!("more than {n}") } else { n.to_string() };
    let now = shared.engine.now();
    let body = |body: &stepladder_engine::RunningBody| BodyRow {
        run: body.run,
        step: brief(&body.step, 120),
        attempt: body.attempt,
        took: format_duration(now.since(body.since)),
        since: Some(body.since.as_millis()),
    };
    let timer = |timer: &stepladder_core::Timer| TimerRow {
        due: ShownTime::from_timestamp(timer.due),
        run: timer.run,
        function: brief(&timer.group, 120),
        purpose: match &timer.purpose {
            TimerPurpose::Due(of) => brief(of.as_stored(), 120),
            TimerPurpose::Watchdog => "watchdog".into(),
            TimerPurpose::Deadline => "deadline".into(),
            TimerPurpose::Heartbeat(step) => format!("heartbeat of {}", brief(step, 120)),
        },
        late: timer.due < now,
    };
    Ok(HealthPage {
        shell: PageShell::new(shared, &request.headers, DashboardTab::Health).polling(shared),
        backlog: backlog.map(|backlog| (backlog.due, backlog.waiting, backlog.served)),
        remote: shared.queues.is_some(),
        dead: depths.iter().flatten().filter(|depth| depth.contents.is_dead()).map(QueueDepth::all).sum(),
        queues: depths.map(|depths| depths.iter().map(QueueRow::from_depth).collect()),
        bodies: executing.len(),
        executing: executing.iter().take(ROWS).map(body).collect(),
        swept_to: swept_to.map(ShownTime::from_timestamp),
        all_timers: (timers.len() > ROWS).then(|| at_least(timers.len())),
        late: at_least(late),
        timers: timers.iter().take(ROWS).map(timer).collect(),
        notice: FormNotice::from_request(request),
    })
}

/// Counts the messages in each queue. Returns `None` if the service does not respond; then the page
/// still shows the rest.
async fn depths(shared: &SharedServerState) -> Option<Vec<QueueDepth>> {
    let Some(queues) = &shared.queues else { return Some(Vec::new()) };
    queues.depths().await.inspect_err(|error| tracing::warn!(%error, "the queues cannot be counted")).ok()
}

/// `POST /health/redrive`: moves a batch of dead letters back to their queues.
pub(super) async fn redrive(State(shared): State<SharedServerState>, headers: HeaderMap) -> Response {
    match redrive_batch(&shared).await {
        Ok(result) => result.redirect("/health/page"),
        Err(problem) => problem_page(&shared, &headers, &problem),
    }
}

async fn redrive_batch(shared: &SharedServerState) -> Result<FormResult, HttpProblem> {
    let none = || HttpProblem::not_found("the local queue has no dead letters");
    let queues = shared.queues.as_ref().ok_or_else(none)?;
    let RedriveResult { wakes, events, unreadable, cut_short } = queues
        .redrive(RedriveBounds { most: REDRIVE_BATCH, within: REDRIVE_TIME })
        .await
        .map_err(EngineError::Store)?;
    tracing::info!(wakes, events, unreadable, cut_short, "dead letters were moved back");
    let [wakes, events, unreadable] = [wakes, events, unreadable].map(shown_count);
    Ok(FormResult::Redriven { wakes, events, unreadable, more: cut_short })
}
