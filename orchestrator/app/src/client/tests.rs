//! Tests of the client, with servers that return fixed responses.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, Uri};
use axum::response::IntoResponse;

use super::*;

/// The requests that a server received.
type ReceivedRequests = Arc<Mutex<Vec<(Method, String, String)>>>;

/// Starts a server that gives the same response to every request.
async fn start_server(status: u16, body: &'static str) -> (Client, ReceivedRequests) {
    let requests = ReceivedRequests::default();
    let answer = move |State(requests): State<ReceivedRequests>, method: Method, uri: Uri, body_in: Bytes| async move {
        let body_in = String::from_utf8_lossy(&body_in).into_owned();
        requests.lock().unwrap().push((method, uri.to_string(), body_in));
        (axum::http::StatusCode::from_u16(status).unwrap(), body).into_response()
    };
    let router = Router::new().fallback(answer).with_state(requests.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (Client::new(&url, ServerToken::default()).unwrap(), requests)
}

fn run_id() -> RunId {
    "01KAVZ9Y3M0000000000000001".parse().unwrap()
}

#[tokio::test]
async fn an_event_is_posted_under_its_key() {
    let (client, requests) = start_server(200, r#"{"ids":["01KAVZ9Y3M0000000000000001"],"status":200}"#).await;
    let (sent, json) = client.send("a/b c", r#"{"name":"x"}"#.into()).await.unwrap();
    assert_eq!(sent.ids.len(), 1);
    assert!(json.contains("\"status\":200"));
    assert_eq!(*requests.lock().unwrap(), [(Method::POST, "/e/a%2Fb%20c".into(), r#"{"name":"x"}"#.into())]);
}

#[tokio::test]
async fn a_rerun_sends_only_what_is_given() {
    let (client, requests) = start_server(201, r#"{"data":{"run_id":"01KAVZ9Y3M0000000000000002"}}"#).await;
    client.rerun(run_id(), &RerunRequest::default()).await.unwrap();
    client.rerun(run_id(), &RerunRequest { from_step: Some("s".into()), input: None }).await.unwrap();
    let bodies: Vec<String> = requests.lock().unwrap().iter().map(|(_, _, body)| body.clone()).collect();
    assert_eq!(bodies, ["{}", r#"{"from_step":"s"}"#]);
}

#[tokio::test]
async fn a_listing_passes_its_filters_on() {
    let (client, requests) = start_server(200, r#"{"data":[],"cursor":null}"#).await;
    let (page, _) = client.runs(&[("status", "Failed".into()), ("function", "a&b".into())]).await.unwrap();
    assert!(page.data.is_empty() && page.cursor.is_none());
    assert_eq!(requests.lock().unwrap()[0].1, "/v1/runs?status=Failed&function=a%26b");
}

#[tokio::test]
async fn the_sentence_of_the_server_is_shown() {
    let (client, _) = start_server(404, r#"{"error":"there is no run 01"}"#).await;
    assert_eq!(client.run(run_id()).await.unwrap_err().to_string(), "there is no run 01");
}

#[test]
fn the_retry_delay_is_that_of_the_server() {
    let said = |value: &str| retry_after(&HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())])).as_secs();
    assert_eq!((said("17"), said(" 2 "), said("0")), (17, 2, 0));
    assert_eq!((said("soon"), retry_after(&HeaderMap::new()).as_secs()), (1, 1));
}

#[tokio::test]
async fn an_overload_is_distinguished_from_a_refusal() {
    let (client, _) = start_server(429, r#"{"ids":[],"status":429,"error":"full"}"#).await;
    let pushed_back = client.send("k", "{}".into()).await.unwrap_err();
    assert!(matches!(&pushed_back, ClientError::PushedBack { message, .. } if message == "full"), "{pushed_back:?}");
}

#[tokio::test]
async fn a_missing_token_is_named() {
    let (client, _) = start_server(401, r#"{"error":"unknown token"}"#).await;
    let error = client.functions().await.unwrap_err().to_string();
    assert!(error.starts_with("unknown token") && error.contains("STEPLADDER_DASHBOARD_TOKEN"), "{error}");
}

#[tokio::test]
async fn a_foreign_server_is_recognized() {
    let (client, _) = start_server(404, "<html>").await;
    let error = client.cancel(run_id()).await.unwrap_err().to_string();
    assert!(error.contains("does not look like a Stepladder server (HTTP 404)"), "{error}");
    let (client, _) = start_server(200, "{}").await;
    assert!(matches!(client.functions().await, Err(ClientError::Foreign { .. })));
}

#[tokio::test]
async fn an_unreachable_server_is_reported_with_a_hint() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", free.local_addr().unwrap());
    drop(free);
    let error = Client::new(&url, ServerToken::default()).unwrap().functions().await.unwrap_err().to_string();
    let url = url.trim_end_matches('/');
    assert_eq!(
        error,
        format!("no server answers at {url}; start one with `stepladder dev`, or name another with --url")
    );
}

#[tokio::test]
async fn an_id_that_a_url_path_cannot_contain_is_not_sent() {
    let (client, requests) = start_server(200, "{}").await;
    for part in ["", ".", ".."] {
        for error in [
            client.pause(part).await.unwrap_err(),
            client.resume(part).await.unwrap_err(),
            client.signal(part, "1".into()).await.unwrap_err(),
            client.send(part, "{}".into()).await.unwrap_err(),
            client.runs_of_event(part).await.unwrap_err(),
        ] {
            assert!(matches!(&error, ClientError::NoPath(named) if named == part), "{error:?}");
        }
    }
    assert!(requests.lock().unwrap().is_empty(), "a request was sent");
}

#[tokio::test]
async fn any_id_is_one_segment_of_the_path() {
    let (client, requests) = start_server(200, r#"{"data":{"function_id":"f","paused_since":null}}"#).await;
    for id in ["a/b", "...", "%2e%2e", "a?b#c", "é \\;:@", " a ", "🦀"] {
        client.pause(id).await.unwrap();
    }
    let requests = requests.lock().unwrap();
    let paths: Vec<&str> = requests.iter().map(|(_, path, _)| &path["/v1/functions/".len()..]).collect();
    let of = ["a%2Fb", "...", "%252e%252e", "a%3Fb%23c", "%C3%A9%20%5C;:@", "%20a%20", "%F0%9F%A6%80"];
    assert_eq!(paths, of.map(|id| format!("{id}/pause")));
}

/// Starts a server that requires this token. Returns the server's address, and the requests that it
/// receives: the path of each, and the token that was sent.
async fn start_guarded_server(token: &'static str) -> (String, Arc<Mutex<Vec<(String, Option<String>)>>>) {
    let requests = Arc::<Mutex<Vec<_>>>::default();
    let answer = move |State(requests): State<Arc<Mutex<Vec<_>>>>, headers: axum::http::HeaderMap, uri: Uri| async move {
        let came = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
        let known = came.as_deref() == Some(&format!("Bearer {token}"));
        requests.lock().unwrap().push((uri.path().to_owned(), came));
        match known {
            true => (axum::http::StatusCode::OK, r#"{"data":[]}"#).into_response(),
            false => (axum::http::StatusCode::UNAUTHORIZED, r#"{"error":"unknown token"}"#).into_response(),
        }
    };
    let router = Router::new().fallback(answer).with_state(requests.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, requests)
}

#[tokio::test]
async fn the_token_goes_to_a_server_that_asks_for_it() {
    let (url, requests) = start_guarded_server("sesame").await;
    let client = Client::new(&url, ServerToken::for_server(Some("sesame".into()), None, None)).unwrap();
    client.functions().await.unwrap();
    client.functions().await.unwrap();
    let came: Vec<bool> = requests.lock().unwrap().drain(..).map(|(_, came)| came.is_some()).collect();
    assert_eq!(came, [false, true, true], "it is sent at once after the first request");

    let (client, open) = start_server(200, r#"{"data":[]}"#).await;
    let client = Client { token: ServerToken::for_server(Some("sesame".into()), None, None), ..client };
    client.functions().await.unwrap();
    assert_eq!(open.lock().unwrap().len(), 1, "the request was not repeated");
}

#[tokio::test]
async fn the_token_goes_neither_to_events_and_signals_nor_to_another_server() {
    let (url, requests) = start_guarded_server("sesame").await;
    let client = Client::new(&url, ServerToken::for_server(Some("sesame".into()), None, None)).unwrap();
    for refused in [client.send("k", "{}".into()).await.unwrap_err(), client.signal("s", "1".into()).await.unwrap_err()]
    {
        assert_eq!(refused.to_string(), "unknown token", "the token is of no use there");
    }
    let without = Client::new(&url, ServerToken::default()).unwrap().send("k", "{}".into()).await.unwrap_err();
    assert_eq!(without.to_string(), "unknown token", "nor is the hint to set one");
    let other =
        Client::new(&url, ServerToken::for_server(Some("sesame".into()), Some(&url), Some("https://steps.example")));
    let refused = other.unwrap().functions().await.unwrap_err().to_string();
    assert!(refused.contains("STEPLADDER_URL"), "{refused}");
    assert!(requests.lock().unwrap().iter().all(|(_, came)| came.is_none()), "the token was sent");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (away, requests) = start_guarded_server("sesame").await;
    let elsewhere = Router::new().fallback(async move || axum::response::Redirect::permanent(&away));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://ada:secret@{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, elsewhere).await });
    let client = Client::new(&url, ServerToken::for_server(Some("sesame".into()), None, None)).unwrap();
    let error = client.functions().await.unwrap_err().to_string();
    assert!(error.contains("HTTP 308: it redirects to another address") && !error.contains("secret"), "{error}");
    assert!(client.send("key", "{}".into()).await.is_err());
    assert!(requests.lock().unwrap().is_empty(), "a request followed the redirect");
}

#[tokio::test]
async fn an_endless_response_is_read_up_to_the_limit() {
    use futures::StreamExt;
    // the body ends after a while, so that a client without the limit fails this test instead of
    // filling the memory
    let endless = || async {
        let chunk = axum::body::Bytes::from(vec![b' '; 1 << 20]);
        let chunks = futures::stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone())).take(136);
        axum::body::Body::from_stream(chunks).into_response()
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(endless)).await });
    let error = Client::new(&url, ServerToken::default()).unwrap().functions().await.unwrap_err().to_string();
    assert!(error.contains("more than 128 MiB"), "{error}");
}

#[tokio::test]
async fn a_password_in_an_address_is_not_printed() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let client = Client::new(&format!("http://ada:secret@{address}"), ServerToken::default()).unwrap();
    let error = client.functions().await.unwrap_err().to_string();
    assert!(error.contains(&format!("http://{address}")) && !error.contains("secret"), "{error}");
}
