//! Calls every method of every builder twice. Either both calls count, or the second call is
//! refused with the method's name. The second must never replace the first silently.

mod steps;

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::{SharedData, compile};
use stepladder_sdk::testing::{Pace, Status, TestApp};
use stepladder_sdk::{Encryption, Json};

#[derive(Serialize, Deserialize, Clone)]
#[serde(transparent)]
struct AskedEvent(serde_json::Value);

impl EventData for AskedEvent {
    const NAME: &'static str = "job/asked";
}

#[derive(Serialize, Deserialize, Clone)]
#[serde(transparent)]
struct StoppedEvent(serde_json::Value);

impl EventData for StoppedEvent {
    const NAME: &'static str = "job/stopped";
}

const S: Duration = Duration::from_secs(1);

/// The methods for which every call counts.
const BOTH: &[&str] = &[
    "App::dev_flag",
    "App::function",
    "App::functions",
    "CancelOn::matching",
    "CancelOn::filter",
    "DevSetup::event",
    "Encryption::readable",
    "DevSetup::function",
    "DevSetup::note",
    "Function::cron",
    "Function::cancel_on",
    "Function::concurrency",
    "Function::filter",
    "Function::label",
    "Function::on",
    "Invoke::cancelled_with_run",
    "MapRuns::cancelled_with_run",
    "TestApp::function",
    "TestApp::hang",
    "WaitForEvent::matching",
    "WaitForEvent::filter",
];

/// The methods that tests in other crates of the workspace cover.
const ELSEWHERE: &[&str] =
    &["App::code_version", "App::data", "App::pace", "App::payload_codec", "DevSetup::retry_delay"];

/// The methods that replace the first call by the second on purpose: an error may get another code
/// or name, and a log line's field a newer value.
const REPLACES: &[&str] = &["Error::with_code", "Error::with_data", "Error::with_name", "Log::with"];

fn asked_event(data: serde_json::Value) -> AskedEvent {
    AskedEvent(data)
}

async fn quick_handler(ctx: Context, event: Event<AskedEvent>) -> Result<serde_json::Value> {
    ctx.step("work", async || Ok(())).await?;
    Ok(event.data.0)
}

async fn long_handler(ctx: Context, _: Event<AskedEvent>) -> Result<()> {
    ctx.sleep("an hour", Duration::from_secs(3_600)).await
}

fn new_function() -> Function {
    Function::new("f", quick_handler)
}

/// Returns the reason why an app with this function does not start.
fn refusal_sentence(function: Function) -> String {
    compile(function, &SharedData::default()).err().unwrap_or_default()
}

/// Runs a handler and returns its failure.
async fn failure_message<H, Fut>(handler: H) -> String
where
    H: Fn(Context, Event<AskedEvent>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    let run = TestApp::new().function(Function::new("f", handler)).send(&asked_event(json!({}))).await.remove(0);
    run.error().map(|failure| failure.message.to_string()).unwrap_or_default()
}

