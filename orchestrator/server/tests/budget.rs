//! Limits on the cost of pages when the data file contains a hundred thousand runs: the number of
//! reads and the size of a page must not grow with the stored data.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use futures::future::BoxFuture;
use stepladder_core::journal::{Failure, NewRun, Outcome, RunOrigin, StepKind};
use stepladder_core::report::AttemptReport;
use stepladder_core::wake::TimerPurpose;
use stepladder_core::{
    Event, EventId, Fact, Label, Record, RunId, RunRow, Status, Timer, Timestamp, Wake, WakeCause, json,
};
use stepladder_engine::ports::{Backend, Commit, Commits, Events, JournalAppend, RunCreation, RunStart, StoreResult};
use stepladder_engine::{Config, Engine, RegisteredFunction};
use stepladder_server::ServerOptions;
use stepladder_sqlite::Sqlite;
use stepladder_testkit::intercept::{Intercept, InterceptedBackend, StorageCall};
use tower::ServiceExt;

const RUNS: u64 = 100_000;
const BATCH: u64 = 2_000;
/// The time between two runs: all of them take seven days.
const GAP: Duration = Duration::from_millis(6_048);
const BYTES: usize = 300 * 1024;
/// Maximum size of a compressed page.
const COMPRESSED_BYTES: usize = 60 * 1024;
/// Maximum time of the server for a page of an optimised build.
const TIME: Duration = Duration::from_millis(50);
/// Maximum time of the server for a page of a run of [`STEPS`] steps, of an optimised build.
const LONG_TIME: Duration = Duration::from_millis(100);
const STEPS: u64 = 10_000;
/// How many times a page of an optimised build is measured.
const SAMPLES: usize = if cfg!(debug_assertions) { 1 } else { 9 };
/// Maximum number of storage calls for a page.
const CALLS: usize = 400;

/// A store that counts its calls.
struct CountingBackend {
    sqlite: Arc<Sqlite>,
    calls: Arc<AtomicUsize>,
}

#[async_trait]
impl Intercept for CountingBackend {
    fn backend(&self) -> &dyn Backend {
        &*self.sqlite
    }

    async fn around<'a, T: Debug + Send>(
        &'a self,
        _: StorageCall<'a>,
        reply: BoxFuture<'a, StoreResult<T>>,
    ) -> StoreResult<T> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        reply.await
    }
}

fn event(n: u64, now: Timestamp) -> Event {
    let at = now - GAP * u32::try_from(RUNS - n).expect("a small number");
    Event {
        id: EventId::new(at, u128::from(n)),
        name: if n.is_multiple_of(2) { "test/hello.world" } else { "client/enhance.requested" }.into(),
        data: json::to_json(&serde_json::json!({"name": format!("number {n}"), "text": "x".repeat(100)}))
            .expect("JSON"),
        ts: at,
        user: None,
        external_id: None,
        trace: None,
        received_at: at,
    }
}

/// Returns run number `n`, which consists of one record. One run in ten has failed, and one in a
/// hundred is live.
fn start(event: Event, n: u64) -> RunStart {
    let function: Arc<str> = if n.is_multiple_of(2) { "hello-world" } else { "enhance-client-with-ai" }.into();
    let (at, run) = (event.received_at, RunId::started_by(event.id, &function));
    let label = |key: &str, value: String| Label { key: key.into(), value: value.into() };
    let mut created = NewRun::new(function.clone(), event.clone(), RunOrigin::Event);
    created.labels = vec![label("clientId", format!("cust-{}", n % 1_000)), label("plan", format!("plan-{}", n % 5))];
    let outcome = Outcome::Value(json::to_json(&"a value").expect("JSON"));
    let mut entries = vec![
        Fact::RunCreated(Box::new(created)).into_entry(at),
        Fact::StepCarriedOver { step: "greet".into(), kind: StepKind::Run, outcome }.into_entry(at),
    ];
    let status = match n % 100 {
        0 => None,
        1..11 => Some(Status::Failed),
        _ => Some(Status::Completed),
    };
    match status {
        Some(Status::Failed) => {
            entries.push(Fact::RunFailed { error: Failure::new("no luck ".repeat(60)) }.into_entry(at))
        }
        Some(_) => entries.push(Fact::RunCompleted { output: json::null() }.into_entry(at)),
        None => {}
    }
    RunStart {
        row: RunRow {
            run,
            function: function.clone(),
            event: event.id,
            created_at: at,
            ended: status.map(|s| (at, s)),
        },
        record: Record { seq: 0, token: u128::from(n), code: "1".into(), entries },
        watchdog: Timer { due: at, run, group: function.clone(), purpose: TimerPurpose::Watchdog },
        wake: Wake { run, cause: WakeCause::Created, group: function },
        tickets: Vec::new(),
        flow_state: Vec::new(),
    }
}

