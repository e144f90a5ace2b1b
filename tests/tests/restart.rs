//! How the server process ends, gracefully or by a kill, and how the next process continues.

use std::time::Duration;

use serde_json::json;
use stepladder_tests::database::DatabaseStub;
use stepladder_tests::openai::OpenAiStub;
use stepladder_tests::{ServerProcess, wait_for};

/// Much shorter than the lease of `call-openai`, because its body may take 90 s. A run that ends
/// within this time has not waited for the lease to expire.
const WITHOUT_LEASE_WAIT: Duration = Duration::from_secs(20);

async fn send_enhance(server: &ServerProcess) -> String {
    let data = json!({"clientId": "c1", "clientName": "Acme", "clientDomain": "acme.example"});
    let ids = server.api().send(&json!({"name": "client/enhance.requested", "data": data})).await;
    server.api().run_of(&ids[0]).await
}

#[tokio::test]
async fn steps_interrupted_by_a_kill_start_again_at_once() {
    let (ai, database) = (OpenAiStub::start().await, DatabaseStub::start().await);
    let mut server = ServerProcess::with_services(&ai, &database).await;
    ai.hold_requests();
    let run = send_enhance(&server).await;
    wait_for("the request to the AI", async || (ai.request_count().now == 1).then_some(())).await;
    let before = server.api().journal(&run).await;
    server.kill().await;
    ai.release_requests();
    server.start().await;

    let ended = server.api().wait_for_end_within(WITHOUT_LEASE_WAIT, &run).await;
    assert_eq!(ended["status"], "Completed", "{ended}");
    let journal = server.api().journal(&run).await;
    journal.assert_legal();
    journal.assert_continues(&before);
    assert_eq!(journal.steps_with_fact("AttemptInterrupted"), ["call-openai"], "{:#?}", journal.story());
    assert_eq!(ai.request_count().requests.len(), 2, "the interrupted attempt and the one after it");
    server.assert_no_error_logged();
}

#[tokio::test]
async fn a_step_interrupted_many_times_starts_again_each_time() {
    let (ai, database) = (OpenAiStub::start().await, DatabaseStub::start().await);
    let mut server = ServerProcess::with_services(&ai, &database).await;
    ai.hold_requests();
    let run = send_enhance(&server).await;
    for kills in 1..=5 {
        wait_for("the next request to the AI", async || (ai.request_count().requests.len() == kills).then_some(()))
            .await;
        server.kill_and_restart().await;
    }
    ai.release_requests();
    // there were more interruptions than the function has retries: an interruption is not a failure
    // and uses no retry
    assert_eq!(server.api().wait_for_end_within(WITHOUT_LEASE_WAIT, &run).await["status"], "Completed");
    let journal = server.api().journal(&run).await;
    journal.assert_legal();
    assert_eq!(journal.steps_with_fact("AttemptInterrupted").len(), 5, "{:#?}", journal.story());
}

#[tokio::test]
async fn a_gentle_stop_lets_the_running_step_finish() {
    let (ai, database) = (OpenAiStub::start().await, DatabaseStub::start().await);
    let mut server = ServerProcess::with_services(&ai, &database).await;
    ai.hold_requests();
    let run = send_enhance(&server).await;
    wait_for("the request to the AI", async || (ai.request_count().now == 1).then_some(())).await;
    let api = server.api();
    let (status, ()) = tokio::join!(server.interrupt(), async {
        wait_for("the server to stop serving", async || api.try_get("/health").await.err()).await;
        ai.release_requests();
    });
    assert!(status.success(), "{status}: {}", server.log());

    server.start().await;
    assert_eq!(server.api().wait_for_end_within(WITHOUT_LEASE_WAIT, &run).await["status"], "Completed");
    let journal = server.api().journal(&run).await;
    journal.assert_legal();
    assert_eq!(journal.steps_with_fact("AttemptInterrupted"), [""; 0], "{:#?}", journal.story());
    assert_eq!(ai.request_count().requests.len(), 1, "the answer that came during the stop was kept");
}

#[tokio::test]
async fn a_sleep_continues_after_a_kill() {
    let mut server = ServerProcess::without_services().await;
    let ids = server.api().send(&json!({"name": "test/hello.world", "data": {"name": "Ada"}})).await;
    let run = server.api().run_of(&ids[0]).await;
    let before = wait_for("the sleep", async || {
        let journal = server.api().journal(&run).await;
        (!journal.steps_with_fact("SleepStarted").is_empty()).then_some(journal)
    })
    .await;
    server.kill_and_restart().await;
    let ended = server.api().wait_for_end_within(WITHOUT_LEASE_WAIT, &run).await;
    assert_eq!((&ended["status"], &ended["output"]["greeting"]), (&json!("Completed"), &json!("Hello, Ada!")));
    let journal = server.api().journal(&run).await;
    journal.assert_legal();
    journal.assert_continues(&before);
}

#[tokio::test]
async fn an_accepted_event_outlives_a_kill_right_after_its_answer() {
    let mut server = ServerProcess::without_services().await;
    let batch: Vec<_> = (0..20).map(|n| json!({"name": "test/hello.world", "data": {"name": n.to_string()}})).collect();
    let ids = server.api().send(&json!(batch)).await;
    server.kill_and_restart().await;
    for (n, id) in ids.iter().enumerate() {
        let run = server.api().run_of(id).await;
        let ended = server.api().wait_for_end_within(WITHOUT_LEASE_WAIT, &run).await;
        assert_eq!(ended["output"]["greeting"], format!("Hello, {n}!"), "{ended}");
    }
    assert_eq!(server.api().number_of_runs().await, 20);
    server.assert_no_error_logged();
}
