//! Functions of apps that are registered while processes run.

mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use stepladder_core::decide::Operation;
use stepladder_core::function::{ConcurrencyConfig, TriggerConfig};
use stepladder_core::limits::CONFIG_BYTES;
use stepladder_core::spec::{Concurrency, CountedUnit};
use stepladder_core::{FunctionConfig, Status, json};
use stepladder_engine::ports::{Registration, Registrations};
use stepladder_engine::{
    AppDescription, Connect, Engine, EngineError, Executor, REFRESH_AFTER, RegisteredFunction, StoredFunctions,
};
use stepladder_testkit::clock::SeededEntropy;
use support::script::ScriptedFunction;
use support::{EngineFixture, hop_all};

/// A front end that has the code of these functions, each in its version.
struct TestFrontEnd(HashMap<(String, Option<String>), Arc<dyn Executor>>);

impl TestFrontEnd {
    fn new(scripts: Vec<ScriptedFunction>) -> Self {
        let functions = scripts.into_iter().map(ScriptedFunction::function);
        let key = |f: &RegisteredFunction| (f.spec().id.to_string(), f.version().map(str::to_owned));
        Self(functions.map(|f| (key(&f), f.executor.clone())).collect())
    }
}

impl Connect for TestFrontEnd {
    fn connect(&self, address: &str, function: &FunctionConfig) -> Result<Arc<dyn Executor>, String> {
        if !address.starts_with("test:") {
            return Err(format!("`{address}` is no address of the test's front end"));
        }
        let key = (function.id.to_string(), function.version.as_deref().map(str::to_owned));
        self.0.get(&key).cloned().ok_or_else(|| format!("there is no code of function `{}`", function.id))
    }
}

/// A process with its own engine and its own view of the registered apps.
struct Process {
    stored: Arc<StoredFunctions>,
    engine: Arc<Engine>,
}

impl Process {
    fn new(world: &mut EngineFixture, compiled_in: Vec<ScriptedFunction>, front_end: Vec<ScriptedFunction>) -> Self {
        world.seed += 1;
        let compiled_in = compiled_in.into_iter().map(ScriptedFunction::function).collect();
        let (memory, clock, config) = (world.memory.clone(), world.clock.clone(), world.config.clone());
        let front_end = Box::new(TestFrontEnd::new(front_end));
        let stored = StoredFunctions::new(memory.clone(), clock.clone(), compiled_in, config.clone(), front_end);
        let stored = Arc::new(stored.expect("functions that can work"));
        let entropy = Arc::new(SeededEntropy::new(world.seed));
        let engine = Arc::new(Engine::with_functions(memory, clock, entropy, stored.clone(), config));
        Self { stored, engine }
    }

    async fn register(&self, app: &str, configs: &[FunctionConfig]) -> Result<bool, EngineError> {
        self.stored.register(app, "test:here", configs).await
    }
}

/// A function that the event `go` starts.
fn config(id: &str) -> FunctionConfig {
    FunctionConfig { triggers: vec![TriggerConfig::new("go")], ..FunctionConfig::new(id) }
}

fn script(id: &str) -> ScriptedFunction {
    ScriptedFunction::new(id).step("a", &[])
}

fn world() -> EngineFixture {
    EngineFixture::new(Vec::new())
}

fn reads(world: &EngineFixture) -> u64 {
    world.memory.counts().registration_reads
}

/// Returns the functions of the runs that an event created, with the status of each.
async fn runs_of(world: &EngineFixture, engine: &Engine, event: stepladder_core::EventId) -> Vec<(String, Status)> {
    let mut runs = Vec::new();
    for run in world.runs(engine, event).await {
        runs.push((run.summary.function.to_string(), run.summary.status));
    }
    runs.sort_by(|a, b| a.0.cmp(&b.0));
    runs
}

#[tokio::test]
async fn other_processes_know_a_registered_function_within_two_seconds() {
    let mut world = world();
    let one = Process::new(&mut world, vec![script("known")], vec![script("new")]);
    let other = Process::new(&mut world, vec![script("known")], vec![script("new")]);
    let known = |engine: Arc<Engine>| {
        let world = &world;
        async move { runs_of(world, &engine, world.send_event(&engine).await).await.len() }
    };
    assert_eq!((known(one.engine.clone()).await, known(other.engine.clone()).await), (1, 1));
    assert!(one.register("app", &[config("new")]).await.expect("registered"));
    assert_eq!(known(one.engine.clone()).await, 2, "the process that registers knows the function at once");
    world.clock.advance(REFRESH_AFTER - Duration::from_millis(1));
    assert_eq!(known(other.engine.clone()).await, 1, "it has read the version less than two seconds ago");
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(known(other.engine.clone()).await, 2);
    hop_all(&world.memory, &other.engine).await;
    let page = other.engine.query().runs(Default::default()).await.expect("runs");
    assert!(page.runs.iter().all(|run| run.status == Status::Completed), "{page:?}");
}

