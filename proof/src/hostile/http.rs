//! The HTTP interface: any sequence of requests to a server with a store in memory. Its functions
//! run between the requests.

use std::cell::RefCell;
use std::sync::Arc;

use axum::Router;
use axum::body::to_bytes;
use axum::http::{HeaderMap, Method, StatusCode, header};
use serde_json::Value;
use serde_json::value::RawValue;
use stepladder_core::{EventId, Timestamp};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::{Events, Journals, Listings, Queue, RunQuery};
use stepladder_engine::{Config, Engine};
use stepladder_server::{ServerOptions, router};
use stepladder_testkit::clock::{SeededEntropy, VirtualClock};
use stepladder_testkit::memory::Memory;
use tower::ServiceExt;

use super::function;
use super::script::{KEY, LatestIds, RequestScript, TOKEN, request};
use crate::{RunJournal, check};

/// Maximum size of a refusal, including escaping.
const REFUSAL_BYTES: usize = 8 * 1024;
/// Maximum number of hops between two requests. A run needs two.
const MOST_HOPS: usize = 200;

/// Sends the requests of a conversation and checks the responses:
///
/// - Nothing panics, and no response is a 5xx.
/// - The size of a response is bounded by the size of the requests.
/// - Protected pages are not shown without the token.
/// - Accepted events are stored.
/// - The journals are valid.
pub fn http(input: &[u8]) {
    let script = RequestScript::read(input);
    block_on(async {
        let world = HttpFixture::new(script.guarded);
        let mut ids = LatestIds::default();
        let mut sent = 0;
        for bytes in &script.requests {
            let Some(request) = request(bytes, &ids) else { continue };
            sent += bytes.len();
            let asked = SentRequest {
                method: request.method().clone(),
                path: request.uri().path().to_owned(),
                may_look: !script.guarded || has_secret(bytes),
            };
            let response = world.router.clone().oneshot(request).await.expect("the router answers");
            let (head, body) = response.into_parts();
            let body = to_bytes(body, usize::MAX).await.expect("the answer is whole");
            asked.check(head.status, &head.headers, &body, sent);
            if let Some(told) = accepted_ids(&body) {
                world.has_events(&told).await;
                ids.event = told.last().map_or(ids.event, EventId::to_string);
            }
            world.settle().await;
            ids.run = world.latest_run().await.unwrap_or(ids.run);
        }
        world.check_journals().await;
    });
}

/// Runs a future on this thread's own runtime.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    thread_local! {
        static RUNTIME: RefCell<tokio::runtime::Runtime> =
            RefCell::new(tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime"));
    }
    RUNTIME.with_borrow(|runtime| runtime.block_on(future))
}

/// The properties of a request that the checks of its response need.
struct SentRequest {
    method: Method,
    path: String,
    /// Whether the request may see protected pages.
    may_look: bool,
}

impl SentRequest {
    fn check(&self, status: StatusCode, headers: &HeaderMap, body: &[u8], sent: usize) {
        let what = format!("{} {}: {status} {:.300}", self.method, self.path, String::from_utf8_lossy(body));
        assert!(!status.is_server_error(), "{what}");
        assert!(headers.get(header::X_CONTENT_TYPE_OPTIONS).is_some_and(|value| value == "nosniff"), "{what}");
        // A page may show each sent string several times, and escaping may turn a character into
        // six.
        assert!(body.len() <= 64 * 1024 + 64 * sent, "{} bytes: {what}", body.len());
        let kind = headers.get(header::CONTENT_TYPE).map_or("", |value| value.to_str().expect("a readable type"));
        if kind == "application/json" && self.method != Method::HEAD {
            serde_json::from_slice::<&RawValue>(body).unwrap_or_else(|e| panic!("{e}: {what}"));
        }
        if status.is_client_error() {
            assert!(body.len() <= REFUSAL_BYTES, "{} bytes: {what}", body.len());
            let has_sentence = || serde_json::from_slice::<Value>(body).is_ok_and(|told| told["error"].is_string());
            assert!(self.method == Method::HEAD || kind.starts_with("text/html") || has_sentence(), "{what}");
        }
        if status.is_success() && !self.may_look {
            assert!(self.is_open(), "it was shown without the token: {what}");
        }
    }

    /// Returns whether the guarded server answers this request without the token.
    fn is_open(&self) -> bool {
        match self.path.strip_prefix("/e/") {
            Some(key) => self.method == Method::OPTIONS || key == KEY || key.contains('%'),
            None => matches!(&*self.path, "/health" | "/login" | "/style.css"),
        }
    }
}

/// Returns whether a request carries the token, as a header or as the login cookie.
fn has_secret(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    text.contains(TOKEN) || text.contains("stepladder_login")
}

/// Returns the events that a response reports as accepted.
fn accepted_ids(body: &[u8]) -> Option<Vec<EventId>> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    answer["ids"].as_array()?.iter().map(|id| id.as_str()?.parse().ok()).collect()
}

struct HttpFixture {
    memory: Arc<Memory>,
    clock: Arc<VirtualClock>,
    engine: Arc<Engine>,
    router: Router,
}

impl HttpFixture {
    fn new(guarded: bool) -> Self {
        let clock = Arc::new(VirtualClock::new(Timestamp::from_millis(1_700_000_000_000)));
        let memory = Arc::new(Memory::new(clock.clone()));
        let entropy = Arc::new(SeededEntropy::new(7));
        let engine =
            Engine::with_ports(memory.clone(), clock.clone(), entropy, function::all_programs(), Config::default());
        let engine = Arc::new(engine.expect("the functions are good"));
        let options = match guarded {
            false => ServerOptions { loopback: true, version: "1.2.3".into(), ..ServerOptions::default() },
            true => ServerOptions {
                event_keys: vec![KEY.into()],
                dashboard_token: Some(TOKEN.into()),
                loopback: false,
                version: "1.2.3".into(),
                ..ServerOptions::default()
            },
        };
        let router = router(engine.clone(), options);
        Self { memory, clock, engine, router }
    }

    /// Continues all runs as far as possible without moving the clock.
    async fn settle(&self) {
        for _ in 0..MOST_HOPS {
            if self.memory.next_due().is_none_or(|due| due > self.clock.now()) {
                return;
            }
            for delivery in self.memory.receive(1, self.engine.config().visibility()).await.expect("memory gives it") {
                self.engine.hop(delivery).await.expect("memory does not fail");
            }
        }
    }

    async fn has_events(&self, ids: &[EventId]) {
        for id in ids {
            let stored = self.memory.event(*id).await.expect("memory gives it");
            assert!(stored.is_some(), "event {id} was accepted and is not there");
        }
    }

    async fn latest_run(&self) -> Option<String> {
        let query = RunQuery { limit: 1, ..RunQuery::default() };
        self.memory.runs(query).await.expect("memory gives them").first().map(|row| row.run.to_string())
    }

    async fn check_journals(&self) {
        let query = RunQuery { limit: 10_000, ..RunQuery::default() };
        let mut journals = Vec::new();
        for row in self.memory.runs(query).await.expect("memory gives them") {
            let records = self.memory.read(row.run, 0).await.expect("memory gives it");
            let entries = records.into_iter().flat_map(|record| record.entries).collect();
            journals.push(RunJournal { run: row.run, entries });
        }
        let broken = check(&journals);
        assert!(broken.is_empty(), "{broken:#?}");
    }
}
