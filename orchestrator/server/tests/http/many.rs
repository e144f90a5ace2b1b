//! Actions on many runs at once, and functions that are paused.

use serde_json::json;

use crate::world::ServerFixture;

#[tokio::test]
async fn runs_are_cancelled_and_run_again_by_filter_a_page_at_a_time() {
    let world = ServerFixture::new();
    world.send(json!([{"name": "test/pay"}, {"name": "test/pay"}, {"name": "test/pay"}])).await;
    let first = world.post("/v1/runs/cancel?function=pay&limit=2", "").await.json();
    assert_eq!(first["data"].as_array().unwrap().len(), 2);
    let cursor = first["cursor"].as_str().unwrap().to_owned();
    let second = world.post(&format!("/v1/runs/cancel?function=pay&limit=2&cursor={cursor}"), "").await.json();
    assert_eq!(second["data"].as_array().unwrap().len(), 1);
    world.settle().await;
    assert_eq!(world.get("/v1/runs?status=cancelled").await.data().as_array().unwrap().len(), 3);
    assert_eq!(world.post("/v1/runs/cancel?function=pay", "").await.data(), json!([]), "they have ended");
    let again = world.post("/v1/runs/rerun?status=cancelled", "{}").await.json();
    assert_eq!((again["data"].as_array().unwrap().len(), &again["cursor"]), (3, &json!(null)));
    world.settle().await;
    assert_eq!(world.get("/v1/runs?status=running").await.data().as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn runs_are_chosen_by_the_time_of_their_events() {
    let world = ServerFixture::new();
    for _ in 0..3 {
        world.send(json!({"name": "test/pay"})).await;
        world.clock.advance(std::time::Duration::from_secs(3_600));
    }
    // the runs were created at 22:13:20, 23:13:20 and 00:13:20
    let listed = async |query: &str| world.get(&format!("/v1/runs?{query}")).await.data().as_array().unwrap().len();
    assert_eq!(listed("since=2023-11-14T23:13:20Z").await, 2);
    assert_eq!(listed("until=2023-11-14T23:13:20Z").await, 1);
    assert_eq!(listed("since=2023-11-14T23:13:20Z&until=2023-11-15T00:13:20Z").await, 1);
    assert_eq!(listed("until=2023-11-14T23:13:20.001%2B00:00&limit=1").await, 1);
    let page = world.post("/v1/runs/cancel?until=2023-11-15T00:13:20Z&limit=1", "").await.json();
    let cursor = page["cursor"].as_str().expect("there are more");
    let rest = world.post(&format!("/v1/runs/cancel?until=2023-11-15T00:13:20Z&cursor={cursor}"), "").await.json();
    assert_eq!((page["data"].as_array().unwrap().len(), rest["data"].as_array().unwrap().len()), (1, 1));
    for moment in ["yesterday", "2023-11-14", "1969-01-01T00:00:00Z"] {
        let said = world.get(&format!("/v1/runs?since={moment}")).await.sentence();
        assert!(said.contains("`since`") && said.contains("2026-11-24T21:00:00Z"), "{said}");
    }
}

#[tokio::test]
async fn a_function_is_paused_and_resumed_and_the_listing_says_so() {
    let world = ServerFixture::new();
    let paused = world.post("/v1/functions/echo/pause", "").await.data();
    assert_eq!(paused, json!({"function_id": "echo", "paused_since": "2023-11-14T22:13:20.000Z"}));
    let run = world.run(json!({"name": "test/echo", "data": {"n": 1}})).await;
    let data = world.get(&format!("/v1/runs/{run}")).await.data();
    assert_eq!(data["status"], "Scheduled");
    assert_eq!(data["waiting"], "waits to start: function `echo` is paused");
    let listed = world.get("/v1/functions").await.data();
    let of = |id: &str| listed.as_array().unwrap().iter().find(|f| f["id"] == id).unwrap()["paused_since"].clone();
    assert_eq!((of("echo"), of("nap")), (json!("2023-11-14T22:13:20.000Z"), json!(null)));
    assert_eq!(world.post("/v1/functions/echo/resume", "").await.data(), json!({"function_id": "echo", "woken": 1}));
    world.settle().await;
    assert_eq!(world.get(&format!("/v1/runs/{run}")).await.data()["status"], "Completed");
}

#[tokio::test]
async fn every_run_is_chosen_only_where_the_query_says_so() {
    let world = ServerFixture::new();
    world.send(json!([{"name": "test/pay"}, {"name": "test/echo"}])).await;
    for verb in ["cancel", "rerun"] {
        for query in ["", "?", "?limit=10", "?cursor=01HF7YAT00X6E3H2QJ7N9W5K4M"] {
            let said = world.post(&format!("/v1/runs/{verb}{query}"), "").await;
            assert!(said.status == 400 && said.sentence().contains("`all=true`"), "{verb}{query}: {}", said.text);
        }
        // a script with an unset variable would send an empty filter
        for name in ["status", "function", "since", "until"] {
            let said = world.post(&format!("/v1/runs/{verb}?{name}="), "").await;
            let both = world.post(&format!("/v1/runs/{verb}?all=true&{name}="), "").await;
            for said in [said, both] {
                assert!(said.status == 400 && said.sentence().contains(&format!("`{name}` is empty")), "{}", said.text);
            }
        }
        for wrong in ["", "1", "false", "TRUE"] {
            let said = world.post(&format!("/v1/runs/{verb}?all={wrong}"), "").await;
            assert!(said.status == 400 && said.sentence().contains("`all` is"), "{wrong}: {}", said.text);
        }
    }
    world.settle().await;
    let statuses = async || {
        let runs = world.get("/v1/runs").await.data();
        let mut all: Vec<_> =
            runs.as_array().unwrap().iter().map(|run| run["status"].as_str().unwrap().to_owned()).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(statuses().await, ["Completed", "Running"], "nothing was done");
    assert_eq!(world.post("/v1/runs/cancel?all=true", "").await.data().as_array().unwrap().len(), 1);
    world.settle().await;
    assert_eq!(world.post("/v1/runs/rerun?all=true&limit=10", "").await.data().as_array().unwrap().len(), 2);
    world.settle().await;
    assert_eq!(statuses().await, ["Cancelled", "Completed", "Completed", "Running"]);
}

#[tokio::test]
async fn a_function_of_any_name_is_paused_and_resumed() {
    let world = ServerFixture::new();
    for id in ["%3Cb%3Ebold%3C%2Fb%3E", "<b>bold<%2Fb>".replace('<', "%3C").replace('>', "%3E").as_str()] {
        assert_eq!(world.post(&format!("/v1/functions/{id}/pause"), "").await.status, 200, "{id}");
        assert_eq!(world.post(&format!("/v1/functions/{id}/resume"), "").await.status, 200, "{id}");
    }
    let said = world.post("/v1/functions/%FF/pause", "").await;
    assert!(said.status == 404 && said.sentence().contains("no such function"), "{}", said.text);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let world = ServerFixture::new();
    assert_eq!(world.post("/v1/functions/none/pause", "").await.status, 404);
    assert!(world.post("/v1/runs/cancel?status=done", "").await.sentence().contains("`status`"));
    assert!(world.post("/v1/runs/rerun?status=failed", r#"{"step": 1}"#).await.sentence().contains("`from_step`"));
    assert_eq!(world.get("/v1/runs/cancel").await.status, 405);
}