#[tokio::test]
async fn a_busy_process_reads_the_version_once_in_two_seconds_and_an_idle_one_does_not() {
    let mut world = world();
    let process = Process::new(&mut world, vec![script("known")], Vec::new());
    assert_eq!(reads(&world), 0, "a process that has no request reads nothing");
    for round in 1..=3 {
        for _ in 0..10 {
            world.send_event(&process.engine).await;
            hop_all(&world.memory, &process.engine).await;
        }
        assert_eq!(reads(&world), round, "20 requests, one reading");
        world.clock.advance(REFRESH_AFTER);
    }
    world.clock.advance(Duration::from_secs(3_600));
    assert_eq!(reads(&world), 3);
    // the version has changed: the apps are read, too, and only once
    world.memory.put_registration(0, registration("app", &[])).await.expect("an answer");
    world.send_event(&process.engine).await;
    world.clock.advance(REFRESH_AFTER);
    world.send_event(&process.engine).await;
    assert_eq!(reads(&world), 3 + 2 + 1);
}

#[tokio::test]
async fn a_process_without_a_front_end_never_reads_registrations() {
    let mut world = EngineFixture::new(vec![script("known").function()]);
    let engine = world.engine();
    world.send_event(&engine).await;
    world.settle(&engine).await;
    assert_eq!(reads(&world), 0);
}

#[tokio::test]
async fn a_function_that_is_registered_late_misses_no_event_wake_or_call() {
    let call = Operation::Invoke {
        function: "new".into(),
        input: json::empty_object(),
        bound: false,
        timeout: None,
        user: None,
    };
    let (begun, open) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    let gate = (begun.clone(), open.clone());
    let caller = ScriptedFunction::new("caller").spec(|spec| spec.triggers[0].event = "call".into());
    let caller = caller.body("gate", &[], move |_| {
        let (begun, open) = gate.clone();
        async move {
            begun.notify_one();
            open.notified().await;
            Ok(())
        }
    });
    let caller = caller.request("call", &["gate"], call);
    let mut world = world().pace(stepladder_engine::Pace::WithinBudget);
    let one = Process::new(&mut world, vec![caller.clone()], vec![script("new"), script("wakes")]);
    let other = Process::new(&mut world, vec![caller], vec![script("new"), script("wakes")]);
    let starts = stepladder_core::NewEvent::new("call", json::empty_object());
    other.engine.intake().ingest(vec![starts], None).await.expect("ingested");
    let hop = support::spawn_hop(&world, &other.engine);
    begun.notified().await;

    // an event: the other process has read the version at this very time
    one.register("app", &[config("new")]).await.expect("registered");
    let event = world.send_event(&other.engine).await;
    assert_eq!(runs_of(&world, &other.engine, event).await, [("new".to_owned(), Status::Scheduled)]);

    // a wake
    one.register("app", &[config("new"), config("wakes")]).await.expect("registered");
    let event = world.send_event(&one.engine).await;
    hop_all(&world.memory, &other.engine).await;
    let both = ["new", "wakes"].map(|id| (id.to_owned(), Status::Completed));
    assert_eq!(runs_of(&world, &other.engine, event).await, both);

    // a call of a function that is registered after the hop of the caller began
    open.notify_one();
    hop.await.expect("hopped");
    hop_all(&world.memory, &other.engine).await;
    let page = other.engine.query().runs(Default::default()).await.expect("runs");
    let unfinished: Vec<_> = page.runs.iter().filter(|run| run.status != Status::Completed).collect();
    assert!(unfinished.is_empty() && page.runs.len() == 5, "{page:?}");
}

