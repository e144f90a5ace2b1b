//! Who may use the tools: tokens, event keys, origins and hosts.

use reqwest::header::{HOST, ORIGIN};
use serde_json::{Value, json};
use stepladder_tests::{ApiClient, ServerProcess};

use super::{found, over_stdio, session};

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
const TOKEN: &str = "a-token-of-this-test";

async fn guarded_server() -> ServerProcess {
    let server = ServerProcess::new().variable("STEPLADDER_DASHBOARD_TOKEN", TOKEN);
    let mut server = server.variable("STEPLADDER_EVENT_KEYS", "a-key-of-this-test");
    server.start().await;
    server
}

#[tokio::test]
async fn http_requires_the_token_and_sends_events_with_the_servers_own_key() {
    let server = guarded_server().await;
    let url = format!("{}/mcp", server.url());
    for token in [None, Some("another-token")] {
        let mut python = session("is_not_let_in");
        python.env("MCP_URL", &url).envs(token.map(|token| ("MCP_TOKEN", token)));
        let done = python.output().await.expect("Python starts");
        assert!(!done.status.success(), "{token:?}");
        let (status, refused) = server.api().with_token(token.unwrap_or("")).post("/mcp", PING).await;
        assert_eq!(status, 401, "{refused}");
        assert!(refused["error"].as_str().is_some_and(|error| error.contains("dashboard token")), "{refused}");
    }
    let mut python = session("reads_journals_and_docs");
    found(python.env("MCP_URL", &url).env("MCP_TOKEN", TOKEN)).await;
}

#[tokio::test]
async fn stdio_takes_the_token_and_the_event_key_from_the_environment() {
    let server = guarded_server().await;
    let with = |token: &str, key: &str| {
        let mut python = session("reads_journals_and_docs");
        over_stdio(&mut python, &["mcp", "--url", server.url()]);
        python.env("STEPLADDER_DASHBOARD_TOKEN", token).env("STEPLADDER_EVENT_KEYS", key);
        python
    };
    found(&mut with(TOKEN, "a-key-of-this-test")).await;
    for (token, key, says) in [("another-token", "a-key-of-this-test", "dashboard token"), (TOKEN, "x", "event key")] {
        let done = with(token, key).output().await.expect("Python starts");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success() && said.contains(says), "{said}");
        assert!(!said.contains(TOKEN), "no secret is printed: {said}");
    }
}

#[tokio::test]
async fn pages_of_other_origins_and_other_hosts_are_refused() {
    let server = ServerProcess::without_services().await;
    let post = |api: &ApiClient| api.request(reqwest::Method::POST, "/mcp").body(PING);
    let api = server.api();
    let own = format!("http://127.0.0.1:{}", server.port());
    for (name, value, status) in [
        (ORIGIN.as_str(), own.as_str(), 200),
        (ORIGIN.as_str(), "https://evil.example", 403),
        (ORIGIN.as_str(), "http://localhost:3000", 403),
        (ORIGIN.as_str(), "null", 403),
        (HOST.as_str(), "evil.example", 403),
        ("sec-fetch-site", "cross-site", 403),
    ] {
        let answer = post(&api).header(name, value).send().await.expect("an answer");
        assert_eq!(answer.status(), status, "{name}: {value}");
        if status == 403 {
            let refused: Value = serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON");
            assert!(refused["error"].is_string(), "{refused}");
        }
    }
    // a page cannot open the route either: there is nothing to read
    let (status, _) = api.get("/mcp").await;
    assert_eq!(status, 405);
    let (status, answer) = api.post("/mcp", PING).await;
    assert_eq!((status, answer), (200, json!({"jsonrpc": "2.0", "id": 1, "result": {}})));
}
