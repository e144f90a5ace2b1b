//! The client against a server made of fixed answers.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, Uri};
use axum::response::IntoResponse;

use super::*;

/// What a server was asked.
type Asked = Arc<Mutex<Vec<(Method, String, String)>>>;

/// A server that gives the same answer to everything.
async fn server(status: u16, body: &'static str) -> (Client, Asked) {
    let asked = Asked::default();
    let answer = move |State(asked): State<Asked>, method: Method, uri: Uri, body_in: Bytes| async move {
        let body_in = String::from_utf8_lossy(&body_in).into_owned();
        asked.lock().unwrap().push((method, uri.to_string(), body_in));
        (axum::http::StatusCode::from_u16(status).unwrap(), body).into_response()
    };
    let router = Router::new().fallback(answer).with_state(asked.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (Client::new(&url).unwrap(), asked)
}

fn id() -> RunId {
    "01KAVZ9Y3M0000000000000001".parse().unwrap()
}

#[tokio::test]
async fn an_event_is_posted_under_its_key() {
    let (client, asked) = server(200, r#"{"ids":["01KAVZ9Y3M0000000000000001"],"status":200}"#).await;
    let (sent, json) = client.send("a/b c", r#"{"name":"x"}"#.into()).await.unwrap();
    assert_eq!(sent.ids.len(), 1);
    assert!(json.contains("\"status\":200"));
    assert_eq!(*asked.lock().unwrap(), [(Method::POST, "/e/a%2Fb%20c".into(), r#"{"name":"x"}"#.into())]);
}

#[tokio::test]
async fn a_rerun_says_only_what_it_was_told() {
    let (client, asked) = server(201, r#"{"data":{"run_id":"01KAVZ9Y3M0000000000000002"}}"#).await;
    client.rerun(id(), &wire::Rerun::default()).await.unwrap();
    client.rerun(id(), &wire::Rerun { from_step: Some("s"), input: None }).await.unwrap();
    let bodies: Vec<String> = asked.lock().unwrap().iter().map(|(_, _, body)| body.clone()).collect();
    assert_eq!(bodies, ["{}", r#"{"from_step":"s"}"#]);
}

#[tokio::test]
async fn a_listing_passes_its_filters_on() {
    let (client, asked) = server(200, r#"{"data":[],"cursor":null}"#).await;
    let (page, _) = client.runs(&[("status", "Failed".into()), ("function", "a&b".into())]).await.unwrap();
    assert!(page.data.is_empty() && page.cursor.is_none());
    assert_eq!(asked.lock().unwrap()[0].1, "/v1/runs?status=Failed&function=a%26b");
}

#[tokio::test]
async fn the_servers_own_sentence_is_told() {
    let (client, _) = server(404, r#"{"error":"there is no run 01"}"#).await;
    assert_eq!(client.run(id()).await.unwrap_err().to_string(), "there is no run 01");
}

#[test]
fn when_to_come_again_is_what_the_server_says() {
    let said = |value: &str| retry_after(&HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())])).as_secs();
    assert_eq!((said("17"), said(" 2 "), said("0")), (17, 2, 0));
    assert_eq!((said("soon"), retry_after(&HeaderMap::new()).as_secs()), (1, 1));
}

#[tokio::test]
async fn a_server_with_too_much_to_do_is_told_from_one_that_refuses() {
    let (client, _) = server(429, r#"{"ids":[],"status":429,"error":"full"}"#).await;
    let pushed_back = client.send("k", "{}".into()).await.unwrap_err();
    assert!(matches!(&pushed_back, ClientError::PushedBack { message, .. } if message == "full"), "{pushed_back:?}");
}

#[tokio::test]
async fn a_missing_token_is_named() {
    let (client, _) = server(401, r#"{"error":"who are you?"}"#).await;
    let client = Client { token: None, ..client };
    let error = client.functions().await.unwrap_err().to_string();
    assert!(error.starts_with("who are you?") && error.contains("STEPLADDER_DASHBOARD_TOKEN"), "{error}");
}

#[tokio::test]
async fn a_strange_server_is_not_taken_for_ours() {
    let (client, _) = server(404, "<html>").await;
    let error = client.cancel(id()).await.unwrap_err().to_string();
    assert!(error.contains("does not look like a Stepladder server (HTTP 404)"), "{error}");
    let (client, _) = server(200, "{}").await;
    assert!(matches!(client.functions().await, Err(ClientError::Foreign { .. })));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_with_what_to_do() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", free.local_addr().unwrap());
    drop(free);
    let error = Client::new(&url).unwrap().functions().await.unwrap_err().to_string();
    let url = url.trim_end_matches('/');
    assert_eq!(error, format!("no server answers at {url}; start one with `cargo run`, or name another with --url"));
}

#[test]
fn an_address_that_is_none_is_refused() {
    for url in ["", "localhost:8288", "ftp://x", "http://"] {
        assert!(matches!(Client::new(url), Err(Stop::Problem(_))), "{url}");
    }
    assert!(Client::new("https://example.com/base").is_ok());
}
