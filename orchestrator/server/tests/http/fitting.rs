//! Responses behind a proxy that limits their size. Omitted values can be read at a link, and lists
//! continue on the next page.

use serde_json::{Value, json};
use stepladder_server::ServerOptions;

use crate::world::ServerFixture;

/// The size limit of the proxy, in bytes.
const MOST: usize = 10_000;

fn world() -> ServerFixture {
    ServerFixture::with_options(ServerOptions { loopback: true, answer_bytes: Some(MOST), ..ServerOptions::default() })
}

async fn get_within_limit(world: &ServerFixture, path: &str) -> Value {
    let answer = world.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    assert!(answer.text.len() <= MOST, "{path}: {} bytes", answer.text.len());
    answer.json()
}

#[tokio::test]
async fn a_run_that_fits_is_whole() {
    let world = world();
    let run = world.run(json!({"name": "test/echo", "data": {"x": "y".repeat(2_500)}})).await;
    let answer = get_within_limit(&world, &format!("/v1/runs/{run}")).await;
    assert!(!answer.to_string().contains("stepladder_left_out"), "{answer}");
}

#[tokio::test]
async fn the_largest_values_are_left_out_with_links_to_them() {
    let world = world();
    let data = json!({"x": "y".repeat(6_000)});
    let run = world.run(json!({"name": "test/echo", "data": data, "id": "mine"})).await;
    let answer = get_within_limit(&world, &format!("/v1/runs/{run}")).await["data"].take();
    assert_eq!(answer["status"], "Completed");
    let values = [&answer["event"]["data"], &answer["output"], &answer["steps"][0]["output"]];
    let left_out: Vec<_> = values.into_iter().filter(|value| value["stepladder_left_out"].is_object()).collect();
    assert_eq!(left_out.len(), 2, "as many as it takes: {answer}");
    for value in left_out {
        let link = &value["stepladder_left_out"];
        let whole = world.get(link["href"].as_str().unwrap()).await;
        assert_eq!((whole.json(), json!(whole.text.len())), (data.clone(), link["bytes"].clone()));
    }
    // the run of the event `mine` has an output of that size, and one such value fits
    let of_event = get_within_limit(&world, "/v1/events/mine/runs").await;
    assert_eq!(of_event["data"][0]["output"], data, "one such value fits");
}

#[tokio::test]
async fn errors_are_shortened_where_values_alone_make_no_room() {
    let world = world();
    let data = json!({"fail": "é".repeat(6_000), "stack": "s".repeat(3_000)});
    let run = world.run(json!({"name": "test/echo", "data": data})).await;
    let answer = get_within_limit(&world, &format!("/v1/runs/{run}")).await["data"].take();
    let error = &answer["error"];
    let message = error["message"].as_str().unwrap();
    assert!(message.ends_with("… [cut, 12000 bytes]") && message.len() < 2_100, "{message}");
    let stack = error["stack"].as_str().unwrap();
    assert!(stack.ends_with("s…") && stack.len() < 600 && error["data"].is_null(), "{error}");
}

#[tokio::test]
async fn a_journal_and_a_listing_end_early_and_say_where_to_go_on() {
    let world = world();
    let run = world.run(json!({"name": "test/echo", "data": {"x": "y".repeat(4_000)}})).await;
    let (mut from, mut entries) = (Some(0), Vec::new());
    let mut pages = 0;
    while let Some(seq) = from {
        let mut page = get_within_limit(&world, &format!("/v1/runs/{run}/journal?from={seq}")).await;
        entries.append(page["data"].as_array_mut().unwrap());
        (from, pages) = (page["next"].as_u64(), pages + 1);
    }
    let whole = ServerFixture::new();
    assert!(pages > 1, "{pages}");
    let same = whole.run(json!({"name": "test/echo", "data": {"x": "y".repeat(4_000)}})).await;
    let all = whole.get(&format!("/v1/runs/{same}/journal")).await.data();
    assert_eq!(entries.len(), all.as_array().unwrap().len());
    assert!(entries.iter().enumerate().all(|(n, entry)| entry["seq"] == json!(n)), "{entries:?}");

    for n in 0..40 {
        world.send(json!({"name": "test/echo", "data": {"fail": format!("{n} {}", "z".repeat(500))}})).await;
    }
    let (mut cursor, mut runs) = (String::new(), Vec::new());
    loop {
        let mut page = get_within_limit(&world, &format!("/v1/runs?cursor={cursor}")).await;
        runs.append(page["data"].as_array_mut().unwrap());
        match page["cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    let ids: std::collections::BTreeSet<_> = runs.iter().map(|run| run["run_id"].to_string()).collect();
    assert_eq!((runs.len(), ids.len()), (41, 41), "each run once");
}
