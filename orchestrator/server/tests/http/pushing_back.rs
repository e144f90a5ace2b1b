//! Back-pressure: an overloaded server responds with 429 and `Retry-After`, and keeps nothing of a
//! refused request.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::Request;
use hyper::body::{Frame, SizeHint};
use serde_json::json;
use stepladder_server::{IntakeBounds, ServerOptions};
use tower::ServiceExt;

use crate::world::{ServerFixture, TestResponse};

/// No limits at all. Each test sets the limit that it needs.
const NONE: IntakeBounds = IntakeBounds { backlog: 0, waiting: 0, requests: 0 };

fn fixture_with_bounds(bounds: IntakeBounds) -> ServerFixture {
    ServerFixture::with_options(ServerOptions { loopback: true, bounds, ..ServerOptions::default() })
}

fn echo_event(id: &str) -> String {
    json!({"name": "test/echo", "id": id}).to_string()
}

async fn count_runs(world: &ServerFixture) -> usize {
    world.get("/v1/runs").await.data().as_array().unwrap().len()
}

/// Checks that a response is a 429 that clients understand. Returns its `Retry-After`.
fn pushed_back(answer: &TestResponse) -> u64 {
    assert_eq!(answer.status, 429, "{}", answer.text);
    assert!(!answer.sentence().is_empty());
    let seconds = answer.header("retry-after").parse().expect("whole seconds");
    assert!((1..=60).contains(&seconds), "{seconds}");
    seconds
}

#[tokio::test]
async fn past_the_backlog_events_are_pushed_back_and_leave_nothing() {
    let world = fixture_with_bounds(IntakeBounds { backlog: 2, ..NONE });
    for id in ["a", "b"] {
        assert_eq!(world.post("/e/key", echo_event(id)).await.status, 200);
    }
    let refused = world.post("/e/key", echo_event("c")).await;
    pushed_back(&refused);
    assert_eq!((&refused.json()["ids"], &refused.json()["status"]), (&json!([]), &json!(429)));
    assert_eq!(refused.header("access-control-allow-origin"), "*", "pages may read it");
    assert_eq!(world.get("/v1/events/c").await.status, 404);
    assert_eq!(count_runs(&world).await, 2);
    // while the backlog is full, a request is refused before it is parsed
    pushed_back(&world.post("/e/key", "{").await);

    // once the accepted work is done, requests are accepted again
    world.settle().await;
    assert_eq!(world.post("/e/key", echo_event("c")).await.status, 200);
    world.settle().await;
    let completed = world.get("/v1/runs?status=Completed").await.data();
    assert_eq!(completed.as_array().unwrap().len(), 3);
    world.assert_no_error_logged();
}

#[tokio::test]
async fn a_request_that_comes_while_there_is_room_is_taken_whole() {
    let world = fixture_with_bounds(IntakeBounds { backlog: 2, ..NONE });
    let many: Vec<_> = (0..50).map(|n| json!({"name": "test/echo", "id": format!("e{n}")})).collect();
    assert_eq!(world.post("/e/key", json!(many).to_string()).await.status, 200);
    assert_eq!(count_runs(&world).await, 50);
    pushed_back(&world.post("/e/key", echo_event("more")).await);
}

#[tokio::test]
async fn a_rerun_is_pushed_back_too_and_starts_nothing() {
    let world = fixture_with_bounds(IntakeBounds { backlog: 1, ..NONE });
    let run = world.run(json!({"name": "test/echo"})).await;
    let rerun = format!("/v1/runs/{run}/rerun");
    assert_eq!(world.post(&rerun, "").await.status, 201);
    assert_eq!(count_runs(&world).await, 2);
    pushed_back(&world.post(&rerun, "").await);
    assert_eq!(count_runs(&world).await, 2);
    world.settle().await;
    assert_eq!(world.post(&rerun, "").await.status, 201);
}

#[tokio::test]
async fn what_looks_and_what_cancels_goes_on_while_events_are_pushed_back() {
    let world = fixture_with_bounds(IntakeBounds { backlog: 1, ..NONE });
    world.post("/e/key", echo_event("a")).await;
    pushed_back(&world.post("/e/key", echo_event("b")).await);
    let run = world.get("/v1/runs").await.data()[0]["run_id"].as_str().unwrap().to_owned();
    let cancel = Request::delete(format!("/v1/runs/{run}")).body(Body::empty()).unwrap();
    assert_eq!(world.send_request(cancel).await.status, 202);
    assert_eq!(world.get("/health").await.status, 200);
}