#[tokio::test]
async fn what_does_not_fit_together_is_refused_by_name_and_changes_nothing() {
    let mut world = world();
    let limited = |n| {
        move |spec: &mut stepladder_core::Spec| {
            spec.concurrency.push(Concurrency { shared: Some("api".into()), ..Concurrency::steps(n) });
        }
    };
    let codes = ["f", "g", "h", "built-in"].map(script).to_vec();
    let process = Process::new(&mut world, vec![script("built-in").spec(limited(2))], codes);
    assert!(process.register("shop", &[config("f")]).await.expect("registered"));
    let shared = ConcurrencyConfig { limit: 3, of: CountedUnit::Steps, key: None, shared: Some("api".into()) };
    let with = |change: fn(&mut FunctionConfig)| {
        let mut config = config("g");
        change(&mut config);
        config
    };
    let large = "x".repeat(CONFIG_BYTES);
    for (app, address, functions, says) in [
        (
            "mail",
            "test:b",
            vec![config("built-in")],
            "function `built-in` of app `mail` is compiled into this program; give it another id",
        ),
        (
            "mail",
            "test:b",
            vec![config("g"), config("f")],
            "function `f` of app `mail` is registered by another app; give it another id",
        ),
        ("mail", "test:b", vec![config("g"), config("g")], "two functions have the id `g`"),
        (
            "mail",
            "test:b",
            vec![FunctionConfig { concurrency: vec![shared], ..config("g") }],
            "functions `built-in` and `g` share the limit `api`",
        ),
        (
            "mail",
            "test:b",
            vec![with(|f| f.on_failure = Some("f".into()))],
            "function `g` names `f` as its on_failure, which is not in its app `mail`",
        ),
        (
            "mail",
            "test:b",
            vec![with(|f| f.timeout = Duration::from_secs(3_600))],
            "function `g` has a step time-out of 3600s",
        ),
        (
            "mail",
            "test:b",
            vec![with(|f| f.idempotency = Some("evnt.id".into()))],
            "the idempotency key of function `g`: expression `evnt.id`",
        ),
        (
            "mail",
            "test:b",
            vec![FunctionConfig { idempotency: Some(large), ..config("g") }],
            "the config of function `g` has 262",
        ),
        ("mail", "test:b", vec![config("h"); 1_001], "app `mail` has 1001 functions; at most 1000 are allowed"),
        ("mail", "ftp:b", vec![config("g")], "`ftp:b` is no address of the test's front end"),
        ("mail", "", vec![config("g")], "the address of app `mail` has 0 bytes"),
        ("", "test:b", vec![config("g")], "the name of app `` is empty"),
    ] {
        let error = process.stored.register(app, address, &functions).await.expect_err(says);
        assert!(matches!(&error, EngineError::Invalid(why) if why.contains(says)), "{error}");
    }
    let apps = process.stored.list().await.expect("apps");
    assert_eq!(apps.iter().map(|app| (&*app.name, app.functions.len())).collect::<Vec<_>>(), [("shop", 1)]);
    assert!(!process.register("shop", &[config("f")]).await.expect("known"), "nothing has changed");
    let error = process.stored.remove("mail").await.expect_err("unknown");
    assert!(matches!(&error, EngineError::NotFound(why) if why == "there is no app `mail`"), "{error}");
}

#[tokio::test]
async fn of_two_apps_that_register_one_function_at_once_one_is_refused() {
    let mut world = world();
    let one = Process::new(&mut world, Vec::new(), vec![script("f")]);
    let other = Process::new(&mut world, Vec::new(), vec![script("f")]);
    let functions = [config("f")];
    let (first, second) = tokio::join!(one.register("a", &functions), other.register("b", &functions));
    let refused: Vec<_> = [first, second].into_iter().filter_map(Result::err).collect();
    let [EngineError::Invalid(why)] = &refused[..] else { panic!("{refused:?}") };
    assert!(why.contains("function `f`") && why.contains("is registered by another app"), "{why}");
    assert_eq!(one.stored.list().await.expect("apps").len(), 1);
}

#[tokio::test]
async fn functions_that_two_processes_add_to_an_app_are_both_registered_with_what_describes_it() {
    let mut world = world();
    let one = Process::new(&mut world, Vec::new(), vec![script("f"), script("g")]);
    let other = Process::new(&mut world, Vec::new(), vec![script("f"), script("g")]);
    let about = AppDescription { sdk: Some("inngest-js 4.24.0".into()), ..AppDescription::default() };
    let none = AppDescription::default();
    let (f, g) = (config("f"), config("g"));
    let (first, second) = tokio::join!(
        one.stored.register_function("shop", "test:here", &f, &about),
        other.stored.register_function("shop", "test:here", &g, &none),
    );
    assert!(first.expect("registered") && second.expect("registered"));
    let apps = other.stored.list().await.expect("apps");
    let mut ids: Vec<_> = apps[0].functions.iter().map(|function| &*function.id).collect();
    ids.sort_unstable();
    assert_eq!((ids, apps[0].about.sdk.as_deref()), (vec!["f", "g"], Some("inngest-js 4.24.0")));
    let reads = world.memory.counts().registration_reads;
    assert!(!other.stored.register_function("shop", "test:here", &f, &about).await.expect("known"));
    assert_eq!(world.memory.counts().registration_reads, reads, "a known function needs no read");
    let moved = one.stored.register_function("shop", "test:there", &f, &about).await;
    assert!(
        matches!(&moved, Err(EngineError::Invalid(why)) if why.contains("is registered at test:here")),
        "{moved:?}"
    );
}

