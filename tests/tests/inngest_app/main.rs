//! An unchanged app with an `inngest` package: the real server registers it and executes its
//! functions.

mod app;
mod calls;
mod changing;
mod cut;
mod discovery;
mod encrypted;
mod endpoints;
mod examples;
mod faults;
mod killed;
mod on_aws;
mod python;
#[path = "../aws/roles.rs"]
mod roles;
mod signed;
#[path = "../aws/table.rs"]
mod table;
mod without_functions;

use std::time::Duration;

use app::{App, Package};
use serde_json::{Value, json};
use stepladder_tests::{ServerProcess, parts, wait_for};

/// Starts a server, and an app that is synced with it.
async fn start(package: Package, functions: usize) -> (ServerProcess, App) {
    let server = ServerProcess::without_services().await;
    let app = App::start(package, &server, &[]).await;
    let synced = server.client(&["apps", "sync", &app.url()]).output().await.expect("the binary starts");
    let text = String::from_utf8_lossy(&[synced.stdout, synced.stderr].concat()).into_owned();
    let says = format!("shop is registered with {functions} functions");
    assert!(synced.status.success() && text.contains(&says), "{text}");
    (server, app)
}

/// Sends an event, and returns the ended run of the function that it starts.
async fn ended(server: &ServerProcess, event: &str, data: Value) -> Value {
    let api = server.api();
    let sent = api.send(&json!({ "name": event, "data": data })).await;
    let run = api.run_of(&sent[0]).await;
    api.wait_for_end(&run).await
}

fn output(run: &Value) -> &Value {
    assert_eq!(run["status"], "Completed", "{run:#}");
    &run["output"]
}

/// Returns the number of attempts of each step.
fn attempts(run: &Value) -> Vec<(&str, usize)> {
    let steps = run["steps"].as_array().expect("steps");
    let count = |step: &Value| step["attempts"].as_array().map_or(0, Vec::len);
    steps.iter().map(|step| (step["id"].as_str().expect("an id"), count(step))).collect()
}

async fn steps_sleeps_and_parallel_steps_execute_once(package: Package) {
    let (server, app) = start(package, 23).await;
    let run = ended(&server, "test/hello", json!({"name": "Ada"})).await;
    assert_eq!(output(&run), &json!({"message": "Hello Ada!"}));
    assert_eq!(attempts(&run), [("greet", 1), ("wait-a-moment", 0)]);
    assert_eq!(app.counts(&run, &["greet"]).await, [1]);

    let run = ended(&server, "test/parallel", json!({})).await;
    assert_eq!(output(&run), &json!({"sum": 3, "none": null}));
    assert_eq!(app.counts(&run, &["first", "a", "b", "sum"]).await, [1, 1, 1, 1]);

    let run = ended(&server, "test/repeated", json!({})).await;
    assert_eq!(output(&run), &json!([1, 2, 3, 4]));
    let ids: Vec<&str> = attempts(&run).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, ["again", "again:1", "again:2", "odd: name/é 😀"]);
    server.assert_no_error_logged();
}

async fn errors_are_retried_caught_and_recorded(package: Package) {
    let (server, app) = start(package, 23).await;
    let run = ended(&server, "test/flaky", json!({})).await;
    assert_eq!(output(&run), &json!({"tries": 3, "late": "in time", "attempt": 0}));
    assert_eq!(attempts(&run), [("flaky", 3), ("late", 2)], "each step has its own retries");
    assert_eq!(run["steps"][0]["attempts"][0]["error"]["name"], "TypeError", "{run:#}");

    let run = ended(&server, "test/caught", json!({})).await;
    // version 3 does not report the names of errors that are final
    let name = |name| if package == Package::TypeScript3 { "Error" } else { name };
    assert_eq!(output(&run), &json!([[name("NonRetriableError"), "never"], ["TypeError", "always"]]));
    assert_eq!(app.counts(&run, &["never", "always"]).await, [1, 2]);

    let run = ended(&server, "test/handler", json!({})).await;
    assert_eq!(
        output(&run),
        &json!({"first": 1, "second": 1, "attempt": 2}),
        "its failures are not those of its steps"
    );
    assert_eq!(app.counts(&run, &["first", "second"]).await, [1, 1]);

    let api = server.api();
    let run = ended(&server, "test/uncaught", json!({})).await;
    assert_eq!(run["status"], "Failed", "{run:#}");
    assert_eq!((&run["error"]["name"], &run["error"]["message"]), (&json!(name("RangeError")), &json!("out of range")));
    let failure = wait_for("the run of the failure handler", async || {
        let (_, runs) = api.get("/v1/runs?function=shop-uncaught-failure").await;
        runs["data"][0]["run_id"].as_str().map(str::to_owned)
    });
    let run = api.wait_for_end(&failure.await).await;
    assert_eq!(output(&run), &json!({"of": "shop-uncaught", "error": "out of range"}));
}