/// Returns the message with which creating a test app panics.
fn panic_message(app: impl FnOnce() -> TestApp) -> String {
    let payload = catch_unwind(AssertUnwindSafe(|| app().now())).expect_err("it is not refused");
    let text = payload.downcast_ref::<String>().cloned();
    text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

fn backoff() -> stepladder_sdk::Backoff {
    stepladder_sdk::Backoff::Fixed(S)
}

/// Returns each method that may be called only once, with the error of a second call.
async fn builder_refusals() -> Vec<(&'static str, String)> {
    let rate = || Rate::new(1, S);
    let cancel = || CancelOn::event::<StoppedEvent>();
    let one = || Concurrency::limit(1);
    let mut all = vec![
        ("Function::time_zone", refusal_sentence(new_function().cron("@daily").time_zone("UTC").time_zone("UTC"))),
        ("Function::jitter", refusal_sentence(new_function().cron("@daily").jitter(S).jitter(S))),
        ("Function::missed_ticks", {
            let skip = || stepladder_sdk::MissedTicks::Skip;
            refusal_sentence(new_function().cron("@daily").missed_ticks(skip()).missed_ticks(skip()))
        }),
        ("Function::version", refusal_sentence(new_function().version("1").version("2"))),
        ("Function::retries", refusal_sentence(new_function().retries(1).retries(2))),
        ("Function::non_retryable", refusal_sentence(new_function().non_retryable(["A"]).non_retryable(["B"]))),
        ("Function::backoff", refusal_sentence(new_function().backoff(backoff()).backoff(backoff()))),
        ("Function::timeout", refusal_sentence(new_function().timeout(S).timeout(S))),
        ("Function::throttle", refusal_sentence(new_function().throttle(rate()).throttle(rate()))),
        ("Function::rate_limit", refusal_sentence(new_function().rate_limit(rate()).rate_limit(rate()))),
        ("Function::debounce", refusal_sentence(new_function().debounce(Debounce::new(S)).debounce(Debounce::new(S)))),
        (
            "Function::singleton",
            refusal_sentence(new_function().singleton(Singleton::skip()).singleton(Singleton::skip())),
        ),
        (
            "Function::idempotency",
            refusal_sentence(new_function().idempotency("event.data.a").idempotency("event.data.b")),
        ),
        ("Function::priority", refusal_sentence(new_function().concurrency(one()).priority("1").priority("2"))),
        ("Function::timeouts", refusal_sentence(new_function().timeouts(Timeouts::new()).timeouts(Timeouts::new()))),
        ("Timeouts::start", refusal_sentence(new_function().timeouts(Timeouts::new().start(S).start(S)))),
        ("Timeouts::finish", refusal_sentence(new_function().timeouts(Timeouts::new().finish(S).finish(S)))),
        (
            "Function::example",
            refusal_sentence(new_function().example(&asked_event(json!({}))).example(&asked_event(json!({})))),
        ),
        ("Function::on_failure", {
            async fn failed(_: Context, _: Event<stepladder_sdk::FunctionFailed>) -> Result<()> {
                Ok(())
            }
            refusal_sentence(new_function().on_failure(failed).on_failure(failed))
        }),
        (
            "Concurrency::key",
            refusal_sentence(new_function().concurrency(one().key("event.data.a").key("event.data.b"))),
        ),
        ("Concurrency::shared", refusal_sentence(new_function().concurrency(one().shared("a").shared("b")))),
        ("Rate::burst", refusal_sentence(new_function().throttle(rate().burst(1).burst(1)))),
        ("Rate::key", refusal_sentence(new_function().rate_limit(rate().key("event.data.a").key("event.data.b")))),
        ("Debounce::max_wait", refusal_sentence(new_function().debounce(Debounce::new(S).max_wait(S).max_wait(S)))),
        (
            "Debounce::key",
            refusal_sentence(new_function().debounce(Debounce::new(S).key("event.data.a").key("event.data.b"))),
        ),
        ("Batch::key", {
            async fn many(_: Context, _: Vec<Event<AskedEvent>>) -> Result<()> {
                Ok(())
            }
            refusal_sentence(Function::batch("f", Batch::new(2, S).key("event.data.a").key("event.data.b"), many))
        }),
        (
            "Singleton::key",
            refusal_sentence(new_function().singleton(Singleton::skip().key("event.data.a").key("event.data.b"))),
        ),
        ("CancelOn::timeout", refusal_sentence(new_function().cancel_on(cancel().timeout(S).timeout(S)))),
        ("TestApp::pace", panic_message(|| TestApp::new().pace(Pace::WithinBudget).pace(Pace::WithinBudget))),
        ("TestApp::worker_timeout", panic_message(|| TestApp::new().worker_timeout(S).worker_timeout(S))),
        ("TestApp::mock", panic_message(|| TestApp::new().mock("a", 1).mock("a", 2))),
        ("TestApp::fail", panic_message(|| TestApp::new().fail("a", 1, Error::new("x")).fail("a", 1, Error::new("y")))),
        ("TestApp::crash", panic_message(|| TestApp::new().crash("a", 1).crash("a", 1))),
        ("TestApp::crash_after", panic_message(|| TestApp::new().crash_after("a", 1).crash_after("a", 1))),
        ("TestApp::payload_codec", panic_message(|| TestApp::new().payload_codec(keys()).payload_codec(keys()))),
        ("TestApp::data", panic_message(|| TestApp::new().data(1_u8).data(2_u8))),
    ];
    all.extend(steps::step_refusals().await);
    all
}

fn keys() -> Encryption {
    Encryption::with_keys(["A_KEY"])
}

#[tokio::test]
async fn a_second_call_of_a_method_that_may_be_called_once_is_refused_by_name() {
    for (method, says) in builder_refusals().await {
        let (_, name) = method.split_once("::").unwrap();
        let named =
            ["twice; call it once", "; give it one", "in a type of its own"].iter().any(|end| says.ends_with(end));
        assert!(named && says.contains(&format!("`.{name}`")), "{method}: {says}");
    }
}

#[tokio::test]
async fn every_builder_method_is_tested_here() {
    let mut tested: BTreeSet<String> =
        builder_refusals().await.into_iter().map(|(method, _)| method.to_owned()).collect();
    tested.extend([BOTH, ELSEWHERE, REPLACES].concat().into_iter().map(str::to_owned));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    for folder in [root.join("src"), root.join("../app/src")] {
        collect_methods(&folder, &mut found);
    }
    assert!(found.len() > 60, "{found:?}");
    assert_eq!(found, tested);
}

/// Finds the public methods in a folder's sources that take `self` by value and return it.
fn collect_methods(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_methods(&path, found);
            continue;
        }
        let (mut of, mut signature) = (String::new(), None);
        let mut from_macro = None;
        for line in fs::read_to_string(&path).unwrap().lines() {
            // The macro generates this method for each type listed in its invocation.
            match line {
                "keyed! {" => from_macro = Some("key"),
                "undoable! {" => from_macro = Some("undo"),
                "}" => from_macro = None,
                _ => {}
            }
            let listed = line.trim().trim_end_matches(';');
            if let Some(method) = from_macro.filter(|_| listed.chars().all(char::is_alphanumeric) && !listed.is_empty())
            {
                found.insert(format!("{listed}::{method}"));
            }
            if let Some(header) = line.strip_prefix("impl") {
                // examples: `impl<'a, T> Step<'a, T> {`, `impl<T> Future for Step<'_, T> {`
                let name = header.rsplit(" for ").next().unwrap();
                let name = if name.starts_with('<') { name.split_once("> ").unwrap().1 } else { name };
                of = name.trim().split(['<', ' ']).next().unwrap().to_owned();
            }
            if line.starts_with("    pub fn ") {
                signature = Some(String::new());
            }
            let Some(so_far) = &mut signature else { continue };
            so_far.push_str(line.trim());
            if !line.ends_with('{') {
                continue;
            }
            let whole = std::mem::take(so_far);
            signature = None;
            let takes = whole.contains("(self,") || whole.contains("(mut self") || whole.contains("(self)");
            if takes && (whole.contains("-> Self") || whole.contains("-> Result<Self>")) {
                let name = whole.trim_start_matches("pub fn ").split(['<', '(']).next().unwrap();
                found.insert(format!("{of}::{name}"));
            }
        }
    }
}

