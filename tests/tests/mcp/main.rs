//! The tools of coding agents: sessions of the official MCP client over standard input and output
//! and over HTTP, and messages that only a faulty or hostile client sends.

#[path = "../aws/queues.rs"]
mod queues;
#[path = "../aws/table.rs"]
mod table;

mod access;
mod messages;
mod on_aws;

use serde_json::{Value, json};
use stepladder_tests::database::DatabaseStub;
use stepladder_tests::openai::OpenAiStub;
use stepladder_tests::{ServerProcess, binary, parts};
use tokio::process::Command;

/// How the client reaches the server.
#[derive(Clone, Copy, Debug)]
enum Transport {
    Stdio,
    Http,
}

/// Returns the command that runs a session of the official client, without a server to talk to.
fn session(name: &str) -> Command {
    let mut python = Command::new(parts::python_program("python"));
    python.args(["-c", include_str!("session.py"), name]).kill_on_drop(true);
    for variable in ["MCP_URL", "MCP_TOKEN", "MCP_COMMAND", "STEPLADDER_URL", "STEPLADDER_DASHBOARD_TOKEN"] {
        python.env_remove(variable);
    }
    // requests to loopback must not go through the machine's proxy
    python.env("NO_PROXY", "127.0.0.1,localhost");
    python
}

/// Connects a session with a command of the binary.
fn over_stdio(python: &mut Command, arguments: &[&str]) {
    let command: Vec<&str> = [&[binary::path().to_str().expect("UTF-8")], arguments].concat();
    python.env("MCP_COMMAND", json!(command).to_string());
}

/// Runs a session that must succeed, and returns what it found.
async fn found(python: &mut Command) -> Value {
    let done = python.output().await.expect("Python starts");
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{err}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"))
}

/// Runs a session with a server.
async fn run_with(server: &ServerProcess, transport: Transport, name: &str) -> Value {
    let mut python = session(name);
    match transport {
        Transport::Stdio => over_stdio(&mut python, &["mcp", "--url", server.url()]),
        Transport::Http => _ = python.env("MCP_URL", format!("{}/mcp", server.url())),
    }
    found(&mut python).await
}

async fn finds_out_why_and_reruns(transport: Transport) {
    let (ai, database) = (OpenAiStub::start().await, DatabaseStub::start().await);
    database.remove_client("c-gone");
    let server = ServerProcess::with_services(&ai, &database).await;
    let runs = run_with(&server, transport, "why_it_failed_and_again").await;
    assert_eq!(ai.request_count().requests.len(), 1, "the kept step was not executed again");
    assert_eq!(database.rows().clients.keys().collect::<Vec<_>>(), ["c-new"]);
    let run = server.api().run(runs["completed"].as_str().expect("a run")).await;
    assert_eq!(run["status"], "Completed");
    server.assert_no_error_logged();
}

#[tokio::test]
async fn an_agent_finds_out_why_a_run_failed_and_reruns_it_over_stdio() {
    finds_out_why_and_reruns(Transport::Stdio).await;
}

#[tokio::test]
async fn an_agent_finds_out_why_a_run_failed_and_reruns_it_over_http() {
    finds_out_why_and_reruns(Transport::Http).await;
}

#[tokio::test]
async fn an_agent_sees_what_a_run_waits_for_and_cancels_it() {
    let (ai, database) = (OpenAiStub::start().await, DatabaseStub::start().await);
    let server = ServerProcess::with_services(&ai, &database).await;
    for transport in [Transport::Stdio, Transport::Http] {
        let cancelled = run_with(&server, transport, "cancels_what_waits").await["cancelled"].clone();
        let run = server.api().run(cancelled.as_str().expect("a run")).await;
        assert_eq!(run["status"], "Cancelled", "{transport:?}");
    }
    server.assert_no_error_logged();
}

#[tokio::test]
async fn journals_are_read_page_by_page_and_the_docs_are_searched() {
    let server = ServerProcess::without_services().await;
    for transport in [Transport::Stdio, Transport::Http] {
        run_with(&server, transport, "reads_journals_and_docs").await;
    }
}

#[tokio::test]
async fn bad_calls_are_refused_with_the_name_of_the_argument() {
    let server = ServerProcess::without_services().await;
    for transport in [Transport::Stdio, Transport::Http] {
        let found = run_with(&server, transport, "bad_calls_are_refused").await;
        assert_eq!(found["tools"].as_array().map(Vec::len), Some(9), "{found}");
        assert_eq!(found["version"], "2025-11-25");
    }
    let (_, runs) = server.api().get("/v1/runs").await;
    assert_eq!(runs["data"], json!([]), "nothing was done");
    server.assert_no_error_logged();
}
