//! Calls of an app: checkpoints, races, large runs, and processes that die during a call.

use serde_json::{Value, json};
use stepladder_tests::{ApiClient, wait_for};

use crate::app::{App, Package};
use crate::{attempts, ended, output, start};

/// Returns the names of the facts in the journal of a run.
pub(crate) async fn facts(api: &ApiClient, run: &str) -> Vec<String> {
    let name = |entry: &Value| match &entry["fact"] {
        Value::Object(fact) => fact.keys().next().cloned().unwrap_or_default(),
        other => other.as_str().unwrap_or_default().to_owned(),
    };
    api.journal(run).await.0.iter().map(name).collect()
}

pub(crate) fn count(facts: &[String], fact: &str) -> usize {
    facts.iter().filter(|other| *other == fact).count()
}

#[tokio::test]
async fn one_call_executes_several_steps_and_each_is_recorded() {
    let (server, app) = start(Package::TypeScript4, 23).await;
    let api = server.api();
    for (event, calls) in [("test/repeated", 1), ("test/buffered", 1), ("test/calls", 4)] {
        let run = ended(&server, event, json!({})).await;
        let facts = facts(&api, run["run_id"].as_str().expect("a run")).await;
        assert_eq!(count(&facts, "CallStarted"), calls, "{event}: {facts:?}");
        if event != "test/repeated" {
            assert_eq!(output(&run), &json!([1, 1, 1]));
            assert_eq!(attempts(&run), [("a", 1), ("b", 1), ("c", 1)]);
            assert_eq!(app.counts(&run, &["a", "b", "c"]).await, [1, 1, 1]);
        }
    }
    server.assert_no_error_logged();
}

#[tokio::test]
async fn a_sleep_needs_one_call_before_it_and_one_after_it() {
    let (server, app) = start(Package::TypeScript4, 23).await;
    let run = ended(&server, "test/hello", json!({"name": "Ada"})).await;
    assert_eq!(output(&run), &json!({"message": "Hello Ada!"}));
    let facts = facts(&server.api(), run["run_id"].as_str().expect("a run")).await;
    assert_eq!(count(&facts, "CallStarted"), 2, "{facts:?}");
    assert_eq!(app.counts(&run, &["handler"]).await, [2], "no call beside them, either");
}

#[tokio::test]
async fn a_run_ends_although_the_steps_that_lost_a_race_go_on() {
    let (server, app) = start(Package::TypeScript4, 23).await;
    let run = ended(&server, "test/race", json!({})).await;
    assert_eq!(output(&run), &json!("fast"));
    assert_eq!(app.counts(&run, &["slow"]).await, [1]);
    let run = ended(&server, "test/timers", json!({})).await;
    assert_eq!(output(&run), &json!(["work", "more", "last"]));
    server.assert_no_error_logged();

    let (server, app) = start(Package::TypeScript3, 23).await;
    let run = ended(&server, "test/race", json!({})).await;
    assert_eq!(output(&run), &json!("fast"));
    assert_eq!(app.counts(&run, &["slow"]).await, [1]);
}

#[tokio::test]
async fn a_large_run_is_fetched_by_the_app() {
    let (server, _app) = start(Package::TypeScript4, 23).await;
    let run = ended(&server, "test/large", json!({"name": "Ada"})).await;
    assert_eq!(output(&run), &json!({"bytes": 5 * 1024 * 1024, "name": "Ada"}));
    let api = server.api();
    let (status, _) = api.get("/v0/runs/01ARZ3NDEKTSV4RRFFQ69G5FAV/actions").await;
    assert_eq!(status, 404);
}

/// Starts a run whose second step waits, and returns when the first one is recorded.
async fn halfway(api: &ApiClient) -> String {
    let sent = api.send(&json!({"name": "test/halfway", "data": {}})).await;
    let run = api.run_of(&sent[0]).await;
    wait_for("the first step", async || {
        let run = api.run(&run).await;
        run["steps"].as_array()?.iter().any(|step| step["id"] == "one" && step["output"] == 1).then_some(())
    })
    .await;
    run
}

#[tokio::test]
async fn an_app_that_dies_during_a_call_repeats_only_what_is_not_recorded() {
    let (server, app) = start(Package::TypeScript4, 23).await;
    let api = server.api();
    let run = halfway(&api).await;
    let port = app.port();
    app.kill().await;
    let app = App::start(Package::TypeScript4, &server, &[("PORT", &port), ("RELEASED", "1")]).await;
    let run = api.wait_for_end(&run).await;
    assert_eq!(output(&run), &json!([1, 2, 1]));
    assert_eq!(app.counts(&run, &["one", "two", "three"]).await, [0, 1, 1]);
}

#[tokio::test]
async fn a_signal_resumes_the_run_that_waits_for_it() {
    let (server, _app) = start(Package::TypeScript4, 23).await;
    let api = server.api();
    let sent = api.send(&json!({"name": "test/signals", "data": {}})).await;
    let waiting = api.run_of(&sent[0]).await;
    wait_for("the second wait", async || {
        let run = api.run(&waiting).await;
        run["steps"].as_array()?.iter().any(|step| step["id"] == "wait").then_some(())
    })
    .await;
    let run = ended(&server, "test/sender", json!({})).await;
    assert_eq!(output(&run), &json!({"sent": {"runId": waiting}, "lost": {}}), "no run waits for the second one");
    let run = api.wait_for_end(&waiting).await;
    assert_eq!(output(&run), &json!({"none": null, "got": {"signal": "task/1", "data": {"n": 1}}}));
}

#[tokio::test]
async fn the_live_runs_of_a_function_are_cancelled_by_its_id() {
    let (server, _app) = start(Package::TypeScript4, 23).await;
    let api = server.api();
    let sent = api.send(&json!({"name": "test/signals", "data": {}})).await;
    let run = api.run_of(&sent[0]).await;
    let cancel = async |function: &str| {
        let body = json!({"app_id": "shop", "function_id": function, "started_before": "2999-01-01T00:00:00Z"});
        api.post("/v1/cancellations", body.to_string()).await
    };
    let (status, answer) = cancel("sender").await;
    assert!(status == 200 && answer["data"]["cancelled"] == 0, "{answer}");
    let (status, answer) = cancel("signals").await;
    assert!(status == 200 && answer["data"]["cancelled"] == 1, "{answer}");
    assert_eq!(api.wait_for_end(&run).await["status"], "Cancelled");
    let (status, answer) = api.post("/v1/cancellations", json!({"if": "true"}).to_string()).await;
    assert!(status == 400 && answer["error"].as_str().is_some_and(|error| error.contains("`if`")), "{answer}");
}

#[tokio::test]
async fn a_live_run_goes_on_with_changed_code() {
    let (server, app) = start(Package::TypeScript4, 23).await;
    let api = server.api();
    let sent = api.send(&json!({"name": "test/changed", "data": {}})).await;
    let run = api.run_of(&sent[0]).await;
    wait_for("the wait", async || {
        let run = api.run(&run).await;
        run["steps"].as_array()?.iter().any(|step| step["id"] == "while the code changes").then_some(())
    })
    .await;
    let port = app.port();
    app.kill().await;
    let app = App::start(Package::TypeScript4, &server, &[("PORT", &port), ("CHANGED", "1")]).await;
    api.send(&json!({"name": "test/go", "data": {}})).await;
    let run = api.wait_for_end(&run).await;
    assert_eq!(output(&run), &json!([1, 1, 1]), "the outcome of the removed step is not used");
    assert_eq!(app.counts(&run, &["first", "added", "last"]).await, [0, 1, 1]);
}