/// Returns whether the event `stop` cancels a run that another event started.
async fn is_cancelled(cancel: CancelOn, stop: serde_json::Value) -> bool {
    let mut app = TestApp::new().function(Function::new("f", long_handler).cancel_on(cancel));
    app.start(&asked_event(json!({"tenant": "a", "id": 1}))).await;
    app.start(&StoppedEvent(stop)).await;
    app.runs().await[0].status() == Status::Cancelled
}

#[tokio::test]
async fn two_conditions_for_being_cancelled_must_both_hold() {
    let same_id = "async.data.id == event.data.id";
    let each: [fn() -> CancelOn; 4] = [
        || CancelOn::event::<StoppedEvent>().matching("tenant").matching("id"),
        || CancelOn::event::<StoppedEvent>().matching("tenant").filter("async.data.id == event.data.id"),
        || CancelOn::event::<StoppedEvent>().filter("async.data.tenant == event.data.tenant").matching("id"),
        || {
            CancelOn::event::<StoppedEvent>()
                .filter("async.data.tenant == event.data.tenant")
                .filter("async.data.id == event.data.id")
        },
    ];
    for cancel in each {
        assert!(is_cancelled(cancel(), json!({"tenant": "a", "id": 1})).await, "{:?}", cancel());
        for other in [json!({"tenant": "b", "id": 1}), json!({"tenant": "a", "id": 2}), json!({"id": 1}), json!({})] {
            assert!(!is_cancelled(cancel(), other.clone()).await, "{:?} by {other}", cancel());
        }
    }
    // a third condition that never holds must count as well
    let never = || CancelOn::event::<StoppedEvent>().matching("tenant").filter(same_id).filter("false");
    assert!(!is_cancelled(never(), json!({"tenant": "a", "id": 1})).await);
}

