//! News: streams that say that a page has changed, and never what it says now. The page is fetched again by its script,
//! through the same route, guard and templates as before.
//!
//! Each stream asks the engine once a second, as a poll would; it saves the browser the questions, and the network the
//! answers that say nothing new. Behind HTTP that cannot stream there is none: 204 tells the script to poll.

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

use super::Asked;
use super::runs::Search;
use crate::error::Problem;
use crate::path::RunPath;
use crate::router::Shared;

/// Streams at a time. Who comes later polls.
pub(crate) const MOST_STREAMS: usize = 64;
/// Between two questions.
const EACH: Duration = Duration::from_secs(1);
/// A stream ends after this time, and the browser comes again: a client that reads no news holds its place no longer.
const LASTS: Duration = Duration::from_secs(10 * 60);
/// Questions without news after which a comment shows that the stream lives, and finds out whether anybody listens.
const SILENT: u32 = 15;

/// `GET /live/runs?…`: whenever the first page of this search changes.
pub(super) async fn of_listing(State(shared): State<Shared>, asked: Asked) -> Response {
    if let Err(problem) = Search::of(&asked, shared.engine.now()) {
        return problem.into_response();
    }
    let seen = match asked.query.number("seen", "the number that the page has") {
        Ok(seen) => seen,
        Err(problem) => return problem.into_response(),
    };
    let Some(place) = place(&shared) else { return nothing() };
    let asked = Arc::new(asked);
    stream(shared.engine.clone(), place, seen, move |engine| {
        let asked = asked.clone();
        async move {
            // a stretch of time that ends now moves on
            let Ok(search) = Search::of(&asked, engine.now()) else { return Ok(0) };
            Ok(print_of(&search.look(&engine).await?.found.runs))
        }
    })
}

/// Another number when another list is shown. It holds within a process; a stream that comes back to another one hears
/// of a change once too often.
pub(super) fn print_of(runs: &[RunSummary]) -> u64 {
    let mut hash = DefaultHasher::new();
    for run in runs {
        (run.run, run.status, run.ended_at).hash(&mut hash);
    }
    hash.finish()
}

/// `GET /live/runs/{id}?seen=`: whenever the run has more entries than the page has seen.
pub(super) async fn of_run(State(shared): State<Shared>, path: Result<RunPath, Problem>, asked: Asked) -> Response {
    let RunPath(run) = match path {
        Ok(path) => path,
        Err(problem) => return problem.into_response(),
    };
    let seen: Seq = match asked.query.number("seen", "the number of an entry") {
        Ok(seen) => seen.unwrap_or(0),
        Err(problem) => return problem.into_response(),
    };
    let Some(place) = place(&shared) else { return nothing() };
    let entries = Arc::new(AtomicU64::new(seen));
    stream(shared.engine.clone(), place, Some(seen), move |engine| entries_of(engine, run, entries.clone()))
}

/// Reads on behind what was read: a long journal is not read each second.
async fn entries_of(engine: Arc<Engine>, run: RunId, entries: Arc<AtomicU64>) -> Result<u64, EngineError> {
    let now = engine.query().entries_since(run, entries.load(Relaxed)).await?;
    entries.store(now, Relaxed);
    Ok(now)
}

fn place(shared: &Shared) -> Option<OwnedSemaphorePermit> {
    shared.streams.clone()?.try_acquire_owned().ok()
}

/// `GET /live/none`: for pages without a stream, which are fetched now and then.
pub(super) async fn none() -> Response {
    nothing()
}

/// Browsers do not ask for a stream again that answered so.
fn nothing() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

struct Telling<A> {
    engine: Arc<Engine>,
    ask: A,
    known: Option<u64>,
    clock: Interval,
    ends: Instant,
    silent: u32,
    _place: OwnedSemaphorePermit,
}

/// Says `changed` whenever the answer is another one than before. It ends after [`LASTS`], with the server, or when the
/// storage fails: the browser then comes again.
fn stream<F>(
    engine: Arc<Engine>,
    place: OwnedSemaphorePermit,
    known: Option<u64>,
    ask: impl Fn(Arc<Engine>) -> F + Send + 'static,
) -> Response
where
    F: Future<Output = Result<u64, EngineError>> + Send + 'static,
{
    let mut clock = tokio::time::interval(EACH);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ends = Instant::now() + LASTS;
    let telling = Telling { engine, ask, known, clock, ends, silent: SILENT, _place: place };
    let news = futures::stream::unfold(telling, |mut telling| async move {
        loop {
            telling.clock.tick().await;
            if telling.engine.is_stopping() || Instant::now() >= telling.ends {
                return None;
            }
            let answer = (telling.ask)(telling.engine.clone()).await.ok()?;
            let first = telling.known.replace(answer).map(|known| known != answer);
            telling.silent += 1;
            let event = match first {
                Some(true) => Event::default().event("changed").data(answer.to_string()),
                None | Some(false) if telling.silent > SILENT => Event::default().comment("still here"),
                None | Some(false) => continue,
            };
            telling.silent = 0;
            return Some((Ok::<_, Infallible>(event), telling));
        }
    });
    Sse::new(news).into_response()
}
