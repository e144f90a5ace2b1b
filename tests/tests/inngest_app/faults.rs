//! Faults of an app, and of what is between the server and the app. The app is a socket here, so
//! that it can answer anything, or nothing.

use serde_json::{Value, json};
use stepladder_tests::ServerProcess;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The hashes of the ids `a` and `b`.
const A: &str = "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8";
const B: &str = "e9d71f5ee7c92d6dc9e92ffdad17b8bd49418f98";

/// An app with one function, whose calls the test answers.
struct SocketApp {
    listener: TcpListener,
}

impl SocketApp {
    /// Registers an app with this server.
    async fn start(server: &ServerProcess) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/api/inngest", listener.local_addr().expect("its address"));
        let runtime = json!({"type": "http", "url": url});
        let step = json!({"id": "step", "name": "step", "runtime": runtime, "retries": {"attempts": 2}});
        let function = json!({"id": "fake-f", "triggers": [{"event": "test/fake"}], "steps": {"step": step}});
        let body = json!({"appName": "fake", "url": url, "functions": [function]});
        let (status, answer) = server.api().post("/fn/register", body.to_string()).await;
        assert_eq!(status, 200, "{answer}");
        Self { listener }
    }

    /// Returns the body of the next call, and its connection.
    async fn call(&self) -> (Value, TcpStream) {
        let (mut stream, _) = self.listener.accept().await.expect("a connection");
        let mut bytes = Vec::new();
        loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
                if bytes.len() >= end + 4 + length.parse::<usize>().expect("a number") {
                    return (serde_json::from_slice(&bytes[end + 4..]).expect("JSON"), stream);
                }
            }
            assert!(stream.read_buf(&mut bytes).await.expect("a request") > 0, "a whole request");
        }
    }

    /// Sends these bytes to the next call. Returns the body of the call.
    async fn answer(&self, bytes: &str) -> Value {
        let (body, mut stream) = self.call().await;
        stream.write_all(bytes.as_bytes()).await.expect("the server reads");
        body
    }
}

/// Returns an answer of an SDK.
fn of_sdk(status: u16, body: &Value) -> String {
    let body = body.to_string();
    let length = body.len();
    let head = format!("HTTP/1.1 {status} x\r\nx-inngest-sdk: inngest-js:v4\r\nconnection: close\r\n");
    format!("{head}content-length: {length}\r\n\r\n{body}")
}

fn step_run(id: &str, name: &str, data: Value) -> Value {
    json!({"id": id, "op": "StepRun", "displayName": name, "data": data})
}

/// Starts a server, an app, and a run of its function.
async fn start() -> (ServerProcess, SocketApp, String) {
    let server = ServerProcess::without_services().await;
    let app = SocketApp::start(&server).await;
    let api = server.api();
    let sent = api.send(&json!({"name": "test/fake", "data": {}})).await;
    let run = api.run_of(&sent[0]).await;
    (server, app, run)
}

#[tokio::test]
async fn what_a_proxy_answers_is_no_result_and_a_gateway_status_uses_no_retry() {
    let (server, app, run) = start().await;
    app.answer("HTTP/1.1 502 x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
    app.answer("HTTP/1.1 206 x\r\nx-inngest-sdk: inngest-js:v4\r\ncontent-length: 100\r\n\r\n[{").await;
    let page = app.answer("HTTP/1.1 200 x\r\nconnection: close\r\ncontent-length: 6\r\n\r\n<html>").await;
    assert_eq!(page["ctx"]["attempt"], 0, "the first two used no retry");
    let last = app.answer(&of_sdk(200, &json!("done"))).await;
    assert_eq!((&last["ctx"]["attempt"], &last["ctx"]["max_attempts"]), (&json!(1), &json!(3)));
    let done = server.api().wait_for_end(&run).await;
    assert_eq!((&done["status"], &done["output"]), (&json!("Completed"), &json!("done")), "{done:#}");
}

#[tokio::test]
async fn a_value_that_is_too_large_fails_its_step_and_a_step_is_reported_once() {
    let (server, app, run) = start().await;
    app.answer(&of_sdk(206, &json!([step_run(A, "a", json!("x".repeat(5 * 1024 * 1024)))]))).await;
    let next = app.answer(&of_sdk(206, &json!([step_run(B, "b", json!(1))]))).await;
    let message = next["steps"][A]["error"]["message"].as_str().expect("a failure");
    assert!(message.contains("at most 4194304 are allowed"), "{message}");
    app.answer(&of_sdk(206, &json!([step_run(B, "b", json!(2))]))).await;
    let done = server.api().wait_for_end(&run).await;
    let error = done["error"]["message"].as_str().expect("an error");
    assert!(done["status"] == "Failed" && error.contains("step `b` as executed again"), "{error}");
}

#[tokio::test]
async fn what_an_app_has_recorded_survives_its_death_and_a_dead_call_records_nothing() {
    let (server, app, run) = start().await;
    let api = server.api();
    let (first, stream) = app.call().await;
    let call = first["ctx"]["qi_id"].clone();
    let checkpoint = async |step: Value, call: &Value| {
        let body = json!({"run_id": run, "fn_id": "fake-f", "qi_id": call, "steps": [step]});
        api.post(&format!("/v1/checkpoint/{run}/async"), body.to_string()).await
    };
    for _ in 0..2 {
        let (status, answer) = checkpoint(step_run(A, "a", json!(7)), &call).await;
        assert_eq!(status, 200, "a repeated checkpoint is accepted: {answer}");
    }
    let sleep = json!({"id": B, "op": "Sleep", "displayName": "b", "name": "1s"});
    let (status, answer) = checkpoint(sleep, &call).await;
    assert!(status == 400 && answer["error"].as_str().is_some_and(|e| e.contains("`Sleep`")), "{answer}");
    drop(stream);
    let (next, mut stream) = app.call().await;
    assert_eq!(next["steps"][A], json!({"data": 7}));
    let (status, _) = checkpoint(step_run(B, "b", json!(1)), &call).await;
    assert_eq!(status, 409, "another call follows");
    let (status, _) = checkpoint(step_run(B, "b", json!(2)), &next["ctx"]["qi_id"]).await;
    assert_eq!(status, 200);
    // the app returns the step as well, because it has not received the answer to its checkpoint
    stream.write_all(of_sdk(206, &json!([step_run(B, "b", json!(2))])).as_bytes()).await.expect("the server reads");
    let last = app.answer(&of_sdk(200, &json!("done"))).await;
    assert_eq!(last["steps"][B], json!({"data": 2}));
    let done = api.wait_for_end(&run).await;
    assert_eq!(done["output"], "done", "{done:#}");
    let (status, answer) = checkpoint(step_run(A, "a", json!(7)), &call).await;
    assert!(status == 409 && answer["error"].as_str().is_some_and(|e| e.contains("has ended")), "{answer}");
}