#[tokio::test]
async fn two_filters_of_a_function_must_both_hold() {
    let function =
        || new_function().filter("event.data.plan == 'pro' // paid").filter("event.data.id == 1 || event.data.id == 2");
    for (data, starts) in [
        (json!({"plan": "pro", "id": 1}), true),
        (json!({"plan": "pro", "id": 2}), true),
        (json!({"plan": "pro", "id": 3}), false),
        (json!({"plan": "free", "id": 2}), false),
    ] {
        for function in [
            function(),
            new_function().on::<AskedEvent>().filter("event.data.plan == 'pro'").filter("event.data.id < 3"),
        ] {
            let mut app = TestApp::new().function(function);
            app.send(&asked_event(data.clone())).await;
            assert_eq!(app.runs().await.len(), usize::from(starts), "{data}");
        }
    }
    let refused = refusal_sentence(new_function().filter("true) || (false").filter("true"));
    assert!(refused.contains("true) || (false"), "a bracket too many in one is not closed by the next: {refused}");
}

#[tokio::test]
async fn two_conditions_of_a_wait_must_both_hold() {
    async fn waiting_handler(ctx: Context, _: Event<AskedEvent>) -> Result<bool> {
        let waits = ctx.wait_for_event::<StoppedEvent>("w").matching("tenant", "a").matching("data.id", &1);
        let came = waits.filter("async.data.score > 5").filter("async.data.score < 9").await?;
        Ok(came.is_some())
    }
    for (data, came) in [
        (json!({"tenant": "a", "id": 1, "score": 7}), true),
        (json!({"tenant": "b", "id": 1, "score": 7}), false),
        (json!({"tenant": "a", "id": 2, "score": 7}), false),
        (json!({"tenant": "a", "id": 1, "score": 4}), false),
        (json!({"tenant": "a", "id": 1, "score": 9}), false),
    ] {
        let mut app = TestApp::new().function(Function::new("f", waiting_handler));
        app.start(&asked_event(json!({}))).await;
        app.send(&StoppedEvent(data.clone())).await;
        app.finish().await;
        assert_eq!(app.runs().await[0].output::<bool>(), came, "{data}");
    }
}

#[tokio::test]
async fn calls_that_add_up_are_all_kept() {
    let limits =
        new_function().concurrency(Concurrency::limit(2)).concurrency(Concurrency::limit(1).key("event.data.a"));
    let compiled = compile(limits.cron("@hourly").cron("@daily"), &SharedData::default()).unwrap();
    let spec = compiled[0].spec();
    assert_eq!((spec.concurrency.len(), spec.schedule.lines.len()), (2, 2));
    let both = new_function().cancel_on(CancelOn::named("a")).cancel_on(CancelOn::named("b"));
    let both = compile(both, &SharedData::default()).unwrap();
    assert_eq!(both[0].spec().flow.cancel_on.len(), 2);
    let mut app = TestApp::new().function(new_function()).function(Function::new("g", quick_handler));
    app.send(&asked_event(json!({}))).await;
    assert_eq!(app.runs().await.len(), 2);
}
