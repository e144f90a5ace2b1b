//! The functions of the project end to end: the real binary, with stubs of OpenAI and Supabase.

use serde_json::{Value, json};
use stepladder_tests::database::DatabaseStub;
use stepladder_tests::openai::OpenAiStub;
use stepladder_tests::{ServerProcess, wait_for};

/// A server, and stubs of the services that its functions call.
struct FunctionsFixture {
    ai: OpenAiStub,
    database: DatabaseStub,
    server: ServerProcess,
}

impl FunctionsFixture {
    async fn start() -> Self {
        let (ai, database) = (OpenAiStub::start().await, DatabaseStub::start().await);
        let server = ServerProcess::with_services(&ai, &database).await;
        Self { ai, database, server }
    }

    async fn send(&self, name: &str, data: Value) -> String {
        let ids = self.server.api().send(&json!({"name": name, "data": data})).await;
        self.server.api().run_of(&ids[0]).await
    }

    /// Returns the rows that the functions sent to a table.
    fn sent_rows(&self, table: &str) -> Vec<Value> {
        self.database.rows().tables.get(table).cloned().unwrap_or_default()
    }
}

/// Returns the name and the status of each step of a run.
fn step_statuses(run: &Value) -> Vec<(&str, &str)> {
    run["steps"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|step| Some((step["id"].as_str()?, step["status"].as_str()?)))
        .collect()
}

#[tokio::test]
async fn queries_are_generated_in_parallel_stored_and_counted() {
    let world = FunctionsFixture::start().await;
    let data = json!({"clientId": "c1", "clientName": "Acme", "clientDomain": "acme.example"});
    let run = world.send("client/queries.requested", data).await;
    let ended = world.server.api().wait_for_end(&run).await;
    assert_eq!(ended["status"], "Completed", "{ended}");
    // the stub returns the same query for all three intents, so only one row is stored
    let row = json!({"client_id": "c1", "query": "queries.example", "intent": "learn"});
    assert_eq!(world.sent_rows("queries"), [json!([row])]);
    assert_eq!(world.ai.request_count().requests.len(), 3);
    let asked = ended["steps"].as_array().and_then(|steps| steps.iter().find(|step| step["id"] == "ask-openai:1"));
    let used = json!([{"model": "gpt-5-mini", "input_tokens": 10, "cached_input_tokens": 0, "output_tokens": 20, "micro_dollars": 43}]);
    assert_eq!(asked.map(|step| &step["usage"]), Some(&used), "{ended}");
    world.server.assert_no_error_logged();
}

#[tokio::test]
async fn a_brief_waits_for_its_approval_across_a_restart() {
    let mut world = FunctionsFixture::start().await;
    let data = json!({"briefId": "b1", "clientId": "c1", "topic": "tea", "approval": true});
    let run = world.send("content/brief.requested", data).await;
    wait_for("a brief that waits for its approval", async || {
        let waiting = world.server.api().run(&run).await["waiting"].as_str().map(str::to_owned);
        waiting
            .filter(|sentence| sentence.contains("brief.decided"))
            .filter(|_| world.sent_rows("content_briefs").iter().any(|row| row["status"] == "approval"))
    })
    .await;
    let asked = world.ai.request_count().requests.len();
    world.server.kill_and_restart().await;
    // the approval of brief `b2` must not continue the run of `b1`
    for (brief, approved) in [("b2", true), ("b1", true)] {
        let decided = json!({"name": "content/brief.decided", "data": {"briefId": brief, "approved": approved}});
        world.server.api().send(&decided).await;
    }
    let ended = world.server.api().wait_for_end(&run).await;
    assert_eq!(ended["status"], "Completed", "{ended}");
    let statuses: Vec<Value> = world
        .sent_rows("content_briefs")
        .iter()
        .map(|row| match row {
            Value::Array(rows) => rows[0]["status"].clone(),
            row => row["status"].clone(),
        })
        .collect();
    assert_eq!(statuses, ["writing", "approval", "ready"]);
    assert_eq!(world.ai.request_count().requests.len(), asked, "nothing is paid for again");
    assert_eq!(ended["steps"].as_array().map(|steps| steps.iter().filter(|s| s["id"] == "approval").count()), Some(1));
}

#[tokio::test]
async fn an_account_is_deleted_if_its_profile_is_refused() {
    let world = FunctionsFixture::start().await;
    world.database.refuse_table("profiles");
    let data = json!({"clientId": "c1", "email": "Ada@Acme.example", "fullName": "Ada"});
    let run = world.send("client/user.requested", data).await;
    let ended = world.server.api().wait_for_end(&run).await;
    assert_eq!(ended["status"], "Failed", "{ended}");
    let rows = world.database.rows();
    assert_eq!((rows.made, rows.accounts.len()), (1, 0), "{:?}", rows.requests);
    let steps = step_statuses(&ended);
    assert!(steps.contains(&("link-profile", "Failed")), "{steps:?}");
    assert!(steps.contains(&("undo create-auth-user", "Completed")), "{steps:?}");
    assert!(!steps.iter().any(|(id, _)| *id == "announce"), "{steps:?}");
}

#[tokio::test]
async fn an_account_with_its_profile_is_announced() {
    let world = FunctionsFixture::start().await;
    let data = json!({"clientId": "c1", "email": "Ada@Acme.example", "fullName": "Ada"});
    let run = world.send("client/user.requested", data).await;
    let ended = world.server.api().wait_for_end(&run).await;
    assert_eq!(ended["status"], "Completed", "{ended}");
    assert_eq!(ended["output"]["email"], "ada@acme.example");
    let rows = world.database.rows();
    let id = rows.accounts.keys().next().expect("an account");
    let profile = json!([{"id": id, "client_id": "c1", "email": "ada@acme.example", "full_name": "Ada"}]);
    assert_eq!(rows.tables["profiles"], [profile]);
    let event = ended["steps"].as_array().and_then(|s| s.iter().find(|s| s["id"] == "announce")).expect("announced");
    let id = event["output"][0].as_str().expect("an id");
    let (status, announced) = world.server.api().get(&format!("/v1/events/{id}")).await;
    assert_eq!((status, &announced["data"]["name"]), (200, &json!("client/user.created")));
}
