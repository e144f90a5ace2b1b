//! A concurrency limit under a burst of events, checked in the service that the steps call and in
//! the journals.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stepladder_tests::database::DatabaseStub;
use stepladder_tests::openai::OpenAiStub;
use stepladder_tests::{ServerProcess, wait_for};

const EVENTS: usize = 50;
const LIMIT: usize = 3;

#[tokio::test]
async fn fifty_events_against_a_limit_of_three() {
    let (ai, database) = (OpenAiStub::start().await, DatabaseStub::start().await);
    let mut server = ServerProcess::new()
        .variable("OPENAI_API_KEY", "sk-a-key-of-this-test")
        .variable("OPENAI_BASE_URL", ai.url())
        .variable("SUPABASE_URL", database.url())
        .variable("SUPABASE_SERVICE_ROLE_KEY", "a-role-key-of-this-test");
    server.start().await;
    let api = server.api();
    ai.hold_requests();
    let events: Vec<_> = (0..EVENTS)
        .map(|n| {
            let data =
                json!({"clientId": format!("c{n}"), "clientName": client_name(n), "clientDomain": "acme.example"});
            json!({"name": "client/enhance.requested", "data": data})
        })
        .collect();
    let ids = api.send(&json!(events)).await;
    assert_eq!(ids.len(), EVENTS);
    let mut runs = Vec::new();
    for id in &ids {
        runs.push(api.run_of(id).await);
    }

    // no request has a response yet: three steps execute, and every other run shows what it is
    // waiting for
    wait_for("three requests, and everybody else in line", async || {
        let mut waiting = 0;
        for run in &runs {
            waiting += usize::from(api.run(run).await["waiting"].is_string());
        }
        (ai.request_count().now == LIMIT && waiting >= EVENTS - LIMIT).then_some(())
    })
    .await;
    assert_eq!(ai.request_count().most, LIMIT);

    ai.release_requests();
    let mut started = Vec::new();
    for (n, run) in runs.iter().enumerate() {
        let ended = api.wait_for_end(run).await;
        assert_eq!(ended["status"], "Completed", "{ended}");
        let journal = api.journal(run).await;
        journal.assert_legal();
        started.push((journal.first_at("StepStarted").expect("it ran").to_owned(), n));
    }
    let count = ai.request_count();
    assert_eq!((count.requests.len(), count.most), (EVENTS, LIMIT), "one request a run, never more than the limit");
    assert_eq!(database.rows().clients.len(), EVENTS);

    // Runs start in the order of their events, with a tolerance: an earlier run may already hold
    // another slot, and write its start or call the AI a moment later.
    for (at, n) in &started {
        let overtaken = started.iter().filter(|(other_at, other)| other < n && other_at > at).count();
        assert!(overtaken < LIMIT, "run {n} started before {overtaken} that came earlier: {started:#?}");
    }
    for (place, request) in count.requests.iter().enumerate() {
        let n = asked_about(request);
        assert!(n < place + LIMIT, "request {place} is of run {n}: it was admitted before its turn");
    }
    server.assert_no_error_logged();
}

fn client_name(n: usize) -> String {
    format!("Client-{n}-of-the-burst")
}

fn asked_about(request: &Value) -> usize {
    let text = request["messages"].to_string();
    let all: BTreeMap<String, usize> = (0..EVENTS).map(|n| (client_name(n), n)).collect();
    let found = all.iter().find(|(name, _)| text.contains(name.as_str()));
    *found.unwrap_or_else(|| panic!("no run matches this request: {text}")).1
}
