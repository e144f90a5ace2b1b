//! A data file that version 0.2.0 wrote, used by the binary: its runs are listed and shown, and
//! live runs continue.

use serde_json::{Value, json};
use stepladder_tests::{ServerProcess, wait_for};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/0.2.0");
const FINISHED: &str = "01M8MTZJ433SX2PVP8CDYWXAYP";
const USER: &str = "01M8MTZJB00GX5NS1VHP0W1ZJY";
const BRIEF: &str = "01M8MTZJA9J0RTVEB4N8QXTS1V";

#[tokio::test]
async fn runs_of_version_0_2_0_are_listed_shown_and_continued() {
    // kept for so long that the old runs are not removed on any date
    let arguments = ["--demo", "--retry-delay", "20ms", "--keep", "10000d"];
    let mut server = arguments.into_iter().fold(ServerProcess::new(), |server, argument| server.argument(argument));
    std::fs::copy(format!("{FIXTURE}/dev.db"), server.db()).expect("the fixture");
    server.start().await;
    let api = server.api();

    let before: Value =
        serde_json::from_str(&std::fs::read_to_string(format!("{FIXTURE}/runs.json")).expect("a file")).expect("JSON");
    let (_, listed) = api.get("/v1/runs?limit=500").await;
    for old in before["data"].as_array().expect("runs") {
        let run = listed["data"].as_array().expect("runs").iter().find(|run| run["run_id"] == old["run_id"]);
        let run = run.unwrap_or_else(|| panic!("{} is not listed", old["run_id"]));
        for field in ["function_id", "event_id", "created_at"] {
            assert_eq!(run[field], old[field], "{field} of {run}");
        }
        if old["status"] != "Running" {
            assert_eq!((&run["status"], &run["ended_at"]), (&old["status"], &old["ended_at"]), "{run}");
        }
    }
    let finished = api.run(FINISHED).await;
    assert_eq!(finished["output"], json!({"greeting": "Hello, newcomer!", "farewell": "Goodbye, newcomer!"}));

    let user = api.wait_for_end(USER).await;
    assert_eq!(user["status"], "Completed", "{user}");
    assert_eq!(user["steps"][0]["attempts"][0]["error"]["code"], "http-503", "the attempt of version 0.2.0: {user}");
    wait_for("the brief's wait for a decision", async || {
        api.run(BRIEF).await["waiting"].as_str().filter(|waiting| waiting.contains("content/brief.decided")).map(drop)
    })
    .await;
    api.send(&json!({"name": "content/brief.decided", "data": {"briefId": "b-1", "approved": true}})).await;
    let brief = api.wait_for_end(BRIEF).await;
    assert_eq!(brief["status"], "Completed", "{brief}");
    for run in [USER, BRIEF] {
        api.journal(run).await.assert_legal();
    }
    server.assert_no_error_logged();
}
