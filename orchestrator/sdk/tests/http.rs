//! Responses of HTTP services as functions see them, over a real socket.
#![cfg(feature = "reqwest")]

use std::time::Duration;

use stepladder_sdk::error::http::check;
use stepladder_sdk::{Error, Result};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

async fn get(address: impl reqwest::IntoUrl) -> reqwest::Result<reqwest::Response> {
    // fails from the second time on; `reqwest` is built without TLS of its own
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::get(address).await
}

async fn request_with_response(template: ResponseTemplate) -> Result<String> {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(template).mount(&server).await;
    let response = get(format!("{}/rest/v1/clients?apikey=secret", server.uri())).await?;
    Ok(check(response).await?.text().await?)
}

#[tokio::test]
async fn a_success_is_passed_on() {
    assert_eq!(request_with_response(ResponseTemplate::new(201).set_body_string("made")).await.unwrap(), "made");
}

#[tokio::test]
async fn a_refusal_is_terminal_and_says_what_the_service_said() {
    let error =
        request_with_response(ResponseTemplate::new(400).set_body_string("no such column: nmae\n")).await.unwrap_err();
    let said = "HTTP 400 Bad Request from 127.0.0.1/rest/v1/clients: no such column: nmae";
    assert_eq!((error.to_string().as_str(), error.code(), error.is_terminal()), (said, Some("http-400"), true));
}

#[tokio::test]
async fn a_busy_service_is_retried_at_the_time_that_it_names() {
    let error = request_with_response(ResponseTemplate::new(429).insert_header("Retry-After", "7")).await.unwrap_err();
    assert_eq!(error.retry_delay(), Some(Duration::from_secs(7)));
    let error = request_with_response(ResponseTemplate::new(503)).await.unwrap_err();
    assert_eq!((error.is_terminal(), error.to_string().contains("503 Service Unavailable")), (false, true));
}

#[tokio::test]
async fn a_long_response_is_truncated() {
    let error =
        request_with_response(ResponseTemplate::new(500).set_body_string("x".repeat(100_000))).await.unwrap_err();
    assert!((2_048..2_200).contains(&error.to_string().len()), "{}", error.to_string().len());
}

#[tokio::test]
async fn errors_of_the_client_are_classified_wherever_they_are() {
    let wrong: Error = get("not an address").await.unwrap_err().into();
    assert!(wrong.is_terminal(), "no request was made: {wrong:?}");
    // no process listens on port 9 of loopback
    let refused: Error = get("http://127.0.0.1:9/x?apikey=secret").await.unwrap_err().into();
    assert!(!refused.is_terminal());
    assert!(
        format!("{refused:#}").contains("127.0.0.1:9/x") && !format!("{refused:#}").contains("secret"),
        "{refused:#}"
    );
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(404)).mount(&server).await;
    let status = get(server.uri()).await.unwrap().error_for_status().unwrap_err();
    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct OuterError(#[source] reqwest::Error);
    assert!(Error::from(OuterError(status)).is_terminal(), "found among the causes");
}

#[tokio::test]
async fn an_error_without_end_is_read_no_further_than_it_is_kept() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut sent = stream.read(&mut [0; 4_096]).await.map(drop);
        sent = sent.and(stream.write_all(b"HTTP/1.1 500 Oh\r\ntransfer-encoding: chunked\r\n\r\n").await);
        while sent.is_ok() {
            sent = stream.write_all(b"400\r\n").await;
            sent = sent.and(stream.write_all(&[b'x'; 1_024]).await).and(stream.write_all(b"\r\n").await);
        }
    });
    let error = check(get(address).await.unwrap()).await.unwrap_err();
    assert_eq!(error.code(), Some("http-500"));
    assert!(error.to_string().len() < 2_200, "{}", error.to_string().len());
    // the server stopped sending when the client closed the connection
    server.await.unwrap();
}
