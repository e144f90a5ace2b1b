//! Health: what waits, what executes, and when timers come due.
//!
//! Reads the sweep's cursor and the timers of at most 11 minutes. The queues of AWS are looked at by CloudWatch and the
//! command line; this process does not count them.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use stepladder_core::RunId;
use stepladder_core::wake::Purpose;
use stepladder_engine::{EngineError, Health};

use super::shell::{Shell, Tab};
use super::text::{Moment, brief, duration};
use super::{Asked, html, sorry};
use crate::router::Shared;

/// Rows of a table.
const ROWS: usize = 50;

#[derive(Template)]
#[template(path = "health.html")]
struct HealthPage {
    shell: Shell,
    /// Wakes that are late, others that wait, and wakes served; nothing where the queue is a service of its own.
    backlog: Option<(usize, usize, u64)>,
    executing: Vec<BodyRow>,
    bodies: usize,
    swept_to: Option<Moment>,
    timers: Vec<TimerRow>,
    all_timers: usize,
    late: usize,
}

struct BodyRow {
    run: RunId,
    step: String,
    attempt: u32,
    took: String,
    since: Option<i64>,
}

struct TimerRow {
    due: Moment,
    run: RunId,
    function: String,
    purpose: String,
    late: bool,
}

/// `GET /health/page`: `/health` is asked by load balancers.
pub(super) async fn page(State(shared): State<Shared>, asked: Asked) -> Response {
    match look(&shared, &asked).await {
        Ok(page) => html(StatusCode::OK, &page),
        Err(error) => sorry(&shared, &asked.headers, &error.into()),
    }
}

async fn look(shared: &Shared, asked: &Asked) -> Result<HealthPage, EngineError> {
    let Health { backlog, executing, swept_to, timers } = shared.engine.health().await?;
    let now = shared.engine.now();
    let body = |body: &stepladder_engine::Executing| BodyRow {
        run: body.run,
        step: brief(&body.step, 120),
        attempt: body.attempt,
        took: duration(now.since(body.since)),
        since: Some(body.since.as_millis()),
    };
    let timer = |timer: &stepladder_core::Timer| TimerRow {
        due: Moment::of(timer.due),
        run: timer.run,
        function: brief(&timer.group, 120),
        purpose: match &timer.purpose {
            Purpose::Step(step) => brief(step, 120),
            Purpose::Watchdog => "watchdog".into(),
            Purpose::Deadline => "deadline".into(),
        },
        late: timer.due < now,
    };
    Ok(HealthPage {
        shell: Shell::new(shared, &asked.headers, Tab::Health).live("/live/none".into()),
        backlog: backlog.map(|backlog| (backlog.due, backlog.waiting, backlog.served)),
        bodies: executing.len(),
        executing: executing.iter().take(ROWS).map(body).collect(),
        swept_to: swept_to.map(Moment::of),
        all_timers: timers.len(),
        late: timers.iter().filter(|timer| timer.due < now).count(),
        timers: timers.iter().take(ROWS).map(timer).collect(),
    })
}
