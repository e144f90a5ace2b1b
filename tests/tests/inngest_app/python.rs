//! An unchanged app with the `inngest` package for Python, served by FastAPI.

use serde_json::{Value, json};
use stepladder_tests::{ServerProcess, wait_for};

use super::app::{App, Package};
use super::{attempts, ended, goes_on_after_its_timeout, output};

async fn start() -> (ServerProcess, App) {
    super::start(Package::Python, 16).await
}

#[tokio::test]
async fn steps_sleeps_and_parallel_steps_of_python_execute_once() {
    let (server, app) = start().await;
    let run = ended(&server, "test/hello", json!({"name": "Ada"})).await;
    assert_eq!(output(&run), &json!({"message": "Hello Ada!"}));
    assert_eq!(attempts(&run), [("greet", 1), ("wait-a-moment", 0)]);
    assert_eq!(app.counts(&run, &["greet"]).await, [1]);

    let run = ended(&server, "test/synchronous", json!({})).await;
    assert_eq!(output(&run), &json!(2));
    assert_eq!(app.counts(&run, &["first", "second"]).await, [1, 1]);

    let run = ended(&server, "test/parallel", json!({})).await;
    assert_eq!(output(&run), &json!({"sum": 3, "none": null}));
    assert_eq!(app.counts(&run, &["a", "b", "sum"]).await, [1, 1, 1]);

    let run = ended(&server, "test/repeated", json!({})).await;
    assert_eq!(output(&run), &json!([1, 2, 3, 4]));
    let ids: Vec<&str> = attempts(&run).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, ["again", "again:1", "again:2", "odd: name/é 😀"]);

    let (_, functions) = server.api().get("/v1/functions").await;
    let functions = functions["data"].as_array().expect("functions");
    let scheduled = functions.iter().find(|function| function["id"] == "shop-scheduled").expect("it is registered");
    assert!(scheduled.to_string().contains("0 9 * * *"), "{scheduled}");
    server.assert_no_error_logged();
}

#[tokio::test]
async fn errors_of_python_are_retried_caught_and_recorded() {
    let (server, app) = start().await;
    let run = ended(&server, "test/flaky", json!({})).await;
    assert_eq!(output(&run), &json!({"tries": 3, "late": "in time"}));
    assert_eq!(app.counts(&run, &["flaky", "late"]).await, [3, 2]);
    assert_eq!(run["steps"][0]["attempts"][0]["error"]["name"], "TypeError", "{run:#}");

    let run = ended(&server, "test/caught", json!({})).await;
    assert_eq!(output(&run), &json!(["TypeError", "always"]));
    assert_eq!(app.counts(&run, &["always"]).await, [2]);

    // the package reports this error as one of the function, which code cannot catch
    let run = ended(&server, "test/final", json!({})).await;
    assert_eq!((&run["status"], &run["error"]["message"]), (&json!("Failed"), &json!("never again")), "{run:#}");
    assert_eq!(app.counts(&run, &["never"]).await, [1]);

    let run = ended(&server, "test/handler", json!({})).await;
    assert_eq!(output(&run), &json!({"first": 1, "second": 1, "attempt": 2}));

    let run = ended(&server, "test/uncaught", json!({})).await;
    assert_eq!((&run["status"], &run["error"]["name"]), (&json!("Failed"), &json!("IndexError")), "{run:#}");
    let api = server.api();
    let failure = wait_for("the run of the failure handler", async || {
        let (_, runs) = api.get("/v1/runs?function=shop-uncaught-failure").await;
        runs["data"][0]["run_id"].as_str().map(str::to_owned)
    });
    let run = api.wait_for_end(&failure.await).await;
    assert_eq!(output(&run), &json!({"of": "shop-uncaught", "error": "out of range"}));
}

#[tokio::test]
async fn waits_calls_and_events_of_python_are_those_of_the_engine() {
    let (server, _app) = start().await;
    let api = server.api();
    let sent = api.send(&json!({"name": "test/waits", "data": {"id": 7}})).await;
    let waiting = api.run_of(&sent[0]).await;
    let ends = |run: &Value| {
        run["steps"].as_array()?.iter().any(|step| step["id"] == "nothing" && step["output"].is_null()).then_some(())
    };
    wait_for("the end of the short wait", async || ends(&api.run(&waiting).await)).await;
    api.send(&json!({"name": "test/approved", "data": {"id": 8, "by": "Eve"}})).await;
    api.send(&json!({"name": "test/approved", "data": {"id": 7, "by": "Ada"}})).await;
    let run = api.wait_for_end(&waiting).await;
    assert_eq!(output(&run), &json!({"by": "Ada", "name": "test/approved", "none": null}));

    let run = ended(&server, "test/caller", json!({})).await;
    let called = json!({
        "twice": 42, "name": "inngest/function.invoked", "failed": "the callee fails",
        "late": "InngestInvokeTimeoutError", "sent": 1,
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
}
