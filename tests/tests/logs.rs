//! Checks that the log contains no key, no token and no event data, even at the most verbose level.

use serde_json::json;
use stepladder_tests::ServerProcess;
use stepladder_tests::database::DatabaseStub;
use stepladder_tests::openai::OpenAiStub;

const SECRETS: [&str; 7] = [
    "EVENT-KEY-OF-THIS-TEST",
    "TOKEN-OF-THIS-TEST",
    "A-WRONG-KEY",
    "A-WRONG-TOKEN",
    "sk-openai-of-this-test",
    "supabase-key-of-this-test",
    "Personal Data",
];

#[tokio::test]
async fn no_secret_is_logged_at_any_level() {
    let (ai, database) = (OpenAiStub::start().await, DatabaseStub::start().await);
    let mut server = ServerProcess::new()
        // levels for libraries must be ignored, whether they are set by name or for all
        .variable("RUST_LOG", "trace,hyper=trace,reqwest=trace,hyper_util=trace")
        .variable("OPENAI_API_KEY", "sk-openai-of-this-test")
        .variable("OPENAI_BASE_URL", ai.url())
        .variable("SUPABASE_URL", database.url())
        .variable("SUPABASE_SERVICE_ROLE_KEY", "supabase-key-of-this-test")
        .argument("--event-key=EVENT-KEY-OF-THIS-TEST")
        .variable("STEPLADDER_DASHBOARD_TOKEN", "TOKEN-OF-THIS-TEST");
    server.start().await;
    let api = server.api().with_token("TOKEN-OF-THIS-TEST");
    let data = json!({"clientId": "c1", "clientName": "Personal Data", "clientDomain": "acme.example"});
    let event = json!({"name": "client/enhance.requested", "id": "logged", "data": data}).to_string();
    assert_eq!(api.post("/e/EVENT-KEY-OF-THIS-TEST", event.clone()).await.0, 200);
    let run = api.run_of("logged").await;
    let ended = api.wait_for_end(&run).await;
    assert_eq!(ended["status"], "Completed", "{ended}");
    assert_eq!(api.post("/e/A-WRONG-KEY", event).await.0, 401);
    assert_eq!(server.api().with_token("A-WRONG-TOKEN").get("/v1/runs").await.0, 401);
    let form = api.request(reqwest::Method::POST, "/login").header("content-type", "application/x-www-form-urlencoded");
    assert!(form.body("token=TOKEN-OF-THIS-TEST").send().await.expect("an answer").status().is_success());
    let log = server.log();
    for secret in SECRETS {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} is logged");
    }
    // no library may log below info, so that a library that is added later cannot log a secret
    // there
    let talks = |line: &&str| line.contains(" TRACE ") || line.contains(" DEBUG ");
    let lines: Vec<_> = log.lines().filter(talks).collect();
    assert!(lines.iter().any(|line| line.contains("stepladder_server::router: answered")), "the level counts");
    let foreign: Vec<_> = lines.into_iter().filter(|line| !line.contains(" stepladder")).collect();
    assert_eq!(foreign, [] as [&str; 0], "libraries talk below info");
}
