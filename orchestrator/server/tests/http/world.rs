//! A server under test. It has no socket, and its log is kept in memory.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use serde_json::Value;
use stepladder_core::{Event, Fact, Record, Timer, Timestamp};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::{
    Backend, Commit, CommitResult, Commits, EarlyWrite, Events, JournalAppend, Journals, Queue, RunCreation, RunStart,
    Timers,
};
use stepladder_engine::{Config, Engine, RegisteredFunction};
use stepladder_server::{ServerOptions, router};
use stepladder_testkit::clock::{SeededEntropy, VirtualClock};
use stepladder_testkit::memory::Memory;
use tower::ServiceExt;
use tracing::subscriber::DefaultGuard;

use crate::script::ScriptedProgram;

/// The server, its storage and its log.
pub(crate) struct ServerFixture {
    memory: Arc<Memory>,
    pub(crate) clock: Arc<VirtualClock>,
    engine: Arc<Engine>,
    pub(crate) router: Router,
    log: LogBuffer,
    _logging: DefaultGuard,
}

/// A response with a body that was read to the end.
#[derive(Debug)]
pub(crate) struct TestResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl TestResponse {
    /// Returns the body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    /// Returns the field `data` of the body.
    pub(crate) fn data(&self) -> Value {
        self.json()["data"].take()
    }

    /// Returns the sentence of a refusal.
    pub(crate) fn sentence(&self) -> String {
        self.json()["error"].as_str().unwrap_or_else(|| panic!("no error: {}", self.text)).to_owned()
    }

    /// Returns the value of a header; the empty string if the header is missing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl ServerFixture {
    /// Creates a server on loopback that requires no key.
    pub(crate) fn new() -> Self {
        Self::with_options(ServerOptions { loopback: true, version: "1.2.3".into(), ..ServerOptions::default() })
    }

    pub(crate) fn with_options(options: ServerOptions) -> Self {
        Self::with_options_and_programs(options, Vec::new())
    }

    /// Creates a server on loopback that requires no key and has these additional functions.
    pub(crate) fn with_programs(functions: Vec<RegisteredFunction>) -> Self {
        Self::with_options_and_programs(
            ServerOptions { loopback: true, version: "1.2.3".into(), ..ServerOptions::default() },
            functions,
        )
    }

    fn with_options_and_programs(options: ServerOptions, also: Vec<RegisteredFunction>) -> Self {
        let log = LogBuffer::default();
        let logging = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer({
                let log = log.clone();
                move || log.clone()
            })
            .finish();
        let logging = tracing::subscriber::set_default(logging);
        let clock = Arc::new(VirtualClock::new(Timestamp::from_millis(1_700_000_000_000)));
        let memory = Arc::new(Memory::new(clock.clone()));
        let mut functions = vec![
            ScriptedProgram::echo_program(),
            ScriptedProgram::nap_program(),
            ScriptedProgram::markup_program(),
            ScriptedProgram::paying_program(),
            ScriptedProgram::listening_program(),
        ];
        functions.extend(also);
        let entropy = Arc::new(SeededEntropy::new(7));
        let engine = Engine::with_ports(memory.clone(), clock.clone(), entropy, functions, Config::default()).unwrap();
        let engine = Arc::new(engine);
        let router = router(engine.clone(), options);
        Self { memory, clock, engine, router, log, _logging: logging }
    }

    /// Returns a second server over the same data, behind another backend.
    pub(crate) fn over(&self, wrap: impl FnOnce(Arc<Memory>) -> Arc<dyn Backend>) -> Self {
        let functions = vec![ScriptedProgram::echo_program()];
        let (clock, entropy) = (self.clock.clone(), Arc::new(SeededEntropy::new(8)));
        let engine =
            Engine::with_ports(wrap(self.memory.clone()), clock.clone(), entropy, functions, Config::default());
        let engine = Arc::new(engine.unwrap());
        let router = router(engine.clone(), ServerOptions { loopback: true, ..ServerOptions::default() });
        let logging = tracing::subscriber::set_default(tracing::subscriber::NoSubscriber::default());
        Self { memory: self.memory.clone(), clock, engine, router, log: LogBuffer::default(), _logging: logging }
    }

    pub(crate) async fn send_request(&self, request: Request<Body>) -> TestResponse {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        TestResponse { status: head.status, headers: head.headers, text: String::from_utf8(body.into()).unwrap() }
    }

