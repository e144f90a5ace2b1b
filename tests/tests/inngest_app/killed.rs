//! A server that is killed, or gives up, while an app with the real package executes a step. The
//! app's own log says when each body began and ended.

use serde_json::{Value, json};
use stepladder_tests::{ApiClient, ServerProcess, parts, wait_for};

use crate::app::{App, node};
use crate::output;

/// Starts a server with this worker timeout, and an app that finds it again after a restart.
async fn start(worker_timeout: &str) -> (ServerProcess, App) {
    let program = ServerProcess::for_program(env!("CARGO_BIN_EXE_without-functions"));
    let mut server = program.listening_on(parts::free_port());
    for argument in ["--retry-delay", "20ms", "--worker-timeout", worker_timeout] {
        server = server.argument(argument);
    }
    server.start().await;
    let app = App::start_command(node(include_str!("killed.mjs")), server.url(), &[]).await;
    let (status, answer) = server.api().post("/v1/apps", json!({ "url": app.url() }).to_string()).await;
    assert_eq!(status, 200, "{answer}");
    (server, app)
}

async fn started(server: &ServerProcess, event: &str) -> String {
    let api = server.api();
    let sent = api.send(&json!({"name": event, "data": {}})).await;
    api.run_of(&sent[0]).await
}

async fn log(app: &App) -> Value {
    ApiClient::new(&app.root()).get("/log").await.1
}

/// Returns when the bodies of a step began and ended, in order.
async fn bodies(app: &App, run: &str, step: &str) -> Vec<(u64, Option<u64>)> {
    let log = log(app).await;
    let bodies = log["bodies"].as_array().expect("bodies").iter();
    let own = bodies.filter(|body| body["run"] == run && body["step"] == step);
    own.map(|body| (body["began"].as_u64().expect("a moment"), body["ended"].as_u64())).collect()
}

/// Waits until the app executes the step `long` of a run.
async fn long_began(app: &App, run: &str) {
    wait_for("the long step", async || (!bodies(app, run, "long").await.is_empty()).then_some(())).await;
}

#[tokio::test]
async fn a_restarted_server_calls_the_app_again_after_the_lease_of_its_predecessor() {
    let (mut server, app) = start("10s").await;
    let mut runs = Vec::new();
    for function in ["test/recorded", "test/calls", "test/parallel"] {
        runs.push(started(&server, function).await);
    }
    for run in &runs {
        long_began(&app, run).await;
    }
    server.kill_and_restart().await;
    let api = server.api();
    // the wakes of the interrupted runs are delivered before that of this one
    let quick = started(&server, "test/quick").await;
    assert_eq!(output(&api.wait_for_end(&quick).await), &json!("done"));
    for run in &runs {
        assert_eq!(bodies(&app, run, "long").await.len(), 1, "the app still executes it");
        let run = api.run(run).await;
        let waiting = run["waiting"].as_str().unwrap_or_default();
        assert!(waiting.contains("its app may still execute a step"), "{run:#}");
    }
    app.release().await;
    let outputs = [json!([1, 1, 1]), json!([1, 2, 1]), json!([2, 1])];
    for (run, expected) in runs.iter().zip(outputs) {
        let ended = api.wait_for_end(run).await;
        assert_eq!(output(&ended), &expected, "what the app has recorded is not executed again: {ended:#}");
        let journal = api.journal(run).await;
        journal.assert_legal();
        for step in ["one", "long", "side", "after"] {
            let bodies = bodies(&app, run, step).await;
            let overlaps = |pair: &[(u64, Option<u64>)]| pair[0].1.is_none_or(|ended| pair[1].0 < ended);
            assert!(!bodies.windows(2).any(overlaps), "{step} ran twice at the same time: {bodies:?}");
        }
    }
    server.assert_no_error_logged();
}

/// Lets the lease of a call end while its step goes on. Then the step answers.
async fn what_a_step_answers_late_is_not_recorded(server_dies: bool) {
    let (mut server, app) = start("8s").await;
    let recorded = started(&server, "test/late-recorded").await;
    let by_calls = started(&server, "test/late-calls").await;
    for run in [&recorded, &by_calls] {
        long_began(&app, run).await;
    }
    if server_dies {
        server.kill_and_restart().await;
    }
    let api = server.api();
    for run in [&recorded, &by_calls] {
        wait_for("the wait after the second attempt", async || {
            let run = api.run(run).await;
            run["steps"].as_array()?.iter().any(|step| step["id"] == "go").then_some(())
        })
        .await;
    }
    let before = log(&app).await["checkpoints"].as_array().map_or(0, Vec::len);
    app.release().await;
    wait_for("the late answers", async || {
        let is_done = |bodies: Vec<(u64, Option<u64>)>| bodies[0].1.is_some();
        let done = is_done(bodies(&app, &recorded, "long").await) && is_done(bodies(&app, &by_calls, "long").await);
        let checkpoints = log(&app).await["checkpoints"].clone();
        let late = checkpoints.as_array().and_then(|all| all.get(before)).cloned();
        done.then_some(late?)
    })
    .await;
    let late = log(&app).await["checkpoints"].as_array().expect("statuses")[before..].to_vec();
    assert!(late.iter().all(|status| *status == 409), "a late checkpoint is refused: {late:?}");
    api.send(&json!({"name": "test/go", "data": {}})).await;
    for run in [&recorded, &by_calls] {
        let ended = api.wait_for_end(run).await;
        assert_eq!(output(&ended), &json!([2, 1]), "{ended:#}");
        assert_eq!(bodies(&app, run, "after").await.len(), 1, "the late call executes nothing more");
        let journal = api.journal(run).await;
        journal.assert_legal();
        let outcomes = journal.steps_with_fact("StepSucceeded");
        assert_eq!(outcomes, ["long", "after"], "{:#?}", journal.story());
    }
    server.assert_no_error_logged();
}

#[tokio::test]
async fn what_a_step_answers_after_the_time_out_of_its_call_is_not_recorded() {
    what_a_step_answers_late_is_not_recorded(false).await;
}

#[tokio::test]
async fn what_a_step_answers_after_the_lease_of_a_dead_server_is_not_recorded() {
    what_a_step_answers_late_is_not_recorded(true).await;
}
