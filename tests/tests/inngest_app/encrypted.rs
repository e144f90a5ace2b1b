//! An app that encrypts its events and steps with the middleware of Inngest.

use serde_json::json;
use stepladder_tests::{ApiClient, wait_for};

use crate::app::node;
use crate::changing::start;
use crate::ended;

#[tokio::test]
async fn what_a_middleware_encrypts_is_in_no_journal() {
    let (server, app) = start(node(include_str!("encrypted.mjs"))).await;
    let api = server.api();
    let sender = ended(&server, "test/seals", json!({})).await;
    let receiver = wait_for("the run of the sealed event", async || {
        let (_, runs) = api.get("/v1/runs?function=shop-receives&status=Completed").await;
        runs["data"][0]["run_id"].as_str().map(str::to_owned)
    })
    .await;
    for run in [sender["run_id"].as_str().expect("a run"), &receiver] {
        let (shown, journal) = (api.run(run).await, json!(api.journal(run).await.0).to_string());
        assert_eq!(shown["status"], "Completed", "{shown:#}");
        assert!(journal.contains("__ENCRYPTED__"), "{journal}");
        assert!(!format!("{shown}{journal}").contains("clear-text"), "{shown} {journal}");
    }
    let (_, seen) = ApiClient::new(&app.root()).get("/counts").await;
    let steps = ["clear-text-1", "clear-text-1", "clear-text-2"];
    assert_eq!(seen, json!({"event": "clear-text-1", "steps": steps}), "the code sees the clear text");
}