#[tokio::test]
async fn past_what_may_wait_in_memory_events_are_pushed_back() {
    let world = fixture_with_bounds(IntakeBounds { waiting: 3, ..NONE });
    // each run of `echo` enqueues a ticket at its creation
    for id in ["a", "b", "c"] {
        assert_eq!(world.post("/e/key", echo_event(id)).await.status, 200);
    }
    assert_eq!(pushed_back(&world.post("/e/key", echo_event("d")).await), 60);
    world.settle().await;
    assert_eq!(world.post("/e/key", echo_event("d")).await.status, 200);
}

#[tokio::test]
async fn zero_is_no_bound() {
    let world = fixture_with_bounds(NONE);
    for n in 0..20 {
        assert_eq!(world.post("/e/key", echo_event(&n.to_string())).await.status, 200);
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_keeps_its_place_until_its_events_are_in_and_no_longer() {
    let world = fixture_with_bounds(IntakeBounds { requests: 1, ..NONE });
    let request = Request::post("/e/key").body(Body::from(echo_event("a"))).unwrap();
    let mut abandoned = Box::pin(world.router.clone().oneshot(request));
    // the test has one thread, so the task that ingests the events has not started yet
    assert!(futures::poll!(&mut abandoned).is_pending());
    drop(abandoned);
    assert_eq!(pushed_back(&world.post("/e/key", echo_event("b")).await), 1);
    tokio::task::yield_now().await;
    assert_eq!(world.get("/v1/events/a").await.status, 200, "what was begun is ended");
    assert_eq!(world.post("/e/key", echo_event("b")).await.status, 200);
}

#[tokio::test]
async fn events_that_are_being_taken_in_count_before_their_runs_are_there() {
    let world = fixture_with_bounds(IntakeBounds { backlog: 2, ..NONE });
    let many: Vec<_> = (0..5).map(|n| json!({"name": "test/echo", "id": format!("e{n}")})).collect();
    let request = Request::post("/e/key").body(Body::from(json!(many).to_string())).unwrap();
    let mut first = Box::pin(world.router.clone().oneshot(request));
    // the test has one thread, so the task that ingests the events has not started yet
    assert!(futures::poll!(&mut first).is_pending());
    let refused = world.post("/e/key", echo_event("more")).await;
    pushed_back(&refused);
    assert!(refused.sentence().starts_with("5 wakes are due"), "{}", refused.sentence());
    assert_eq!(first.await.unwrap().status(), 200);
    assert_eq!((count_runs(&world).await, world.get("/v1/events/more").await.status.as_u16()), (5, 404));
    // wakes that were handled no longer count
    world.settle().await;
    assert_eq!(world.post("/e/key", echo_event("more")).await.status, 200);
}

/// A body that announces its length but never arrives.
struct AnnouncedBody(u64);

impl hyper::body::Body for AnnouncedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}

/// Returns a body of unannounced length.
fn chunked(text: String) -> Body {
    Body::from_stream(futures::stream::iter([Ok::<_, Infallible>(text)]))
}

#[tokio::test]
async fn bodies_that_announce_no_length_count_too_and_are_pushed_back_where_others_take_up_the_memory() {
    let world = fixture_with_bounds(NONE);
    let mut others = Vec::new();
    for _ in 0..4 {
        let request = Request::post("/e/key").body(Body::new(AnnouncedBody(64 * 1024 * 1024))).unwrap();
        let mut other = Box::pin(world.router.clone().oneshot(request));
        assert!(futures::poll!(&mut other).is_pending());
        others.push(other);
    }
    pushed_back(&world.post("/e/key", chunked(echo_event("a"))).await);
    assert_eq!(world.get("/v1/events/a").await.status, 404);
    others.pop();
    assert_eq!(world.post("/e/key", chunked(echo_event("a"))).await.status, 200);
}

#[tokio::test]
async fn a_request_that_is_refused_for_another_reason_gives_its_place_back() {
    let world = fixture_with_bounds(IntakeBounds { requests: 1, backlog: 1, waiting: 0 });
    let run = "01KAVZ9Y3M0000000000000001";
    for (path, body, status) in [
        ("/e/key", "{".to_owned(), 400),
        ("/e/key", json!([{"name": "test/echo"}, {"name": ""}]).to_string(), 400),
        (&*format!("/v1/runs/{run}/rerun"), "[]".to_owned(), 400),
        (&*format!("/v1/runs/{run}/rerun"), String::new(), 404),
    ] {
        assert_eq!(world.post(path, body).await.status, status, "{path}");
    }
    assert_eq!(world.post("/e/key", echo_event("a")).await.status, 200);
}
