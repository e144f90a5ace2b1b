//! Bad input: the response is a 4xx with a sentence, nothing is stored, and no error is logged.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::json;
use stepladder_core::limits::{EVENT_BYTES, EVENTS_PER_REQUEST};

use crate::world::ServerFixture;

/// An event that starts a run if it is accepted.
const GOOD: &str = r#"{"name":"test/echo","id":"good"}"#;

async fn assert_nothing_stored(world: &ServerFixture, what: &str) {
    assert_eq!(world.get("/v1/events/good").await.status, 404, "{what}: an event was stored");
    assert_eq!(world.get("/v1/runs").await.data(), json!([]), "{what}: a run was started");
    world.assert_no_error_logged();
}

/// Sends a body that must be refused. Returns the sentence of the refusal.
async fn refused(world: &ServerFixture, status: u16, body: impl Into<Body>, what: &str) -> String {
    let answer = world.post("/e/key", body).await;
    let json = answer.json();
    assert_eq!((answer.status.as_u16(), &json["ids"], &json["status"]), (status, &json!([]), &json!(status)), "{what}");
    assert_nothing_stored(world, what).await;
    answer.sentence()
}

#[tokio::test]
async fn a_good_event_is_stored() {
    let world = ServerFixture::new();
    assert_eq!(world.post("/e/key", GOOD).await.status, 200);
    assert_eq!(world.get("/v1/events/good").await.status, 200);
    assert_eq!(world.get("/v1/runs").await.data().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_malformed_body_is_refused_with_the_place() {
    let world = ServerFixture::new();
    for (body, place) in [
        ("", "JSON object"),
        ("   ", "JSON object"),
        ("{", "line 1 column 1"),
        ("nonsense", "JSON object"),
        ("7", "JSON object"),
        ("null", "JSON object"),
        (r#""test/echo""#, "JSON object"),
        (r#"{"name":"a",}"#, "column 13"),
        (r#"{"name":"a"} {"name":"b"}"#, "column"),
        ("[", "column"),
    ] {
        let sentence = refused(&world, 400, body, body).await;
        assert!(sentence.contains(place), "{body}: {sentence}");
    }
    let sentence = refused(&world, 400, &b"{\"name\":\"\xff\"}"[..], "not UTF-8").await;
    assert!(sentence.contains("not UTF-8 at byte 9"), "{sentence}");
}

#[tokio::test]
async fn wrong_types_and_names_are_refused() {
    let world = ServerFixture::new();
    let long = json!({"name": "x".repeat(256)}).to_string();
    let long_id = json!({"name": "a", "id": "x".repeat(256)}).to_string();
    for (body, part) in [
        (r#"{}"#, "name"),
        (r#"{"name":5}"#, "invalid type"),
        (r#"{"name":null}"#, "invalid type"),
        (r#"{"name":""}"#, "`name` is empty"),
        (r#"{"name":"a\nb"}"#, "control character"),
        (r#"{"name":"a","data":[1]}"#, "`data` must be a JSON object"),
        (r#"{"name":"a","data":"{}"}"#, "`data` must be a JSON object"),
        (r#"{"name":"a","user":"me"}"#, "`user` must be a JSON object"),
        (r#"{"name":"a","id":5}"#, "invalid type"),
        (r#"{"name":"a","ts":"now"}"#, "invalid type"),
        (r#"{"name":"a","ts":1.5}"#, "invalid type"),
        (r#"{"name":"a","ts":-1}"#, "`ts`"),
        (r#"{"name":"a","ts":9223372036854775807}"#, "`ts`"),
        (r#"{"name":"a","ts":99999999999999999999}"#, "invalid type"),
        (r#"{"name":"inngest/function.failed"}"#, "reserved"),
        (&long, "256 characters"),
        (&long_id, "256 characters"),
    ] {
        let sentence = refused(&world, 400, body.to_owned(), body).await;
        assert!(sentence.contains(part), "{body}: {sentence}");
    }
}

#[tokio::test]
async fn nul_characters_and_deep_nesting_are_refused() {
    let world = ServerFixture::new();
    for body in [r#"{"name":"a","data":{"x":"\u0000"}}"#, "{\"name\":\"a\",\"data\":{\"x\":\"\0\"}}", "\0"] {
        assert!(refused(&world, 400, body, body).await.contains("NUL"), "{body:?}");
    }
    let deep = format!(r#"{{"name":"a","data":{{"x":{}{}}}}}"#, "[".repeat(200_000), "]".repeat(200_000));
    assert!(refused(&world, 400, deep, "deep").await.contains("levels deep"));
    assert!(refused(&world, 400, "[".repeat(500_000), "open").await.contains("levels deep"));
}

#[tokio::test]
async fn one_bad_event_refuses_the_whole_array() {
    let world = ServerFixture::new();
    for bad in ["5", "null", "[]", "{}", r#"{"name":"inngest/x"}"#, r#"{"name":"a","data":3}"#] {
        let sentence = refused(&world, 400, format!("[{GOOD},{bad}]"), bad).await;
        assert!(sentence.starts_with("event 1"), "{bad}: {sentence}");
    }
}

#[tokio::test]
async fn too_many_and_too_large_events_are_refused() {
    let world = ServerFixture::new();
    let many = format!("[{}]", vec![GOOD; EVENTS_PER_REQUEST + 1].join(","));
    assert!(refused(&world, 413, many, "5,001 events").await.contains("5001 events"));
    let empty = r#"{"name":"test/echo","id":"good","data":{"x":""}}"#;
    let large = |bytes: usize| empty.replace(r#""x":"""#, &format!(r#""x":"{}""#, "x".repeat(bytes - empty.len())));
    let sentence = refused(&world, 413, large(EVENT_BYTES + 1), "3 MiB and one byte").await;
    assert!(sentence.contains("3145729 bytes") && sentence.contains("3145728"), "{sentence}");
    let sentence = refused(&world, 413, format!("[{GOOD},{}]", large(EVENT_BYTES + 1)), "in an array").await;
    assert!(sentence.starts_with("event 1"), "{sentence}");
    assert_eq!(world.post("/e/key", large(EVENT_BYTES)).await.status, 200, "3 MiB are allowed");
}

#[tokio::test]
async fn a_body_past_the_request_limit_is_refused_unread() {
    let world = ServerFixture::new();
    let request = Request::post("/e/key").body(Body::from(vec![b' '; 64 * 1024 * 1024 + 1])).unwrap();
    let answer = world.send_request(request).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["status"]), (413, &json!(413)));
    assert!(answer.sentence().contains("67108864 bytes"), "{}", answer.text);
}

#[tokio::test]
async fn unknown_ids_and_texts_that_are_none_are_not_found() {
    let world = ServerFixture::new();
    let long = "x".repeat(5_000);
    let known = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    for id in [
        known,
        "nonsense",
        "%00",
        "%FF",
        "%FF%FE",
        "..%2F..%2Fetc",
        "7ZZZZZZZZZZZZZZZZZZZZZZZZZ",
        "ZZZZZZZZZZZZZZZZZZZZZZZZZZ",
        "%F0%9F%A6%80",
        "'%20OR%201=1--",
        &long,
    ] {
        for (method, path) in [
            (Method::GET, format!("/v1/events/{id}")),
            (Method::GET, format!("/v1/events/{id}/runs")),
            (Method::GET, format!("/v1/runs/{id}")),
            (Method::GET, format!("/v1/runs/{id}/journal")),
            (Method::DELETE, format!("/v1/runs/{id}")),
            (Method::POST, format!("/v1/runs/{id}/rerun")),
            (Method::POST, format!("/v1/signals/{id}")),
        ] {
            let answer = world.request(method.clone(), &path, "").await;
            assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text);
            let length = answer.sentence().len();
            assert!((20..200).contains(&length), "{method} {path}: {}", answer.text);
        }
        assert_eq!(world.get(&format!("/runs/{id}")).await.status, 404, "/runs/{id}");
    }
    assert_nothing_stored(&world, "unknown ids").await;
}

#[tokio::test]
async fn wrong_queries_are_refused_with_the_part() {
    let world = ServerFixture::new();
    let run = world.run(json!({"name": "test/echo"})).await;
    for (query, part) in [
        ("/v1/runs?status=Done", "`status`: `Done` is not a status"),
        ("/v1/runs?limit=0", "`limit` is 0"),
        ("/v1/runs?limit=501", "`limit` is 501"),
        ("/v1/runs?limit=-1", "`limit` is `-1`"),
        ("/v1/runs?limit=many", "`limit` is `many`"),
        ("/v1/runs?limit=99999999999999999999999", "`limit`"),
        ("/v1/runs?cursor=here", "`cursor` is `here`"),
        ("/v1/runs?limit=1&limit=2", "limit"),
        (&format!("/v1/runs/{run}/journal?from=-1"), "`from` is `-1`"),
        (&format!("/v1/runs/{run}/journal?limit=0"), "`limit` is 0"),
        (&format!("/v1/runs/{run}/journal?limit=1001"), "`limit` is 1001"),
    ] {
        let answer = world.get(query).await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.text);
        assert!(answer.sentence().contains(part), "{query}: {}", answer.text);
    }
    assert_eq!(world.get("/v1/runs?status=%FF").await.status, 400);
    assert_eq!(world.get("/?status=Done").await.status, 400);
    world.assert_no_error_logged();
}

#[tokio::test]
async fn wrong_wishes_for_a_rerun_are_refused_and_start_nothing() {
    let world = ServerFixture::new();
    let run = world.run(json!({"name": "test/echo"})).await;
    let deep = format!(r#"{{"input":{{"x":{}{}}}}}"#, "[".repeat(200), "]".repeat(200));
    for (body, part) in [
        ("{", "line 1"),
        ("[]", "not a JSON object"),
        ("5", "not a JSON object"),
        (r#"{"from_step":5}"#, "invalid type"),
        (r#"{"fromStep":"say"}"#, "unknown field `fromStep`"),
        (r#"{"from_step":"unknown"}"#, "no step `unknown`"),
        (r#"{"input":[1]}"#, "`input` must be a JSON object"),
        (r#"{"input":{"x":"\u0000"}}"#, "NUL"),
        (&deep, "levels deep"),
    ] {
        let answer = world.post(&format!("/v1/runs/{run}/rerun"), body.to_owned()).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text);
        assert!(answer.sentence().contains(part), "{body}: {}", answer.text);
    }
    let large = json!({"input": {"x": "x".repeat(EVENT_BYTES)}}).to_string();
    assert_eq!(world.post(&format!("/v1/runs/{run}/rerun"), large).await.status, 413);
    assert_eq!(world.get("/v1/runs").await.data().as_array().unwrap().len(), 1);
    world.assert_no_error_logged();
}

#[tokio::test]
async fn wrong_methods_and_routes_are_refused_in_json() {
    let world = ServerFixture::new();
    for (method, path, allowed) in [
        (Method::GET, "/e/key", "POST"),
        (Method::PUT, "/v1/runs/x", "DELETE"),
        (Method::POST, "/v1/runs", "GET"),
        (Method::POST, "/health", "GET"),
        (Method::DELETE, "/", "GET"),
        (Method::GET, "/v1/signals/x", "POST"),
    ] {
        let answer = world.request(method.clone(), path, "").await;
        assert_eq!(answer.status, 405, "{method} {path}");
        assert!(answer.sentence().contains(method.as_str()));
        assert!(answer.header("allow").contains(allowed), "{method} {path}: {}", answer.header("allow"));
    }
    for path in ["/v1", "/nowhere", "/e", "/e/", "/e/a/b", "/%00", "/%FF", "/v1/runs/", "//"] {
        let answer = world.get(path).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text);
        assert!(answer.sentence().contains("no such route"), "{path}");
    }
    world.assert_no_error_logged();
}

#[tokio::test]
async fn a_refusal_does_not_grow_with_what_it_quotes() {
    let world = ServerFixture::new();
    let run = world.run(json!({"name": "test/echo"})).await;
    let long = "x".repeat(1_000_000);
    for (path, body) in [
        ("/e/key".to_owned(), json!({"name": "a", "ts": long})),
        (format!("/v1/runs/{run}/rerun"), json!({"from_step": long})),
        (format!("/v1/runs/{run}/rerun"), json!({long.clone(): 1})),
    ] {
        let answer = world.post(&path, body.to_string()).await;
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.text.len() < 2_000, "{path}: {} bytes", answer.text.len());
    }
}
