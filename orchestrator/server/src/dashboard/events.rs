//! Events: the list with the runs of each event, the page of one event, and the forms that send an
//! event.
//!
//! The list reads [`PAGE`] events, and the runs of each.

use askama::Template;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::json;
use stepladder_core::limits::EVENT_BYTES;
use stepladder_core::{EventId, Json, NewEvent, RunId, RunRow, Status};
use stepladder_engine::EventDetail;

use super::act::json_input;
use super::form::{FORM_BYTES, FormFields};
use super::json::indent_json;
use super::notice::{FormNotice, FormResult};
use super::run::EDITOR_BYTES;
use super::shell::{DashboardTab, PageShell};
use super::text::{ShownTime, brief, format_size};
use super::value::{PageByteBudget, ShownValue};
use super::values::{FullValue, value_response};
use super::{PageRequest, html_page, problem_page};
use crate::error::HttpProblem;
use crate::path::EventPath;
use crate::router::SharedServerState;

/// The number of events on a page of the list.
const PAGE: usize = 25;
/// The maximum number of runs of an event that the list shows.
const RUNS_IN_LIST: usize = 5;
/// The maximum number of runs of an event that the page of the event shows.
const RUNS: usize = 100;

struct EventRow {
    id: EventId,
    name: String,
    received: ShownTime,
    size: String,
    runs: Vec<StartedRunRow>,
    more: usize,
    /// The runs that waited for the event.
    resumed: Vec<StartedRunRow>,
    more_resumed: usize,
    nothing: Option<String>,
}

struct StartedRunRow {
    id: RunId,
    function: String,
    status: Status,
}

impl EventRow {
    fn from_event(look: &EventDetail, most: usize) -> Self {
        let started = |row: &RunRow| StartedRunRow {
            id: row.run,
            function: row.function.to_string(),
            status: row.ended.map_or(Status::Running, |(_, status)| status),
        };
        Self {
            id: look.event.id,
            name: brief(&look.event.name, 120),
            received: ShownTime::from_timestamp(look.event.received_at),
            size: format_size(look.event.data.get().len()),
            runs: look.runs.iter().take(most).map(started).collect(),
            more: look.runs.len().saturating_sub(most),
            resumed: look.resumed.iter().take(most).map(started).collect(),
            more_resumed: look.resumed.len().saturating_sub(most),
            nothing: look
                .why_no_runs
                .as_deref()
                .filter(|_| look.resumed.is_empty() || most > RUNS_IN_LIST)
                .map(|why| brief(why, 300)),
        }
    }
}

#[derive(Template)]
#[template(path = "events.html")]
struct EventsPage {
    shell: PageShell,
    events: Vec<EventRow>,
    older: Option<EventId>,
    is_first: bool,
    /// The names of events that start a function, for the editor.
    names: Vec<String>,
}

/// `GET /events`: the list of events.
pub(super) async fn list_page(State(shared): State<SharedServerState>, request: PageRequest) -> Response {
    match load_page(&shared, &request).await {
        Ok(page) => html_page(StatusCode::OK, &page),
        Err(problem) => problem_page(&shared, &request.headers, &problem),
    }
}

async fn load_page(shared: &SharedServerState, request: &PageRequest) -> Result<EventsPage, HttpProblem> {
    let before = request.parameter("before").map(|id| {
        id.parse::<EventId>()
            .map_err(|_| HttpProblem::bad_request(format!("`before` is `{id}`; follow a link of the previous page")))
    });
    let before = before.transpose()?;
    let mut looks = shared.engine.query().events(before, PAGE).await?;
    let mut names: Vec<String> = shared
        .engine
        .functions()
        .snapshot()
        .specs()
        .flat_map(|spec| &spec.triggers)
        .map(|trigger| trigger.event.to_string())
        .collect();
    names.sort_unstable();
    names.dedup();
    let shell = PageShell::new(shared, &request.headers, DashboardTab::Events);
    let older = looks.last().filter(|_| looks.len() == PAGE).map(|look| look.event.id);
    // the listing follows the ids, and the event of a run has the time of the run's event in its id
    looks.sort_by_key(|look| std::cmp::Reverse((look.event.received_at, look.event.id)));
    Ok(EventsPage {
        shell: if before.is_none() { shell.polling(shared) } else { shell },
        older,
        events: looks.iter().map(|look| EventRow::from_event(look, RUNS_IN_LIST)).collect(),
        is_first: before.is_none(),
        names,
    })
}

#[derive(Template)]
#[template(path = "event.html")]
struct EventPage {
    shell: PageShell,
    event: EventRow,
    data: ShownValue,
    sender_id: Option<String>,
    ts: ShownTime,
    editor: String,
    notice: Option<FormNotice>,
}