/// Requests a page. Prints and returns its size, its compressed size, the median time, and the
/// number of storage calls.
async fn measure(router: &axum::Router, path: &str, calls: &AtomicUsize) -> (usize, usize, Duration, usize) {
    let mut times = Vec::new();
    let mut bytes = 0;
    for _ in 0..SAMPLES {
        calls.store(0, Ordering::Relaxed);
        let begun = Instant::now();
        let request = Request::get(path).header("accept", "text/html").body(Body::empty()).expect("a request");
        let response = router.clone().oneshot(request).await.expect("an answer");
        assert_eq!(response.status(), 200, "{path}");
        bytes = to_bytes(response.into_body(), usize::MAX).await.expect("a body").len();
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let (took, calls) = (times[times.len() / 2], calls.load(Ordering::Relaxed));
    let request = Request::get(path).header("accept", "text/html").header("accept-encoding", "gzip");
    let compressed = stepladder_server::compressed(router.clone());
    let response = compressed.oneshot(request.body(Body::empty()).expect("a request")).await.expect("an answer");
    assert_eq!(response.headers()["content-encoding"], "gzip", "{path}");
    let small = to_bytes(response.into_body(), usize::MAX).await.expect("a body").len();
    println!("{path}: {bytes} bytes, {small} compressed, {calls} calls, {:.1} ms", took.as_secs_f64() * 1_000.0);
    (bytes, small, took, calls)
}

/// A run of 10,000 steps: the first page, a page in the middle, the last step, a search by name,
/// and the groups.
#[tokio::test]
async fn a_run_of_ten_thousand_steps_has_small_pages() {
    let folder = tempfile::tempdir().expect("a folder");
    let sqlite = Arc::new(
        Sqlite::open(folder.path().join("a.db"), stepladder_sqlite::SqliteOptions::default()).expect("a file"),
    );
    let now = Timestamp::from_millis(jiff::Timestamp::now().as_millisecond());
    let mut start = start(event(0, now), 0);
    let (run, at) = (start.row.run, start.row.created_at);
    start.record.entries.truncate(1);
    sqlite.create_runs(vec![start]).await.expect("stored");
    for n in 0..STEPS {
        let step: stepladder_core::StepId = format!("process-row-{n}").into();
        let (at, report) = (at + Duration::from_millis(n * 10), AttemptReport::default());
        let (lease_until, worker) = (at, Arc::from("w"));
        let started = Fact::StepStarted { step: step.clone(), attempt: 1, lease_until, worker, at_most_once: false };
        let ended = match n % 1_000 {
            500 => Fact::StepFailed { step, attempt: 1, error: Failure::new("a bad row"), retry_at: None, report },
            _ => Fact::StepSucceeded { step, attempt: 1, output: json::to_json(&n).expect("JSON"), report },
        };
        let entries = vec![started.into_entry(at), ended.into_entry(at + Duration::from_millis(7))];
        let record = Record { seq: 1 + 2 * n, token: u128::from(n), code: "1".into(), entries };
        let append = Some(Arc::new(JournalAppend { run, record }));
        sqlite.commit(Commit { append, ..Commit::default() }).await.expect("stored");
    }
    let calls = Arc::new(AtomicUsize::new(0));
    let backend = Arc::new(InterceptedBackend(CountingBackend { sqlite, calls: calls.clone() }));
    let engine = Arc::new(Engine::new(backend, described(), Config::default()).expect("an engine"));
    let router = stepladder_server::router(engine, ServerOptions { loopback: true, ..ServerOptions::default() });
    for query in ["", "?steps=5000", "?step=9999", "?find=row-99", "?group=names", "?scale=true", "?at=15000"] {
        let path = format!("/runs/{run}{query}");
        let (bytes, small, took, _) = measure(&router, &path, &calls).await;
        assert!(cfg!(debug_assertions) || took <= LONG_TIME, "{path} takes {took:?}");
        assert!(small <= COMPRESSED_BYTES && bytes <= BYTES, "{path} has {bytes} bytes, {small} compressed");
    }
}

#[tokio::test]
async fn with_a_hundred_thousand_runs_every_page_is_small_and_reads_little() {
    let folder = tempfile::tempdir().expect("a folder");
    let sqlite = Arc::new(
        Sqlite::open(folder.path().join("a.db"), stepladder_sqlite::SqliteOptions::default()).expect("a file"),
    );
    let now = Timestamp::from_millis(jiff::Timestamp::now().as_millisecond());
    let mut last = None;
    for first in (0..RUNS).step_by(usize::try_from(BATCH).expect("small")) {
        let events: Vec<Event> = (first..first + BATCH).map(|n| event(n, now)).collect();
        sqlite.accept(events.clone(), now).await.expect("stored");
        let starts: Vec<RunStart> = events.into_iter().zip(first..).map(|(event, n)| start(event, n)).collect();
        last = starts.last().map(|start| (start.row.run, start.row.event));
        sqlite.create_runs(starts).await.expect("stored");
    }
    let (run, id) = last.expect("there are runs");
    let calls = Arc::new(AtomicUsize::new(0));
    let backend = Arc::new(InterceptedBackend(CountingBackend { sqlite, calls: calls.clone() }));
    let functions = described();
    let engine = Arc::new(Engine::new(backend, functions, Config::default()).expect("an engine"));
    let router = stepladder_server::router(engine, ServerOptions { loopback: true, ..ServerOptions::default() });
    for path in [
        "/".to_owned(),
        "/?status=Failed".into(),
        "/?status=Running".into(),
        "/?status=Scheduled".into(),
        "/?function=hello-world&status=Failed".into(),
        "/?status=Cancelled".into(),
        "/?within=1h&status=Skipped".into(),
        "/?q=e".into(),
        "/?q=clientId%3Acust-42".into(),
        "/?q=plan%3Aplan-1&status=Failed".into(),
        "/?q=01".into(),
        format!("/?cursor={run}"),
        format!("/runs/{run}"),
        "/functions".into(),
        "/function?id=hello-world".into(),
        "/events".into(),
        format!("/events/{id}"),
        "/trends?span=hour".into(),
        "/trends".into(),
        "/trends?span=week".into(),
        "/trends?span=week&function=hello-world".into(),
        "/cost".into(),
        "/cost?span=month".into(),
        "/health/page".into(),
    ] {
        let (bytes, small, took, calls) = measure(&router, &path, &calls).await;
        assert!(cfg!(debug_assertions) || took <= TIME, "{path} takes {took:?}");
        assert!(small <= COMPRESSED_BYTES, "{path} has {small} bytes");
        assert!(bytes <= BYTES, "{path} has {bytes} bytes");
        assert!((1..=CALLS).contains(&calls), "{path} makes {calls} calls");
    }
}

/// The largest page of a run: many steps with long names, each with many attempts, errors and
/// outputs. Every character takes five bytes in HTML.
#[tokio::test]
async fn a_large_run_has_small_pages() {
    const STEPS: u64 = 250;
    let folder = tempfile::tempdir().expect("a folder");
    let sqlite = Arc::new(
        Sqlite::open(folder.path().join("a.db"), stepladder_sqlite::SqliteOptions::default()).expect("a file"),
    );
    let now = Timestamp::from_millis(jiff::Timestamp::now().as_millisecond());
    let event =
        Event { data: json::to_json(&serde_json::json!({"x": "<\"&".repeat(20_000)})).expect("JSON"), ..event(0, now) };
    let mut start = start(event, 0);
    let run = start.row.run;
    start.record.entries.truncate(1);
    let entries = &mut start.record.entries;
    for n in 0..STEPS {
        let step: Arc<str> = format!("{n:04}{}", "<\"&'é".repeat(50)).into();
        let at = now + Duration::from_millis(n);
        for attempt in 1..=4 {
            let (step, worker) = (step.clone(), Arc::from("w"));
            entries.push(
                Fact::StepStarted { step: step.clone(), attempt, lease_until: at, worker, at_most_once: false }
                    .into_entry(at),
            );
            let report = AttemptReport::default();
            entries.push(match attempt {
                4 => {
                    let output = json::to_json(&vec!["<\"&"; 300]).expect("JSON");
                    Fact::StepSucceeded { step, attempt, output, report }.into_entry(at)
                }
                _ => {
                    let error = Failure::new("<\"&'".repeat(600));
                    Fact::StepFailed { step, attempt, error, retry_at: Some(at), report }.into_entry(at)
                }
            });
        }
    }
    let total = entries.len();
    sqlite.create_runs(vec![start]).await.expect("stored");
    let engine = Arc::new(Engine::new(sqlite, described(), Config::default()).expect("an engine"));
    let router = stepladder_server::router(engine, ServerOptions { loopback: true, ..ServerOptions::default() });
    for query in ["", "?steps=60", "?steps=190", "?steps=9999", "?at=900", &format!("?at={total}&steps=249")] {
        let path = format!("/runs/{run}{query}");
        let response = router.clone().oneshot(Request::get(&path).body(Body::empty()).expect("a request")).await;
        let bytes = to_bytes(response.expect("an answer").into_body(), usize::MAX).await.expect("a body");
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("class=\"step\"") && bytes.len() <= BYTES, "{path} has {} bytes", bytes.len());
    }
}