/// Checks that the run of the call `slow` still waits although its caller has ended, and lets it
/// end.
async fn goes_on_after_its_timeout(server: &ServerProcess, caller: &Value) {
    let api = server.api();
    let steps = caller["steps"].as_array().expect("steps");
    let slow = steps.iter().find(|step| step["id"] == "slow").expect("the call");
    let called = slow["child"].as_str().expect("the called run");
    wait_for("its wait", async || {
        let run = api.run(called).await;
        assert_eq!(run["status"], "Running", "it goes on");
        run["steps"].as_array()?.iter().any(|step| step["id"] == "go").then_some(())
    })
    .await;
    api.send(&json!({"name": "test/go", "data": {}})).await;
    let called = api.wait_for_end(called).await;
    assert_eq!(output(&called)["twice"], 2);
}

async fn waits_calls_and_events_are_those_of_the_engine(package: Package) {
    let (server, _app) = start(package, 23).await;
    let api = server.api();
    let sent = api.send(&json!({"name": "test/waits", "data": {"id": 7}})).await;
    let waiting = api.run_of(&sent[0]).await;
    wait_for("the end of the short wait", async || {
        let run = api.run(&waiting).await;
        run["steps"].as_array()?.iter().any(|step| step["id"] == "nothing" && step["output"].is_null()).then_some(())
    })
    .await;
    api.send(&json!({"name": "test/approved", "data": {"id": 8, "by": "Eve"}})).await;
    api.send(&json!({"name": "test/approved", "data": {"id": 7, "by": "Ada"}})).await;
    let run = api.wait_for_end(&waiting).await;
    assert_eq!(output(&run), &json!({"by": "Ada", "name": "test/approved", "none": null}));

    let run = ended(&server, "test/caller", json!({})).await;
    // version 4 of the package does not send `user`, and gives each event an empty one
    let user = if package == Package::TypeScript3 { json!({"id": "ada"}) } else { json!({}) };
    let late = "the run that step `slow` called has not ended within the step's timeout; it goes on";
    let called = json!({
        "twice": 42, "name": "inngest/function.invoked", "user": user, "failed": "the callee fails",
        "late": ["InngestInvokeTimeoutError", late], "sent": 1,
    });
    assert_eq!(output(&run), &called);
    goes_on_after_its_timeout(&server, &run).await;
    wait_for("the run of the sent event", async || {
        let (_, runs) = api.get("/v1/runs?function=shop-sent&status=Completed").await;
        (runs["data"].as_array()?.len() == 1).then_some(())
    })
    .await;

    let sent =
        api.send(&json!([{"name": "test/batch", "data": {"n": 1}}, {"name": "test/batch", "data": {"n": 2}}])).await;
    let run = api.run_of(&sent[0]).await;
    assert_eq!(output(&api.wait_for_end(&run).await), &json!([1, 2]));

    let run = ended(&server, "test/unsupported", json!({})).await;
    let message = run["error"]["message"].as_str().expect("an error");
    assert!(message.contains("step `sig` has `onConflict: replace`") && message.contains("not supported"), "{message}");
}

