//! The event API, which receives events from Inngest's clients, webhooks and scripts, and the
//! routes that show accepted events.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use stepladder_api::{DataResponse, Event, EventsResponse};
use stepladder_core::trace::TraceContext;
use stepladder_core::{EventId, NewEvent, Timestamp};
use stepladder_engine::{EngineError, IdSeed};

use super::unanswered::RequestAttempt;
use super::{answer, fit};
use crate::error::HttpProblem;
use crate::path::{EventPath, KeyPath};
use crate::router::SharedServerState;

/// The maximum size of a request with events: 64 MiB. Each event has a limit of its own.
const BODY_BYTES: usize = 64 * 1024 * 1024;
/// The header with which a client marks repeated requests. Its form is `millis,base64 of 10 bytes`,
/// as the `inngest` package sends it.
const SEED: &str = "x-inngest-event-id-seed";
/// How long a browser may cache the response to a preflight, in seconds.
const PREFLIGHT_SECONDS: &str = "7200";

/// `POST /e/{key}`: receives events.
pub(super) async fn receive(
    State(shared): State<SharedServerState>,
    KeyPath(key): KeyPath,
    RequestDeadline(deadline): RequestDeadline,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match accept(shared, key.as_deref(), &headers, deadline, body).await {
        Ok(ids) => Json(EventsResponse { ids, status: 200, error: None }).into_response(),
        Err(problem) => refusal_response(&problem),
    }
}

/// Returns the response to a refused request, with the JSON that clients of the event API expect.
pub(crate) fn refusal_response(problem: &HttpProblem) -> Response {
    let status = problem.status.as_u16();
    problem.with_body(Json(EventsResponse { ids: Vec::new(), status, error: Some(problem.sentence.clone()) }))
}

/// The deadline of a request; `None` if it has none.
pub(crate) struct RequestDeadline(Option<Timestamp>);

impl FromRequestParts<SharedServerState> for RequestDeadline {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, shared: &SharedServerState) -> Result<Self, Infallible> {
        Ok(Self(shared.deadline.and_then(|read| read(&parts.extensions))))
    }
}

async fn accept(
    shared: SharedServerState,
    key: Option<&str>,
    headers: &HeaderMap,
    deadline: Option<Timestamp>,
    body: Body,
) -> Result<Vec<EventId>, HttpProblem> {
    shared.keys.admit(key)?;
    // the body is read even if the request is refused; otherwise a client that is still sending
    // would not see the response
    let body = shared.bodies.read(body, BODY_BYTES).await?;
    let mut admitted = shared.intake.admit(&shared.engine)?;
    let mut events = NewEvent::decode_all(&body.bytes)?;
    if let Some(trace) = parse_trace_headers(headers).map(Arc::new) {
        events.iter_mut().filter(|event| event.trace.is_none()).for_each(|event| event.trace = Some(trace.clone()));
    }
    admitted.reserve(events.len())?;
    let seed = parse_seed_header(headers);
    // without a seed, a repeated request is recognised by its body
    let attempt = match seed {
        Some(_) => None,
        None => Some(shared.unanswered.start(&body.bytes, || shared.engine.intake().seed(events.len()))),
    };
    let seed = seed.or(attempt.as_ref().map(RequestAttempt::seed));
    let hash = attempt.as_ref().map(RequestAttempt::body_hash);
    // in a separate task, so that all runs of a stored event are created even if the client
    // disconnects
    let ingest = tokio::spawn(async move {
        let ids = match (deadline, seed) {
            (Some(deadline), Some(seed)) => shared.engine.intake().ingest_by(events, seed, hash, deadline).await,
            (_, seed) => shared.engine.intake().ingest(events, seed).await,
        };
        drop((body, admitted));
        ids
    });
    let Ok(ids) = ingest.await else {
        return Err(HttpProblem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the server could not accept the events; try again",
        ));
    };
    if let (Some(attempt), false) = (attempt, matches!(ids, Err(EngineError::Store(_)))) {
        attempt.mark_answered();
    }
    Ok(ids?)
}

/// Reads the span of the sender from the headers of a request. Invalid headers are ignored, as the
/// standard requires. An event with a `traceparent` of its own keeps that.
fn parse_trace_headers(headers: &HeaderMap) -> Option<TraceContext> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let parent = text("traceparent")?;
    TraceContext::parse(parent, text("tracestate")).or_else(|_| TraceContext::parse(parent, None)).ok()
}