/// A function that sleeps for a day between two steps.
fn nightly(version: &'static str, name: &str) -> ScriptedFunction {
    let night = Operation::SleepFor(Duration::from_secs(86_400));
    ScriptedFunction::new("f")
        .version(version)
        .step("first", &[])
        .request("night", &["first"], night)
        .step(name, &["night"])
}

#[tokio::test]
async fn a_run_goes_on_under_its_version_while_that_is_registered() {
    for (keeps_old, last) in [(true, "one"), (false, "two")] {
        let mut world = world();
        let codes = vec![nightly("1", "one"), nightly("2", "two")];
        let process = Process::new(&mut world, Vec::new(), codes);
        let versions = ["1", "2"].map(|version| FunctionConfig { version: Some(version.into()), ..config("f") });
        process.register("app", &versions[..1]).await.expect("registered");
        let event = world.send_event(&process.engine).await;
        world.settle_within(&process.engine, Duration::from_secs(60)).await;
        let kept = if keeps_old { &versions[..] } else { &versions[1..] };
        assert!(process.register("app", kept).await.expect("registered"));
        world.settle(&process.engine).await;
        let run = world.runs(&process.engine, event).await.remove(0);
        assert_eq!((run.summary.status, run.version.as_deref()), (Status::Completed, Some("1")), "{last}");
        assert!(run.steps.iter().any(|step| &*step.id == last), "{run:?}");
        let event = world.send_event(&process.engine).await;
        world.settle(&process.engine).await;
        let run = world.runs(&process.engine, event).await.remove(0);
        assert_eq!(run.version.as_deref(), Some("2"), "a new run starts under the newest version");
    }
}

#[tokio::test]
async fn the_runs_of_a_removed_app_wait_until_it_is_registered_again() {
    let mut world = world();
    let process = Process::new(&mut world, Vec::new(), vec![nightly("1", "last")]);
    let functions = [FunctionConfig { version: Some("1".into()), ..config("f") }];
    process.register("app", &functions).await.expect("registered");
    let event = world.send_event(&process.engine).await;
    world.settle_within(&process.engine, Duration::from_secs(60)).await;
    process.stored.remove("app").await.expect("removed");
    world.settle_within(&process.engine, Duration::from_secs(2 * 86_400)).await;
    assert_eq!(world.status(&process.engine, event).await, Status::Running);
    assert!(
        world.runs(&process.engine, world.send_event(&process.engine).await).await.is_empty(),
        "no event starts it"
    );
    process.register("app", &functions).await.expect("registered");
    world.settle(&process.engine).await;
    assert_eq!(world.status(&process.engine, event).await, Status::Completed);
}

fn registration(app: &str, functions: &[&str]) -> Registration {
    let functions = functions.iter().map(|text| (*text).into()).collect();
    Registration { app: app.into(), address: "test:here".into(), about: None, functions }
}

#[tokio::test]
async fn a_stored_app_that_does_not_fit_is_left_out_and_the_others_are_not() {
    let mut world = world();
    let process = Process::new(&mut world, vec![script("built-in")], vec![script("f"), script("built-in")]);
    for (seen, stored) in (0..).zip([
        // a newer program may have written these
        registration("newer", &[r#"{"id":"f","triggers":[{"event":"go"}],"region":"eu"}"#]),
        registration("much-newer", &[r#"{"id":"g","retry":{"backoff":{"jagged":{}}}}"#]),
        // and this function was compiled in later
        registration("older", &[r#"{"id":"built-in"}"#]),
    ]) {
        assert!(world.memory.put_registration(seen, stored).await.expect("an answer"));
    }
    let apps = process.stored.list().await.expect("apps");
    let problems: Vec<_> = apps.iter().map(|app| (&*app.name, app.problem.as_deref().unwrap_or("none"))).collect();
    let [("much-newer", unreadable), ("newer", "none"), ("older", taken)] = problems[..] else {
        panic!("{problems:?}")
    };
    assert!(unreadable.contains("field `retry.backoff` of function `g`"), "{unreadable}");
    assert!(taken.contains("function `built-in` of app `older` is compiled into this program"), "{taken}");
    let event = world.send_event(&process.engine).await;
    world.settle(&process.engine).await;
    let both = ["built-in", "f"].map(|id| (id.to_owned(), Status::Completed));
    assert_eq!(runs_of(&world, &process.engine, event).await, both);
}