    pub(crate) async fn request(&self, method: Method, path: &str, body: impl Into<Body>) -> TestResponse {
        self.send_request(Request::builder().method(method).uri(path).body(body.into()).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> TestResponse {
        self.request(Method::GET, path, "").await
    }

    /// Sends a GET request with one header.
    pub(crate) async fn get_with(&self, path: &str, name: &str, value: &str) -> TestResponse {
        self.send_request(Request::builder().uri(path).header(name, value).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Body>) -> TestResponse {
        self.request(Method::POST, path, body).await
    }

    /// Posts a form, as a browser does from a page of this server.
    pub(crate) async fn post_form(&self, path: &str, body: impl Into<Body>) -> TestResponse {
        let request = Request::builder().method(Method::POST).uri(path).header("host", "localhost:8288");
        let request = request.header("origin", "http://localhost:8288").header("sec-fetch-site", "same-origin");
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        self.send_request(request.body(body.into()).unwrap()).await
    }

    /// Opens the page to which a form redirected, as the browser does: with the cookie of the form.
    pub(crate) async fn follow(&self, done: &TestResponse) -> TestResponse {
        assert_eq!(done.status, 303, "{}", done.text);
        let cookie = done.header("set-cookie").split(';').next().unwrap_or_default();
        self.get_with(done.header("location"), "cookie", cookie).await
    }

    /// Returns the engine of the server.
    pub(crate) fn engine(&self) -> Arc<Engine> {
        self.engine.clone()
    }

    /// Tells the engine to stop.
    pub(crate) fn start_shutdown(&self) {
        self.engine.stop();
    }

    /// Sends events, executes their runs as far as possible, and returns the ids of the events.
    pub(crate) async fn send(&self, events: Value) -> Vec<String> {
        let answer = self.post("/e/key", events.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        self.settle().await;
        answer.json()["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
    }

    /// Sends an event that starts one run. Returns the run's id.
    pub(crate) async fn run(&self, event: Value) -> String {
        let event = self.send(event).await.remove(0);
        let runs = self.get(&format!("/v1/events/{event}/runs")).await.data();
        assert_eq!(runs.as_array().unwrap().len(), 1, "{runs}");
        runs[0]["run_id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn settle(&self) {
        while self.memory.next_due().is_some_and(|due| due <= self.clock.now()) {
            for delivery in self.memory.receive(1, self.engine.config().visibility()).await.unwrap() {
                self.engine.hop(delivery).await.unwrap();
            }
        }
    }

    /// Returns the time of the world's clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Advances the clock without executing anything.
    pub(crate) fn pass_time(&self, time: Duration) {
        self.clock.set(self.clock.now() + time);
    }

    /// Stores timers.
    pub(crate) async fn store_timers(&self, timers: Vec<Timer>) {
        self.memory.set(timers).await.unwrap();
    }

    /// Stores an event, and a run with a journal that was written by hand.
    pub(crate) async fn store_run(&self, event: Event, start: RunStart) {
        self.memory.accept(vec![event], self.clock.now()).await.unwrap();
        self.memory.create_runs(vec![start]).await.unwrap();
    }

    /// Stores an event that starts nothing.
    pub(crate) async fn store_event(&self, event: Event) {
        self.memory.accept(vec![event], self.clock.now()).await.unwrap();
    }

    /// Appends facts to the journal of a run, at the time of the clock.
    pub(crate) async fn append(&self, run: &str, facts: Vec<Fact>) {
        let run = run.parse().unwrap();
        let seq = self.memory.read(run, 0).await.unwrap().last().map_or(0, Record::next);
        let label = |fact: &Fact| match fact {
            Fact::LabelsAdded { labels } => labels.clone(),
            _ => Vec::new(),
        };
        let before = facts.iter().flat_map(label).map(|label| EarlyWrite::AddLabel { run, label }).collect();
        let entries = facts.into_iter().map(|fact| fact.into_entry(self.now())).collect();
        let record = Record { seq, token: u128::from(seq), code: "1".into(), entries };
        let append = Some(Arc::new(JournalAppend { run, record }));
        let done = self.memory.commit(Commit { before, append, ..Commit::default() }).await.unwrap();
        assert_eq!(done, CommitResult::Done);
    }

    /// Returns the log so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8(self.log.0.lock().unwrap().clone()).unwrap()
    }

    /// Panics if an error was logged.
    pub(crate) fn assert_no_error_logged(&self) {
        let log = self.log();
        assert!(!log.contains("ERROR"), "{log}");
    }
}

/// A log that is kept in memory.
#[derive(Clone, Default)]
struct LogBuffer(Arc<Mutex<Vec<u8>>>);

impl Write for LogBuffer {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(line)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
