//! Streams of changes: what they send, and when there is no stream.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use futures::StreamExt;
use serde_json::json;
use stepladder_server::ServerOptions;
use tower::ServiceExt;

use crate::pages::links_starting_with;
use crate::world::ServerFixture;

fn streaming_fixture() -> ServerFixture {
    ServerFixture::with_options(ServerOptions { loopback: true, streams: true, ..ServerOptions::default() })
}

/// Returns the path of the stream of changes to a page.
async fn live_path(world: &ServerFixture, page: &str) -> String {
    let text = world.get(page).await.text;
    let path = text.split("data-live=\"").nth(1).unwrap_or_else(|| panic!("no news: {text}"));
    path.split('"').next().unwrap().replace("&#38;", "&").replace("&amp;", "&")
}

/// Reads the next chunk of a stream. Returns whether the chunk reports a change, or `None` at the
/// end of the stream.
async fn next_change(stream: &mut axum::body::BodyDataStream) -> Option<bool> {
    let chunk = stream.next().await?.unwrap();
    let text = String::from_utf8(chunk.to_vec()).unwrap();
    Some(text.contains("event: changed"))
}

async fn open(world: &ServerFixture, path: &str) -> axum::body::BodyDataStream {
    let response = world.router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response.into_body().into_data_stream()
}

#[tokio::test(start_paused = true)]
async fn a_list_that_changes_is_told_of() {
    let world = streaming_fixture();
    let path = live_path(&world, "/?function=echo").await;
    let mut stream = open(&world, &path).await;
    assert_eq!(next_change(&mut stream).await, Some(false), "nothing has changed since the page");
    world.run(json!({"name": "test/nap", "data": {"long": true}})).await;
    assert_eq!(next_change(&mut stream).await, Some(false), "a run of another function does not count");
    world.run(json!({"name": "test/echo"})).await;
    assert_eq!(next_change(&mut stream).await, Some(true));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_moves_is_told_of_once() {
    let world = streaming_fixture();
    let run = world.run(json!({"name": "test/nap", "data": {"long": true}})).await;
    let mut stream = open(&world, &live_path(&world, &format!("/runs/{run}")).await).await;
    assert_eq!(next_change(&mut stream).await, Some(false));
    world.post_form(&format!("/runs/{run}/cancel"), "").await;
    assert_eq!(next_change(&mut stream).await, Some(true));
    assert_eq!(next_change(&mut stream).await, Some(false));
    // a page that was loaded before the change gets the notification at once
    let mut late = open(&world, &format!("/live/runs/{run}?seen=1")).await;
    assert_eq!(next_change(&mut late).await, Some(true));
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_the_server() {
    let world = streaming_fixture();
    let mut stream = open(&world, "/live/runs").await;
    assert!(next_change(&mut stream).await.is_some());
    world.start_shutdown();
    assert_eq!(tokio::time::timeout(Duration::from_secs(20), next_change(&mut stream)).await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn a_stream_does_not_last_for_ever() {
    let world = streaming_fixture();
    let mut stream = open(&world, "/live/runs").await;
    // the stream sends a comment every 15 seconds and ends after ten minutes
    let words = async {
        let mut words = 0;
        while next_change(&mut stream).await.is_some() {
            words += 1;
        }
        words
    };
    let words = tokio::time::timeout(Duration::from_secs(3_600), words).await.expect("it goes on");
    assert!((30..=60).contains(&words), "{words}");
}

#[tokio::test]
async fn there_are_so_many_streams_and_no_more() {
    let world = streaming_fixture();
    let mut streams = Vec::new();
    for _ in 0..64 {
        streams.push(open(&world, "/live/runs").await);
    }
    assert_eq!(world.get("/live/runs").await.status, 204, "a further page polls");
    streams.pop();
    drop(open(&world, "/live/runs").await);
}

#[tokio::test]
async fn where_answers_cannot_stream_pages_poll() {
    let world = ServerFixture::new();
    assert_eq!(world.get("/live/runs").await.status, 204);
    assert_eq!(world.get("/live/runs/01HF7YAT00X6E3H2QJ7N9W5K4M").await.status, 204);
    let page = world.get("/?status=Failed").await.text;
    assert!(page.contains("data-live=\"/live/runs?status=Failed"), "the script finds out: {page}");
    assert!(links_starting_with(&page, "/live").is_empty(), "it is nothing to follow");
}
