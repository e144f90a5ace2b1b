//! Request bodies: every route limits their size, and the time that they may take to arrive.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::Request;
use futures::stream;
use stepladder_server::ServerOptions;
use tokio::time::Instant;

use crate::unknown::ROUTES;
use crate::world::ServerFixture;

/// Returns a server that requires a token. The requests of `request` pass its checks.
fn world() -> ServerFixture {
    ServerFixture::with_options(ServerOptions {
        loopback: true,
        dashboard_token: Some("the-token".into()),
        ..ServerOptions::default()
    })
}

/// Returns a request that passes all access checks of a route.
fn request(method: &str, route: &str, body: Body) -> Request<Body> {
    let path = route.replace("{id}", "01HF7YAT00X6E3H2QJ7N9W5K4M").replace("{key}", "k").replace("{token}", "t");
    let query = if route == "/v1/runs/rerun" { "?all=true" } else { "" };
    Request::builder()
        .method(method)
        .uri(format!("{path}{query}"))
        .header("host", "localhost:8288")
        .header("sec-fetch-site", "same-origin")
        .header("authorization", "Bearer the-token")
        .body(body)
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_end_is_given_up_on_every_route() {
    let world = world();
    for (method, route, ..) in ROUTES {
        let begun = Instant::now();
        let body = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let asked = tokio::time::timeout(Duration::from_secs(3_600), world.send_request(request(method, route, body)));
        let answer = asked.await.unwrap_or_else(|_| panic!("{method} {route} waits for ever"));
        assert_eq!(answer.status, 408, "{method} {route}: {}", answer.text);
        assert_eq!(begun.elapsed().as_secs(), 120, "{method} {route}");
    }
    world.assert_no_error_logged();
}

#[tokio::test]
async fn a_body_without_end_is_cut_off_on_every_route() {
    let world = world();
    let chunk = Bytes::from(vec![b' '; 1 << 20]);
    for (method, route, ..) in ROUTES {
        let chunk = chunk.clone();
        let chunks = stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone()));
        let answer = world.send_request(request(method, route, Body::from_stream(chunks))).await;
        assert_eq!(answer.status, 413, "{method} {route}: {}", answer.text);
    }
    world.assert_no_error_logged();
}

#[tokio::test]
async fn what_is_open_to_everybody_takes_small_forms_only() {
    let world = world();
    for (path, form) in [("/login", "token="), ("/theme", "theme=")] {
        let answer = world.post_form(path, format!("{form}{}", "x".repeat(17_000))).await;
        assert_eq!(answer.status, 413, "{path}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_form_may_hold_as_much_as_an_event() {
    let world = ServerFixture::new();
    let data = format!(r#"{{"text":"{}"}}"#, "x".repeat(3 * 1024 * 1024 - 100));
    let sent = world.post_form("/events", format!("name=test%2Fnothing&data={data}")).await;
    assert_eq!(sent.status, 303, "{}", sent.text);
}
