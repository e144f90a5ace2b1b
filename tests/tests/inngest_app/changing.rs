//! Apps whose code changes between the call that lists a step and the call that executes it: the
//! run goes on with the new code.

use std::time::Duration;

use serde_json::{Value, json};
use stepladder_tests::ServerProcess;
use tokio::process::Command;

use crate::app::{App, node, python};
use crate::output;

/// Starts a server, and an app of this command that is synced with it.
pub(crate) async fn start(command: Command) -> (ServerProcess, App) {
    let server = ServerProcess::without_services().await;
    let app = App::start_command(command, server.url(), &[]).await;
    let (status, answer) = server.api().post("/v1/apps", json!({ "url": app.url() }).to_string()).await;
    assert_eq!(status, 200, "{answer}");
    (server, app)
}

/// Returns the codes of the errors of a step's attempts.
fn codes(run: &Value, step: &str) -> Vec<Value> {
    let steps = run["steps"].as_array().expect("steps");
    let step = steps.iter().find(|other| other["id"] == step).expect("the step");
    step["attempts"].as_array().expect("attempts").iter().map(|attempt| attempt["error"]["code"].clone()).collect()
}

/// Runs a function whose step `gone` fails, and is no longer in the code when it is retried; and
/// one with two parallel steps, of which one is no longer in the code.
async fn a_run_goes_on_without_a_step_that_is_gone(command: Command, says: &str) {
    let (server, app) = start(command).await;
    let api = server.api();
    let ended = async |event: &str| {
        let sent = api.send(&json!({"name": event, "data": {}})).await;
        // the TypeScript package waits ten seconds before it says that a step is not there
        api.wait_for_end_within(Duration::from_secs(60), &api.run_of(&sent[0]).await).await
    };
    let (retried, last, beside) = tokio::join!(ended("test/retried"), ended("test/last"), ended("test/beside"));
    for run in [&retried, &last] {
        assert_eq!(output(run), &json!(1));
        assert_eq!(app.counts(run, &["gone", "new"]).await, [1, 1]);
        assert_eq!(codes(run, "gone").len(), 2, "it is not tried again: {run:#}");
        let error = run["steps"][0]["attempts"][1]["error"].to_string();
        assert!(error.contains(says), "{error}");
    }
    assert_eq!(output(&beside), &json!([1, 1]));
    assert_eq!(app.counts(&beside, &["a", "gone", "new"]).await, [1, 0, 1]);
}

#[tokio::test]
async fn a_run_of_typescript_goes_on_without_a_step_that_is_gone() {
    a_run_goes_on_without_a_step_that_is_gone(node(include_str!("changing.mjs")), "Could not find step").await;
}

#[tokio::test]
async fn a_run_of_python_goes_on_without_a_step_that_is_gone() {
    let says = "when targeting a different step";
    a_run_goes_on_without_a_step_that_is_gone(python(include_str!("changing.py")), says).await;
}