/// Reads the seed from the headers of a request. An invalid seed is ignored, as Inngest does.
fn parse_seed_header(headers: &HeaderMap) -> Option<IdSeed> {
    let (millis, entropy) = headers.get(SEED)?.to_str().ok()?.split_once(',')?;
    let millis: i64 = millis.parse().ok().filter(|millis| (1..=Timestamp::MAX.as_millis()).contains(millis))?;
    let entropy: [u8; 10] = BASE64_STANDARD.decode(entropy).ok()?.try_into().ok()?;
    let random = entropy.iter().fold(0, |bits: u128, byte| bits << 8 | u128::from(*byte));
    Some(IdSeed { at: Timestamp::from_millis(millis), random })
}

/// `OPTIONS /e/{key}`: tells a browser that pages of any origin may send events.
pub(super) async fn preflight(headers: HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let allow = response.headers_mut();
    allow.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST, OPTIONS"));
    // Lambda passes headers on as strings; a header that is not a string would turn the response
    // into a 502
    let requested = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS).filter(|names| names.to_str().is_ok()).cloned();
    allow.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, requested.unwrap_or(HeaderValue::from_static("content-type")));
    allow.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_SECONDS));
    allow.insert(header::VARY, HeaderValue::from_static("access-control-request-headers"));
    response
}

/// Allows pages of every origin to read the responses of `/e`, including refusals. This is safe
/// because cookies have no effect on these routes.
pub(crate) async fn allow_every_origin(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// `GET /v1/events/{id}`: one event.
pub(super) async fn get_event(
    State(shared): State<SharedServerState>,
    EventPath(id): EventPath,
) -> Result<Response, HttpProblem> {
    let event = shared.engine.query().event(&id).await?;
    let resumed = shared.engine.query().runs_resumed_by(event.id).await?;
    let data = Event { resumed_runs: resumed.iter().map(|row| row.run).collect(), ..Event::from(&event) };
    Ok(Json(DataResponse { data }).into_response())
}

/// `GET /v1/events/{id}/runs`: the runs of an event.
pub(super) async fn get_runs_of_event(
    State(shared): State<SharedServerState>,
    EventPath(id): EventPath,
) -> Result<Response, HttpProblem> {
    let runs = shared.engine.query().runs_of_event(&id).await?;
    let mut answer = DataResponse { data: runs.iter().map(answer::run_json).collect() };
    if let Some(limit) = shared.answer_bytes {
        fit::fit_runs(&mut answer, limit);
    }
    Ok(Json(answer).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed_of(value: &str) -> Option<IdSeed> {
        parse_seed_header(&HeaderMap::from_iter([(SEED.parse().unwrap(), value.parse().unwrap())]))
    }

    #[test]
    fn a_seed_is_milliseconds_and_ten_bytes() {
        let seed = seed_of("1743130137367,eii2YKXRVTJPuA==").unwrap();
        assert_eq!(seed.at, Timestamp::from_millis(1_743_130_137_367));
        assert_eq!(seed.random, 0x7a28_b660_a5d1_5532_4fb8);
    }

    #[test]
    fn the_headers_of_a_trace_are_read_and_invalid_ones_are_ignored() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let read = |parent: &str, state: &str| {
            let of = |name: &str, value: &str| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap());
            parse_trace_headers(&HeaderMap::from_iter([of("traceparent", parent), of("tracestate", state)]))
        };
        let both = read(parent, "a=1").unwrap();
        assert_eq!((both.traceparent(), both.state.as_deref()), (parent.into(), Some("a=1")));
        assert_eq!(read(parent, &"a".repeat(600)).unwrap().state, None);
        assert_eq!(read("00-1-2-3", "a=1"), None);
        assert_eq!(parse_trace_headers(&HeaderMap::new()), None);
    }

    #[test]
    fn an_unreadable_seed_is_ignored() {
        for unreadable in [
            "",
            "1743130137367",
            "1743130137367,",
            "0,eii2YKXRVTJPuA==",
            "-5,eii2YKXRVTJPuA==",
            "9223372036854775807,eii2YKXRVTJPuA==",
            "1743130137367,eii2YKXRVTJP",
            "1743130137367,eii2YKXRVTJPuA==,1",
            "1743130137367,***",
        ] {
            assert_eq!(seed_of(unreadable), None, "{unreadable}");
        }
        assert_eq!(parse_seed_header(&HeaderMap::new()), None);
    }
}
