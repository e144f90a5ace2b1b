//! Messages, as they are on the wire: versions, batches, cancelled requests, and what is no
//! message.

use std::process::Stdio;

use serde_json::{Value, json};
use stepladder_tests::{ApiClient, ServerProcess, wait_for};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

/// `stepladder mcp` as a process.
struct StdioServer {
    _process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl StdioServer {
    fn start(server: &ServerProcess) -> Self {
        let mut command = server.client(&["mcp"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("the binary starts");
        let input = process.stdin.take().expect("its input");
        let output = BufReader::new(process.stdout.take().expect("its output")).lines();
        Self { _process: process, input, output }
    }

    async fn write(&mut self, message: &str) {
        self.input.write_all(format!("{message}\n").as_bytes()).await.expect("it reads");
    }

    /// Returns the next message.
    async fn read(&mut self) -> Value {
        let line = self.output.next_line().await.expect("it writes").expect("a line");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    async fn ask(&mut self, message: &str) -> Value {
        self.write(message).await;
        self.read().await
    }
}

fn initialize(version: &str) -> String {
    json!({"jsonrpc": "2.0", "id": "i", "method": "initialize", "params": {"protocolVersion": version,
        "capabilities": {}, "clientInfo": {"name": "a test", "version": "1"}}})
    .to_string()
}

/// A request that waits for a run, for five minutes at most.
fn wait_for_end(id: Value, run: &str) -> String {
    let arguments = json!({"run_id": run, "timeout_seconds": 300});
    let params = json!({"name": "wait_for_run", "arguments": arguments, "_meta": {"progressToken": "p"}});
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).to_string()
}

fn cancelled(id: Value) -> String {
    json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}).to_string()
}

#[tokio::test]
async fn the_version_is_negotiated() {
    let server = ServerProcess::without_services().await;
    let mut stdio = StdioServer::start(&server);
    for (wanted, agreed) in [
        ("2025-11-25", "2025-11-25"),
        ("2025-06-18", "2025-06-18"),
        ("2025-03-26", "2025-03-26"),
        ("2024-11-05", "2025-11-25"),
        ("2031-01-01", "2025-11-25"),
    ] {
        let answer = stdio.ask(&initialize(wanted)).await;
        assert_eq!(answer["result"]["protocolVersion"], agreed, "{answer}");
        assert_eq!(answer["result"]["capabilities"], json!({"tools": {}}));
        let (status, over_http) = server.api().post("/mcp", initialize(wanted)).await;
        assert_eq!((status, &over_http["result"]), (200, &answer["result"]));
    }
    let post = |version: &str| {
        let request = server.api().request(reqwest::Method::POST, "/mcp").header("mcp-protocol-version", version);
        request.body(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#)
    };
    assert_eq!(post("2025-06-18").send().await.expect("an answer").status(), 200);
    let refused = post("2024-01-01").send().await.expect("an answer");
    assert_eq!(refused.status(), 400);
    assert!(refused.text().await.expect("a body").contains("this server speaks 2025-11-25, 2025-06-18"));
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_the_next_message_is_answered() {
    let server = ServerProcess::without_services().await;
    let mut stdio = StdioServer::start(&server);
    for (message, code) in [
        ("{", -32700),
        ("[]", -32600),
        ("[1]", -32600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"resources/list"}"#, -32601),
        (r#"{"jsonrpc":"2.0","id":1,"method":"server/discover"}"#, -32601),
        (r#"{"jsonrpc":"2.0","id":1,"method":"initialize"}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":7}}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"x"}}"#, -32602),
    ] {
        let (status, over_http) = server.api().post("/mcp", message).await;
        assert_eq!(status, 200, "{message}: {over_http}");
        for answer in [stdio.ask(message).await, over_http] {
            let answer = if answer.is_array() { answer[0].clone() } else { answer };
            assert_eq!(answer["error"]["code"], code, "{message}: {answer}");
        }
    }
    let ping = r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#;
    let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    stdio.write(initialized).await;
    assert_eq!(stdio.ask(&format!("[{ping},{initialized},{ping}]")).await.as_array().map(Vec::len), Some(2));
    let (status, nothing) = server.api().post("/mcp", initialized).await;
    assert_eq!((status, nothing), (202, Value::Null));
    // the end of its input ends the process, after the last answer
    stdio.write(ping).await;
    let StdioServer { mut _process, input, mut output } = stdio;
    drop(input);
    assert!(output.next_line().await.expect("it writes").is_some_and(|line| line.contains("\"id\":7")));
    assert!(_process.wait().await.expect("it is ours").success());
    for (body, expected) in [(vec![b'"', 0xff, b'"'], 400), (vec![b' '; 16 * 1024 * 1024 + 1], 413)] {
        let (status, refused) = server.api().post("/mcp", body).await;
        assert_eq!(status, expected);
        assert!(refused["error"].is_string(), "{refused}");
    }
    server.assert_no_error_logged();
}

#[tokio::test]
async fn a_wait_over_stdio_reports_progress_and_is_cancelled() {
    let server = ServerProcess::without_services().await;
    let run = waiting_run(&server.api()).await;
    let mut stdio = StdioServer::start(&server);
    let progress = stdio.ask(&wait_for_end(json!(5), &run)).await;
    assert_eq!(progress["method"], "notifications/progress", "{progress}");
    assert_eq!((&progress["params"]["progressToken"], &progress["params"]["progress"]), (&json!("p"), &json!(1)));
    stdio.write(&cancelled(json!(5))).await;
    // notifications about the run may still come first
    let answer = loop {
        let message = stdio.read().await;
        if message["id"] == 5 {
            break message;
        }
    };
    assert_eq!(answer["error"]["code"], -32800, "{answer}");
    assert_eq!(stdio.ask(r#"{"jsonrpc":"2.0","id":6,"method":"ping"}"#).await["id"], 6);
}

#[tokio::test]
async fn a_wait_over_http_is_cancelled_by_its_own_session_only() {
    let server = ServerProcess::without_services().await;
    let run = waiting_run(&server.api()).await;
    let start = || server.api().request(reqwest::Method::POST, "/mcp");
    let mut sessions = Vec::new();
    for _ in 0..2 {
        let answer = start().body(initialize("2025-06-18")).send().await.expect("an answer");
        let session = answer.headers()["mcp-session-id"].to_str().expect("text").to_owned();
        assert!(!sessions.contains(&session));
        sessions.push(session);
    }
    let wait = start().header("mcp-session-id", &sessions[0]).header("accept", "application/json, text/event-stream");
    let mut stream = wait.body(wait_for_end(json!(1), &run)).send().await.expect("an answer");
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let first = stream.chunk().await.expect("a stream").expect("an event");
    assert!(String::from_utf8_lossy(&first).contains("notifications/progress"), "{first:?}");
    let cancel = |session: &str| start().header("mcp-session-id", session).body(cancelled(json!(1))).send();
    assert_eq!(cancel(&sessions[1]).await.expect("an answer").status(), 202);
    let ping = start().header("mcp-session-id", &sessions[0]).body(r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#);
    assert_eq!(ping.send().await.expect("an answer").status(), 200);
    assert_eq!(cancel(&sessions[0]).await.expect("an answer").status(), 202);
    let mut rest = String::new();
    while let Some(chunk) = stream.chunk().await.expect("a stream") {
        rest.push_str(&String::from_utf8_lossy(&chunk));
    }
    assert!(rest.contains("-32800") && rest.contains("\"id\":1"), "{rest}");
}

/// Starts a run of `hello-world`, whose function is paused
/// first, so that it waits as long as the test needs.
async fn waiting_run(api: &ApiClient) -> String {
    let (status, paused) = api.post("/v1/functions/hello-world/pause", "").await;
    assert_eq!(status, 200, "{paused}");
    let event = api.send(&json!({"name": "test/hello.world", "data": {"name": "Ada"}})).await.remove(0);
    let run = api.run_of(&event).await;
    wait_for("the run to wait", async || api.run(&run).await["waiting"].as_str().map(drop)).await;
    run
}