/// Tests the same app with each major version of the TypeScript package.
macro_rules! with_each_version {
    ($($test:ident),*) => {
        mod typescript_3 {
            $(#[tokio::test] async fn $test() { super::$test(super::Package::TypeScript3).await; })*
        }
        mod typescript_4 {
            $(#[tokio::test] async fn $test() { super::$test(super::Package::TypeScript4).await; })*
        }
    };
}

with_each_version!(
    steps_sleeps_and_parallel_steps_execute_once,
    errors_are_retried_caught_and_recorded,
    waits_calls_and_events_are_those_of_the_engine
);

#[tokio::test]
async fn an_app_is_found_at_its_address_and_waited_for() {
    let port = parts::free_port();
    let address = format!("http://127.0.0.1:{port}/api/inngest");
    let mut server = ServerProcess::new().argument("--retry-delay").argument("20ms").argument("-u").argument(&address);
    server.start().await;
    assert!(server.log().contains("an app is not synced: the app at"), "{}", server.log());
    let port = port.to_string();
    let app = App::start(Package::TypeScript4, &server, &[("PORT", &port), ("ONLY", "hello")]).await;
    let api = server.api();
    let apps = wait_for("the registration", async || {
        let (_, apps) = api.get("/v1/apps").await;
        apps["data"].as_array().is_some_and(|apps| !apps.is_empty()).then_some(apps)
    })
    .await;
    let app_listed = |apps: &Value| {
        let app = &apps["data"][0];
        assert_eq!((&app["name"], &app["url"]), (&json!("shop"), &json!(address)));
        assert_eq!(app["functions"], json!(["shop-hello-world"]));
        assert_eq!((&app["sdk"], &app["framework"]), (&json!("inngest-js 4.24.0"), &json!("nodejs")), "{app}");
        assert!(app["synced_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{app}");
    };
    app_listed(&apps);
    let printed = server.client(&["apps"]).output().await.expect("the binary starts");
    let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
    assert!(printed.contains("inngest-js 4.24.0") && printed.contains("nodejs"), "{printed}");
    let (_, functions) = api.get("/v1/functions").await;
    let functions = functions["data"].as_array().expect("functions");
    assert!(functions.iter().any(|function| function["id"] == "shop-hello-world"), "{functions:?}");

    // the app is gone for a while: its run waits, and no attempt has failed
    app.kill().await;
    let sent = api.send(&json!({"name": "test/hello", "data": {"name": "Bob"}})).await;
    let run = api.run_of(&sent[0]).await;
    wait_for("a run of an unreachable app", async || {
        let journal = api.journal(&run).await;
        json!(journal.0).to_string().contains("ExecutorUnreachable").then_some(())
    })
    .await;
    let app = App::start(Package::TypeScript4, &server, &[("PORT", &port), ("ONLY", "hello")]).await;
    let run = api.wait_for_end_within(Duration::from_secs(60), &run).await;
    assert_eq!(output(&run), &json!({"message": "Hello Bob!"}));
    assert_eq!(app.counts(&run, &["greet"]).await, [1]);

    // a restarted server still knows the app
    server.kill_and_restart().await;
    app_listed(&server.api().get("/v1/apps").await.1);
    let run = ended(&server, "test/hello", json!({"name": "Cy"})).await;
    assert_eq!(output(&run), &json!({"message": "Hello Cy!"}));
}

#[tokio::test]
async fn what_is_no_app_is_refused_with_a_sentence() {
    let server = ServerProcess::without_services().await;
    let api = server.api();
    let sync = async |url: &str| {
        let (status, answer) = api.post("/v1/apps", json!({ "url": url }).to_string()).await;
        (status, answer["error"].as_str().unwrap_or_default().to_owned())
    };
    let (status, sentence) = sync(server.url()).await;
    assert!(status == 502 && sentence.contains("not as an app of Inngest"), "{status} {sentence}");
    let (status, sentence) = sync("localhost:3000").await;
    assert!(status == 502 && sentence.contains("begins with http"), "{status} {sentence}");
    let free = format!("http://127.0.0.1:{}/api/inngest", parts::free_port());
    let (status, sentence) = sync(&free).await;
    assert!(status == 502 && sentence.contains("does not answer"), "{status} {sentence}");

    let function = json!({
        "id": "shop-a", "triggers": [{"event": "a"}], "rateLimits": {},
        "steps": {"step": {"id": "step", "name": "step", "runtime": {"type": "http", "url": free}}},
    });
    let body = json!({"appName": "shop", "url": free, "functions": [function]});
    let (status, answer) = api.post("/fn/register", body.to_string()).await;
    let sentence = answer["error"].as_str().expect("a sentence");
    assert!(status == 400 && sentence.contains("`shop-a`") && sentence.contains("`rateLimits`"), "{status} {sentence}");
    let (status, answer) = api.post("/v0/connect/start", "").await;
    assert!(
        status == 501 && answer["error"].as_str().expect("a sentence").contains("serve the app over HTTP"),
        "{status}"
    );
    let (status, answer) = api.post("/v1/realtime/publish?channel=a", "{}").await;
    assert!(status == 501 && answer["error"].as_str().expect("a sentence").contains("realtime"), "{status}");
    let (status, _) = api.get("/v1/apps").await;
    assert_eq!(status, 200);
    let removed = server.client(&["apps", "remove", "shop"]).output().await.expect("the binary starts");
    assert_eq!(removed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&removed.stderr).contains("there is no app `shop`"));
}
