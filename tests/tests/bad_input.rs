//! Bad input to the real server: the response to each request is a 4xx with a sentence, nothing is
//! stored, and no error is logged.

use reqwest::Method;
use serde_json::{Value, json};
use stepladder_tests::{ApiClient, ServerProcess};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MIB: usize = 1024 * 1024;

/// An id in the right format that belongs to nothing.
const UNKNOWN: &str = "01JB0000000000000000000000";

fn with_name(name: &str) -> Vec<u8> {
    json!({"name": name, "id": "bad"}).to_string().into_bytes()
}

fn event_with_field(field: &str, text: &str) -> Vec<u8> {
    format!(r#"{{"name":"test/hello.world","id":"bad","{field}":{text}}}"#).into_bytes()
}

/// Returns an event with JSON of this many bytes.
fn of_size(bytes: usize) -> Vec<u8> {
    let (head, tail) = (r#"{"name":"test/large","id":"bad","data":{"x":""#, r#""}}"#);
    format!("{head}{}{tail}", "x".repeat(bytes - head.len() - tail.len())).into_bytes()
}

fn bad_bodies() -> Vec<(&'static str, Vec<u8>)> {
    let good = r#"{"name":"test/hello.world","id":"bad"}"#;
    let deep = |n: usize| format!("{}1{}", r#"{"a":"#.repeat(n), "}".repeat(n));
    vec![
        ("an empty body", vec![]),
        ("white space", b" \n".to_vec()),
        ("half an object", br#"{"name":"test/hello.world","id":"bad""#.to_vec()),
        ("something after the end", format!("{good} x").into_bytes()),
        ("two events without an array", format!("{good}{good}").into_bytes()),
        ("a comma too many", br#"{"name":"test/hello.world","id":"bad",}"#.to_vec()),
        ("a form", b"name=test/hello.world&id=bad".to_vec()),
        ("not UTF-8", b"{\"name\":\"test/hello.world\",\"id\":\"bad\",\"data\":{\"x\":\"\xff\"}}".to_vec()),
        ("half a surrogate pair", event_with_field("data", r#"{"x":"\ud800"}"#)),
        ("a number", b"7".to_vec()),
        ("text", b"\"test/hello.world\"".to_vec()),
        ("null", b"null".to_vec()),
        ("an array of arrays", format!("[[{good}]]").into_bytes()),
        ("a bad event among good ones", format!(r#"[{good},{{"name":7}},{good}]"#).into_bytes()),
        ("null among good ones", format!("[{good},null]").into_bytes()),
        ("no name", br#"{"id":"bad","data":{}}"#.to_vec()),
        ("two names", event_with_field("name", r#""test/other""#)),
        ("an empty name", with_name("")),
        ("a number as the name", br#"{"name":1,"id":"bad"}"#.to_vec()),
        ("null as the name", br#"{"name":null,"id":"bad"}"#.to_vec()),
        ("a name of 256 characters", with_name(&"x".repeat(256))),
        ("a name with a NUL", with_name("test/\0")),
        ("a name with a line break", with_name("test/hello\nworld")),
        ("a reserved name", with_name("inngest/function.failed")),
        ("a reserved name of ours", with_name("stepladder/function.failed")),
        ("an array as data", event_with_field("data", "[1]")),
        ("text as data", event_with_field("data", r#""x""#)),
        ("a number as data", event_with_field("data", "1")),
        ("a NUL in data", event_with_field("data", r#"{"x":"a\u0000b"}"#)),
        ("a NUL in a field's name", event_with_field("data", r#"{"a\u0000b":1}"#)),
        ("a raw NUL", event_with_field("data", "{\"x\":\"a\0b\"}")),
        ("a number as the id", br#"{"name":"test/hello.world","id":7}"#.to_vec()),
        (
            "an id of 256 characters",
            json!({"name": "test/hello.world", "id": "x".repeat(256)}).to_string().into_bytes(),
        ),
        ("text as ts", event_with_field("ts", r#""2026-01-01""#)),
        ("a fraction as ts", event_with_field("ts", "1.5")),
        ("a ts before 1970", event_with_field("ts", "-1")),
        ("a ts past every calendar", event_with_field("ts", "9223372036854775807")),
        ("a ts past every integer", event_with_field("ts", "99999999999999999999999")),
        ("an array as the user", event_with_field("user", "[]")),
        ("data 200 levels deep", event_with_field("data", &deep(200))),
        ("data 100,000 levels deep", event_with_field("data", &deep(100_000))),
        ("100,000 open brackets", vec![b'['; 100_000]),
        ("an event of 3 MiB and a byte", of_size(3 * MIB + 1)),
        ("5,001 events", format!("[{}]", vec![good; 5_001].join(",")).into_bytes()),
    ]
}

#[track_caller]
fn assert_refused(what: &str, (status, body): (u16, Value)) {
    assert!((400..500).contains(&status), "{what}: {status} {body}");
    let sentence = body["error"].as_str().unwrap_or_else(|| panic!("{what}: {status} without a sentence: {body}"));
    assert!(sentence.len() > 10 && sentence.contains(' '), "{what}: {sentence:?} is no sentence");
}

async fn assert_nothing_stored(api: &ApiClient, what: &str) {
    assert_eq!(api.get("/v1/events/bad").await.0, 404, "{what}: an event was stored");
    assert_eq!(api.number_of_runs().await, 0, "{what}: a run was created");
}

async fn assert_unharmed(server: &ServerProcess) {
    let api = server.api();
    let ids = api.send(&json!({"name": "test/hello.world"})).await;
    let run = api.run_of(&ids[0]).await;
    assert_eq!(api.wait_for_end(&run).await["status"], "Completed");
    server.assert_no_error_logged();
}

#[tokio::test]
async fn bad_events_are_refused_and_leave_nothing() {
    let server = ServerProcess::without_services().await;
    let api = server.api();
    for (what, body) in bad_bodies() {
        let answer = api.post("/e/test", body).await;
        assert_eq!((&answer.1["ids"], &answer.1["status"]), (&json!([]), &json!(answer.0)), "{what}: {}", answer.1);
        assert_refused(what, answer);
        assert_nothing_stored(&api, what).await;
    }
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn events_just_within_the_limits_are_accepted() {
    let server = ServerProcess::without_services().await;
    let api = server.api();
    let (status, body) = api.post("/e/test", of_size(3 * MIB)).await;
    assert_eq!(status, 200, "an event of 3 MiB: {body}");
    let many = format!("[{}]", vec![r#"{"name":"test/many"}"#; 5_000].join(","));
    let (status, body) = api.post("/e/test", many).await;
    assert_eq!((status, body["ids"].as_array().map(Vec::len)), (200, Some(5_000)));
    let (status, body) = api.post("/e/test", json!({"name": "é".repeat(255)}).to_string()).await;
    assert_eq!(status, 200, "a name of 255 characters: {body}");
    let deep = format!(r#"{{"name":"a","data":{}1{}}}"#, r#"{"a":"#.repeat(50), "}".repeat(50));
    let (status, body) = api.post("/e/test", deep).await;
    assert_eq!(status, 200, "50 levels: {body}");
    server.assert_no_error_logged();
}

#[tokio::test]
async fn unknown_ids_and_bad_parameters_are_refused() {
    let server = ServerProcess::without_services().await;
    let api = server.api();
    let get = [
        "/v1/events/unknown",
        "/v1/events/%00",
        "/v1/events/%ff",
        "/v1/events/unknown/runs",
        "/v1/runs/unknown",
        "/v1/runs/%00",
        "/v1/runs/unknown/journal",
        "/v1/runs?status=Done",
        "/v1/runs?limit=many",
        "/v1/runs?limit=-1",
        "/v1/runs?cursor=%00",
        "/v1/nothing",
        "/nothing",
    ];
    for path in get {
        assert_refused(path, api.get(path).await);
    }
    for path in ["", "/journal"] {
        let path = format!("/v1/runs/{UNKNOWN}{path}");
        let answer = api.get(&path).await;
        assert_eq!(answer.0, 404, "{path}");
        assert_refused(&path, answer);
    }
    assert_eq!(api.get(&format!("/v1/events/{UNKNOWN}")).await.0, 404);

    for (method, path, body) in [
        (Method::DELETE, format!("/v1/runs/{UNKNOWN}"), ""),
        (Method::DELETE, "/v1/runs/unknown".into(), ""),
        (Method::POST, format!("/v1/runs/{UNKNOWN}/rerun"), ""),
        (Method::POST, format!("/v1/runs/{UNKNOWN}/rerun"), "{"),
        (Method::POST, "/v1/runs/unknown/rerun".into(), "{}"),
        (Method::POST, "/v1/signals/unknown".into(), "{}"),
        (Method::PUT, "/e/test".into(), "{}"),
        (Method::GET, "/e/test".into(), ""),
        (Method::DELETE, "/v1/functions".into(), ""),
        (Method::POST, "/health".into(), ""),
    ] {
        let answer = api.request(method.clone(), &path).body(body).send().await.expect("it answers");
        let status = answer.status().as_u16();
        let body = answer.json().await.unwrap_or(Value::Null);
        assert_refused(&format!("{method} {path} {body}"), (status, body));
    }
    assert_eq!(api.number_of_runs().await, 0);
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn an_invalid_rerun_is_refused() {
    let server = ServerProcess::without_services().await;
    let api = server.api();
    let ids = api.send(&json!({"name": "test/hello.world"})).await;
    let run = api.run_of(&ids[0]).await;
    api.wait_for_end(&run).await;
    let path = format!("/v1/runs/{run}/rerun");
    for body in ["{", "7", r#"{"from_step":7}"#, r#"{"from_step":"no-such-step"}"#, r#"{"input":[1]}"#] {
        assert_refused(body, api.post(&path, body).await);
    }
    assert_refused("from=-1", api.get(&format!("/v1/runs/{run}/journal?from=-1")).await);
    assert_eq!(api.number_of_runs().await, 1, "no run was created");
    server.assert_no_error_logged();
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused() {
    let server = ServerProcess::without_services().await;
    let api = server.api();
    for (header, value) in [("origin", "https://evil.example"), ("host", "evil.example")] {
        for path in ["/v1/runs", "/v1/functions", "/"] {
            let answer = api.request(Method::GET, path).header(header, value).send().await.expect("it answers");
            let status = answer.status().as_u16();
            assert!((400..500).contains(&status), "{header}: {value} on {path}: {status}");
        }
    }
    // pages of other origins may send events
    let sent = api.request(Method::POST, "/e/test").header("origin", "https://shop.example").body(r#"{"name":"a/b"}"#);
    assert_eq!(sent.send().await.expect("it answers").status().as_u16(), 200);
    server.assert_no_error_logged();
}

#[tokio::test]
async fn bytes_that_are_not_http_do_no_harm() {
    let server = ServerProcess::without_services().await;
    for bytes in [
        &b"\0\0\0\0\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET /v1/runs/\0 HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
        b"POST /e/test HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: -1\r\n\r\n{}",
        b"POST /e/test HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 99999\r\nconnection: close\r\n\r\n{\"name\":",
    ] {
        let mut socket = TcpStream::connect(("127.0.0.1", server.port())).await.expect("it listens");
        socket.write_all(bytes).await.expect("it reads");
        socket.shutdown().await.expect("it reads");
        let mut answer = Vec::new();
        // both an error response and a closed connection are right, so read errors are ignored
        let _ = socket.read_to_end(&mut answer).await;
        let line = String::from_utf8_lossy(&answer);
        assert!(!line.starts_with("HTTP/1.1 2") && !line.starts_with("HTTP/1.1 5"), "{line}");
    }
    assert_eq!(server.api().number_of_runs().await, 0);
    assert_unharmed(&server).await;
}
