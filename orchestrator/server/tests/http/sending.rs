//! `POST /e/{key}`: accepted events, and the responses.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};

use crate::world::{ServerFixture, TestResponse};

async fn send_with(world: &ServerFixture, header: (&str, &str), body: Value) -> TestResponse {
    let request = Request::post("/e/key").header(header.0, header.1).body(Body::from(body.to_string())).unwrap();
    world.send_request(request).await
}

#[tokio::test]
async fn one_event_comes_back_as_one_ulid() {
    let world = ServerFixture::new();
    let answer = world.post("/e/any-key", r#"{"name":"a/b"}"#).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["status"]), (200, &json!(200)));
    assert_eq!(answer.json()["ids"].as_array().unwrap().len(), 1);
    assert_eq!(answer.json()["ids"][0].as_str().unwrap().len(), 26);
    assert!(answer.json().get("error").is_none());
}

#[tokio::test]
async fn an_arrays_ids_come_in_its_order() {
    let world = ServerFixture::new();
    let ids = world.send(json!([{"name": "a", "data": {"n": 1}}, {"name": "b", "data": {"n": 2}}])).await;
    for (place, id) in ids.iter().enumerate() {
        let event = world.get(&format!("/v1/events/{id}")).await.data();
        assert_eq!(event["data"], json!({"n": place + 1}));
    }
    assert_eq!(world.post("/e/key", "[]").await.json(), json!({"ids": [], "status": 200}));
}

#[tokio::test]
async fn the_content_type_does_not_matter() {
    let world = ServerFixture::new();
    for kind in ["text/plain;charset=UTF-8", "application/json", "application/x-www-form-urlencoded", "nonsense"] {
        let answer = send_with(&world, ("content-type", kind), json!({"name": "a"})).await;
        assert_eq!(answer.status, 200, "{kind}");
    }
}

#[tokio::test]
async fn an_id_sent_twice_is_the_first_event_and_one_run() {
    let world = ServerFixture::new();
    let first = world.send(json!({"name": "test/echo", "id": "order-7", "data": {"n": 1}})).await;
    let again = world.send(json!({"name": "test/echo", "id": "order-7", "data": {"n": 2}})).await;
    assert_eq!(first, again);
    let event = world.get("/v1/events/order-7").await.data();
    assert_eq!((&event["id"], &event["data"]), (&json!(first[0]), &json!({"n": 1})));
    assert_eq!(world.get("/v1/runs").await.data().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_request_repeated_with_its_seed_gives_the_same_events() {
    let world = ServerFixture::new();
    let seed = ("x-inngest-event-id-seed", "1700000000000,eii2YKXRVTJPuA==");
    let events = json!([{"name": "test/echo", "data": {"n": 1}}, {"name": "test/echo", "data": {"n": 2}}]);
    let first = send_with(&world, seed, events.clone()).await.json();
    let again = send_with(&world, seed, events.clone()).await.json();
    assert_eq!(first, again);
    assert_ne!(first["ids"][0], first["ids"][1]);
    assert_eq!(world.get("/v1/runs").await.data().as_array().unwrap().len(), 2);
    let other = send_with(&world, (seed.0, "1700000000000,AAAAAAAAAAAAAA=="), events).await.json();
    assert_ne!(first, other);
}

#[tokio::test]
async fn a_seed_that_cannot_be_read_is_ignored() {
    let world = ServerFixture::new();
    let answer = send_with(&world, ("x-inngest-event-id-seed", "nonsense"), json!({"name": "a"})).await;
    assert_eq!(answer.status, 200);
    world.assert_no_error_logged();
}

#[tokio::test]
async fn a_browser_may_send_from_every_origin() {
    let world = ServerFixture::new();
    let preflight = Request::builder()
        .method(Method::OPTIONS)
        .uri("/e/key")
        .header("origin", "https://shop.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type,x-inngest-sdk")
        .body(Body::empty())
        .unwrap();
    let answer = world.send_request(preflight).await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert_eq!(answer.header("access-control-allow-headers"), "content-type,x-inngest-sdk");
    assert!(answer.header("access-control-allow-methods").contains("POST"));
    let sent = send_with(&world, ("origin", "https://shop.example"), json!({"name": "a"})).await;
    assert_eq!((sent.status.as_u16(), sent.header("access-control-allow-origin")), (200, "*"));
    let refused = send_with(&world, ("origin", "https://shop.example"), json!({})).await;
    assert_eq!((refused.status.as_u16(), refused.header("access-control-allow-origin")), (400, "*"));
}