/// `GET /events/{id}`: the page of one event, by the server's id or by the sender's id.
pub(super) async fn event_page(
    State(shared): State<SharedServerState>,
    path: Result<EventPath, HttpProblem>,
    request: PageRequest,
) -> Response {
    let look = match path {
        Ok(EventPath(id)) => shared.engine.query().event_with_runs(&id).await.map_err(HttpProblem::from),
        Err(problem) => Err(problem),
    };
    match look {
        Ok(look) => html_page(StatusCode::OK, &page_of(&shared, &look, &request)),
        Err(problem) => problem_page(&shared, &request.headers, &problem),
    }
}

fn page_of(shared: &SharedServerState, look: &EventDetail, request: &PageRequest) -> EventPage {
    let event = &look.event;
    let text = event.data.get();
    EventPage {
        shell: PageShell::new(shared, &request.headers, DashboardTab::Events).polling(shared),
        event: EventRow::from_event(look, RUNS),
        data: PageByteBudget::new().show(&event.data, format!("/events/{}/data", event.id)),
        sender_id: event.external_id.as_deref().map(|id| brief(id, 300)),
        ts: ShownTime::from_timestamp(event.ts),
        editor: if text.len() <= EDITOR_BYTES { indent_json(text) } else { String::new() },
        notice: FormNotice::from_request(request),
    }
}

/// `GET /events/{id}/data`: the event's data as a file, as text or as a page of its own.
pub(super) async fn data(
    State(shared): State<SharedServerState>,
    path: Result<EventPath, HttpProblem>,
    request: PageRequest,
) -> Response {
    let event = match path {
        Ok(EventPath(id)) => shared.engine.query().event(&id).await.map_err(HttpProblem::from),
        Err(problem) => Err(problem),
    };
    let value = event.map(|event| FullValue {
        title: format!("Data of {}", event.name),
        file: format!("{}-data.json", event.id),
        link: format!("/events/{}/data", event.id),
        from: format!("/events/{}", event.id),
        json: event.data,
    });
    value_response(&shared, &request, DashboardTab::Events, value)
}

/// `POST /events`: sends an event, and redirects to the page of the event.
pub(super) async fn send(State(shared): State<SharedServerState>, headers: HeaderMap, body: Body) -> Response {
    match send_form(&shared, body).await {
        Ok(id) => FormResult::EventSent.redirect(&format!("/events/{id}")),
        Err(problem) => problem_page(&shared, &headers, &problem),
    }
}

async fn send_form(shared: &SharedServerState, body: Body) -> Result<EventId, HttpProblem> {
    let fields = FormFields::read(shared, body, FORM_BYTES, &["name", "data", "id"]).await?;
    let data = json_input(fields.get("data"))?;
    ingest_named(shared, fields.get("name").trim(), data, fields.get("id").trim()).await
}

/// Sends an event with this name and data, and with this id of its sender if there is one.
pub(super) async fn ingest_named(
    shared: &SharedServerState,
    name: &str,
    data: Option<Json>,
    id: &str,
) -> Result<EventId, HttpProblem> {
    let mut event = json!({ "name": name });
    if !id.is_empty() {
        event["id"] = id.into();
    }
    // the data is kept as text, because its numbers and the order of its fields must not change
    let mut text = event.to_string();
    if let Some(data) = data {
        text.truncate(text.len() - 1);
        text = format!("{text},\"data\":{}}}", data.get());
    }
    ingest_one(shared, NewEvent::decode_all(text.as_bytes())?).await
}

/// `POST /events/{id}/replay`: sends a new event with the same name and data.
pub(super) async fn replay_from_form(
    State(shared): State<SharedServerState>,
    path: Result<EventPath, HttpProblem>,
    headers: HeaderMap,
) -> Response {
    match send_again(&shared, path).await {
        Ok(id) => FormResult::EventSent.redirect(&format!("/events/{id}")),
        Err(problem) => problem_page(&shared, &headers, &problem),
    }
}

async fn send_again(shared: &SharedServerState, path: Result<EventPath, HttpProblem>) -> Result<EventId, HttpProblem> {
    let EventPath(id) = path?;
    let event = shared.engine.query().event(&id).await?;
    if event.data.get().len() > EVENT_BYTES {
        return Err(HttpProblem::bad_request("this event is larger than an event may be now"));
    }
    let mut again = NewEvent::new(event.name, event.data);
    again.user = event.user;
    ingest_one(shared, vec![again]).await
}

/// Ingests an event in a separate task: even if the browser closes the connection, all runs of the
/// stored event are created.
async fn ingest_one(shared: &SharedServerState, events: Vec<NewEvent>) -> Result<EventId, HttpProblem> {
    let mut admitted = shared.intake.admit(&shared.engine)?;
    admitted.reserve(events.len())?;
    let engine = shared.engine.clone();
    let ingest = tokio::spawn(async move {
        let ids = engine.intake().ingest(events, None).await;
        drop(admitted);
        ids
    });
    let failed =
        || HttpProblem::new(StatusCode::SERVICE_UNAVAILABLE, "the server could not accept the event; try again");
    ingest.await.map_err(|_| failed())??.first().copied().ok_or_else(failed)
}