/// Returns two functions that are listed but never run.
fn described() -> Vec<RegisteredFunction> {
    use stepladder_core::Spec;
    use stepladder_core::expr::Expr;
    use stepladder_core::label::LabelSpec;
    use stepladder_core::spec::{Concurrency, Trigger};
    use stepladder_engine::executor::{Execution, Executor, OpenError, RunView};
    struct NeverExecuted;
    #[async_trait::async_trait]
    impl Executor for NeverExecuted {
        async fn open(&self, _: RunView, _: Timestamp) -> Result<Box<dyn Execution>, OpenError> {
            Err(Failure::new("nothing is executed here").into())
        }
    }
    let label_of_event = |key: &str| {
        let value = Expr::compile(&format!("event.data.{key}")).expect("an expression");
        LabelSpec { key: key.into(), value }
    };
    let of = |id: &str, event: &str| {
        let mut spec = Spec::new(id);
        spec.triggers.push(Trigger { event: event.into(), condition: None });
        spec.concurrency.push(Concurrency::steps(3));
        spec.labels = ["clientId", "plan"].map(label_of_event).into();
        RegisteredFunction::new(spec, None, Arc::new(NeverExecuted))
    };
    vec![of("hello-world", "test/hello.world"), of("enhance-client-with-ai", "client/enhance.requested")]
}
