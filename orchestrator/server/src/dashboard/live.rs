//! Streams that tell a page that it has changed, but not how. The script of the page then fetches
//! the page again, through the same route, guard and templates.
//!
//! Each stream queries the engine once a second. This costs as much as polling by the browser, but
//! saves requests and responses without news. If HTTP cannot stream, the response 204 tells the
//! script to poll.

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use stepladder_core::RunId;
use stepladder_core::journal::Seq;
use stepladder_engine::view::RunSummary;
use stepladder_engine::{Engine, EngineError};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::PageRequest;
use super::runs::RunSearch;
use crate::error::HttpProblem;
use crate::path::RunPath;
use crate::router::SharedServerState;

/// The maximum number of streams at the same time. All other pages poll.
pub(crate) const MAX_STREAMS: usize = 64;
/// The time between two queries.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The maximum lifetime of a stream. Then the browser opens another one. If a client reads nothing,
/// its permit is freed after this time.
const STREAM_LIFETIME: Duration = Duration::from_secs(10 * 60);
/// The number of queries without a change after which a comment is sent. The comment keeps the
/// connection open, and shows whether the client has closed it.
const SILENT_POLLS: u32 = 15;

/// `GET /live/runs?…`: a stream that says when the first page of this search has changed.
pub(super) async fn stream_of_listing(State(shared): State<SharedServerState>, request: PageRequest) -> Response {
    if let Err(problem) = RunSearch::from_request(&request, shared.engine.now()) {
        return problem.into_response();
    }
    let seen = match request.query.number("seen", "the number that the page has") {
        Ok(seen) => seen,
        Err(problem) => return problem.into_response(),
    };
    let Some(permit) = permit(&shared) else { return no_stream() };
    let request = Arc::new(request);
    stream(shared.engine.clone(), permit, seen, move |engine| {
        let request = request.clone();
        async move {
            // a time span that ends now moves with the clock, so the search is parsed each time
            let Ok(search) = RunSearch::from_request(&request, engine.now()) else { return Ok(0) };
            Ok(fingerprint(&search.run(&engine, false).await?.found.runs))
        }
    })
}

/// Returns a hash of the list of runs. The hash differs between processes: if a stream is reopened
/// at another process, it reports one change too many.
pub(super) fn fingerprint(runs: &[RunSummary]) -> u64 {
    let mut hash = DefaultHasher::new();
    for run in runs {
        (run.run, run.status, run.ended_at, &run.activity).hash(&mut hash);
    }
    hash.finish()
}

/// `GET /live/runs/{id}?seen=`: a stream that says when the run has more entries than the page
/// shows.
pub(super) async fn stream_of_run(
    State(shared): State<SharedServerState>,
    path: Result<RunPath, HttpProblem>,
    request: PageRequest,
) -> Response {
    let RunPath(run) = match path {
        Ok(path) => path,
        Err(problem) => return problem.into_response(),
    };
    let seen: Seq = match request.query.number("seen", "the number of an entry") {
        Ok(seen) => seen.unwrap_or(0),
        Err(problem) => return problem.into_response(),
    };
    let Some(permit) = permit(&shared) else { return no_stream() };
    let entries = Arc::new(AtomicU64::new(seen));
    stream(shared.engine.clone(), permit, Some(seen), move |engine| count_entries(engine, run, entries.clone()))
}

/// Returns the number of entries of a run. Reads only new entries, so that a long journal is not
/// read each second.
async fn count_entries(engine: Arc<Engine>, run: RunId, entries: Arc<AtomicU64>) -> Result<u64, EngineError> {
    let now = engine.query().entries_since(run, entries.load(Relaxed)).await?;
    entries.store(now, Relaxed);
    Ok(now)
}

fn permit(shared: &SharedServerState) -> Option<OwnedSemaphorePermit> {
    shared.streams.clone()?.try_acquire_owned().ok()
}

/// `GET /live/none`: the route for pages without a stream. They poll.
pub(super) async fn no_content() -> Response {
    no_stream()
}

/// Returns the response 204, after which the browser does not request the stream again.
fn no_stream() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

struct ChangeStream<A> {
    engine: Arc<Engine>,
    query: A,
    known: Option<u64>,
    clock: Interval,
    ends: Instant,
    silent: u32,
    _permit: OwnedSemaphorePermit,
}

/// Sends `changed` each time the result of `query` changes. The stream ends after
/// [`STREAM_LIFETIME`], with the server, or if the storage fails. Then the browser opens another
/// one.
fn stream<F>(
    engine: Arc<Engine>,
    permit: OwnedSemaphorePermit,
    known: Option<u64>,
    query: impl Fn(Arc<Engine>) -> F + Send + 'static,
) -> Response
where
    F: Future<Output = Result<u64, EngineError>> + Send + 'static,
{
    let mut clock = tokio::time::interval(POLL_INTERVAL);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ends = Instant::now() + STREAM_LIFETIME;
    let stream = ChangeStream { engine, query, known, clock, ends, silent: SILENT_POLLS, _permit: permit };
    let news = futures::stream::unfold(stream, |mut stream| async move {
        loop {
            stream.clock.tick().await;
            if stream.engine.is_stopping() || Instant::now() >= stream.ends {
                return None;
            }
            let answer = (stream.query)(stream.engine.clone()).await.ok()?;
            let first = stream.known.replace(answer).map(|known| known != answer);
            stream.silent += 1;
            let event = match first {
                Some(true) => Event::default().event("changed").data(answer.to_string()),
                None | Some(false) if stream.silent > SILENT_POLLS => Event::default().comment("still here"),
                None | Some(false) => continue,
            };
            stream.silent = 0;
            return Some((Ok::<_, Infallible>(event), stream));
        }
    });
    Sse::new(news).into_response()
}
