//! Compressed responses, and how many bytes an open page takes.

use std::collections::HashMap;
use std::io::Read;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use flate2::read::GzDecoder;
use serde_json::json;
use stepladder_core::Fact;
use stepladder_core::report::AttemptReport;
use stepladder_core::{Timestamp, json::to_json};
use stepladder_server::{ServerOptions, compressed};
use tower::ServiceExt;

use crate::journals::many_steps_so_far;
use crate::world::ServerFixture;

/// Requests a path from the compressing server. Returns the headers and the bytes of the response.
async fn fetch(world: &ServerFixture, path: &str, headers: &[(&str, &str)]) -> (HeaderMap, Vec<u8>) {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = compressed(world.router.clone()).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    assert_eq!(head.status, 200, "{path}");
    (head.headers, to_bytes(body, usize::MAX).await.unwrap().into())
}

fn inflated(bytes: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(bytes).read_to_string(&mut text).unwrap();
    text
}

const GZIP: (&str, &str) = ("accept-encoding", "br, gzip");

#[tokio::test]
async fn pages_and_json_are_compressed_for_clients_that_accept_it() {
    let world = ServerFixture::new();
    let events: Vec<_> = (0..40).map(|n| json!({"name": "test/echo", "data": {"n": n}})).collect();
    world.send(json!(events)).await;
    for path in ["/", "/style.css", "/app.js", "/v1/runs?limit=40"] {
        let (headers, plain) = fetch(&world, path, &[]).await;
        assert!(!headers.contains_key("content-encoding"), "{path}");
        let (headers, small) = fetch(&world, path, &[GZIP]).await;
        assert_eq!(
            (&headers["content-encoding"], &headers["vary"]),
            (&"gzip".parse().unwrap(), &"accept-encoding".parse().unwrap())
        );
        assert_eq!(inflated(&small), String::from_utf8(plain.clone()).unwrap(), "{path}");
        assert!(small.len() * 3 < plain.len(), "{path}: {} of {}", small.len(), plain.len());
    }
    let (headers, _) = fetch(&world, "/health", &[GZIP]).await;
    assert!(!headers.contains_key("content-encoding"), "a few bytes are not worth it");
}

#[tokio::test(start_paused = true)]
async fn streams_are_not_held_back_by_compression() {
    let world =
        ServerFixture::with_options(ServerOptions { loopback: true, streams: true, ..ServerOptions::default() });
    let request = Request::get("/live/runs").header(GZIP.0, GZIP.1).body(Body::empty()).unwrap();
    let response = compressed(world.router.clone()).oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert!(!response.headers().contains_key("content-encoding"));
    let mut stream = response.into_body().into_data_stream();
    futures::StreamExt::next(&mut stream).await.unwrap().unwrap();
    world.run(json!({"name": "test/echo"})).await;
    let event = futures::StreamExt::next(&mut stream).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&event).contains("event: changed"), "one event, one chunk: {event:?}");
}

/// The maximum number of bytes a second of the page of a live run of 1,000 steps, on average. An
/// update that changes the axis, which is seldom, sends all rows again.
const LIVE_BYTES: usize = 5 * 1024;
const LIVE_SECONDS: usize = 12;

/// Notes the hashes of the parts in a page, by their ids. Forgets parts that are gone.
fn note_parts(page: &str, known: &mut HashMap<String, String>) {
    let mut parts = HashMap::new();
    for tag in page.split('<').filter_map(|text| text.split('>').next()) {
        let value = |name: &str| Some(tag.split_once(&format!(" {name}=\""))?.1.split('"').next()?.to_owned());
        let Some(id) = value("id") else { continue };
        let hash = value("data-h").or_else(|| known.remove(&id).filter(|_| tag.contains(" data-same")));
        parts.extend(hash.map(|hash| (id, hash)));
    }
    *known = parts;
}

/// A page asks again at most once a second. Each second, 10 steps more have ended.
#[tokio::test]
async fn the_page_of_a_live_run_of_a_thousand_steps_takes_five_kilobytes_a_second() {
    let world = ServerFixture::new();
    let run = many_steps_so_far(990).started("step", 1, 9_900).store(&world).await;
    let path = format!("/runs/{run}");
    world.pass_time(Duration::from_secs(10));
    let mut known = HashMap::new();
    note_parts(&inflated(&fetch(&world, &path, &[GZIP]).await.1), &mut known);
    assert!(known.len() > 100, "the parts of the page: {}", known.len());
    let mut total = 0;
    for second in 0..LIVE_SECONDS {
        world.pass_time(Duration::from_secs(1));
        let facts = (0..10).flat_map(|n| {
            let step: stepladder_core::StepId = format!("later-{second}-{n}").into();
            let lease_until = Timestamp::from_millis(i64::MAX / 4);
            let (worker, at_most_once) = ("w".into(), false);
            let started = Fact::StepStarted { step: step.clone(), attempt: 1, lease_until, worker, at_most_once };
            let (output, report) = (to_json(&json!({"of": n})).unwrap(), AttemptReport::default());
            [started, Fact::StepSucceeded { step, attempt: 1, output, report }]
        });
        world.append(&run, facts.collect()).await;
        let hashes = known.values().map(String::as_str).collect::<Vec<_>>().join(" ");
        let (headers, update) = fetch(&world, &path, &[GZIP, ("x-stepladder-have", &hashes)]).await;
        assert!(inflated(&update).contains("data-same"), "what has not changed is left out");
        let sent =
            update.len() + headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>();
        println!("{sent} bytes, {} uncompressed", inflated(&update).len());
        assert!(sent <= 2 * LIVE_BYTES, "one update has {sent} bytes");
        total += sent;
        note_parts(&inflated(&update), &mut known);
    }
    assert!(total <= LIVE_SECONDS * LIVE_BYTES, "{total} bytes in {LIVE_SECONDS} seconds");
}
