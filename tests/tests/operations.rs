//! Tests what the operator of a stack does with it: functions with workers of their own, and a
//! collector of traces.
//! `template.yaml` is deployed to an emulator, where every role is a process of the binary under
//! test.

use serde_json::{Value, json};
use stepladder_tests::collector::Collector;
use stepladder_tests::deployed::DeployedStack;
use stepladder_tests::wait_calmly;

const EVENTS: &str = "EventsQueueUrl";
const STEPS: &str = "StepsQueueUrl";

fn hello_event(id: &str) -> Value {
    json!({"name": "test/hello.world", "id": id, "data": {"name": "Ada"}})
}

/// Waits until an event has a run, which may take a moment. Returns the id of this only run.
async fn run_of(stack: &DeployedStack, event: &str) -> String {
    let (api, path) = (stack.api(), format!("/v1/events/{event}/runs"));
    wait_calmly("the event to be known", async || (api.get(&path).await.0 == 200).then_some(())).await;
    api.run_of(event).await
}

#[tokio::test]
async fn each_listed_function_is_executed_by_its_own_workers_only() {
    let list = r#"
        [greetings]
        functions = ["hello-world"]
        memory = 256
        timeout = 90

        [ai]
        functions = ["enhance-client-with-ai", "content-brief-generator"]
        timeout = 600
        concurrency = 2
    "#;
    let stack = DeployedStack::start_with_workers(list, &[]).await;
    let [greetings, ai] = ["for-greetings", "for-ai"].map(|name| format!("{}-{name}", stack.stack_output(STEPS)));
    let waits = async |queue: &str| {
        let counts = async || (stack.message_counts_at(queue).await == [1, 0, 0]).then_some(());
        wait_calmly(&format!("a wake in {queue}"), counts).await;
    };
    // only the workers of greetings work
    stack.set_workers("steps", false).await;
    stack.set_workers("steps-for-ai", false).await;
    let client = json!({"clientId": "c", "clientName": "Acme", "clientDomain": "acme.example"});
    let enhance = json!({"name": "client/enhance.requested", "id": "c", "data": client});
    stack.send(EVENTS, &[hello_event("first").to_string(), enhance.to_string()]).await;
    let hello = run_of(&stack, "first").await;
    assert_eq!(stack.api().wait_for_end(&hello).await["status"], "Completed");
    waits(&ai).await;
    assert_eq!(stack.message_counts(STEPS).await, [0; 3], "no wake goes to the ordinary workers");

    // only the workers of ai work; the stack has no keys, so that the run fails
    stack.set_workers("steps-for-ai", true).await;
    stack.set_workers("steps-for-greetings", false).await;
    stack.send(EVENTS, &[hello_event("second").to_string()]).await;
    let enhanced = run_of(&stack, "c").await;
    let ended = stack.api().wait_for_end(&enhanced).await;
    assert!(ended["error"]["message"].as_str().is_some_and(|said| said.contains("OPENAI_API_KEY")), "{ended}");
    let hello = run_of(&stack, "second").await;
    waits(&greetings).await;
    assert_eq!(stack.api().get(&format!("/v1/runs/{hello}")).await.1["data"]["status"], "Scheduled");

    stack.set_workers("steps-for-greetings", true).await;
    assert_eq!(stack.api().wait_for_end(&hello).await["status"], "Completed");
    assert_eq!(stack.message_counts(STEPS).await, [0; 3]);
}

#[tokio::test]
async fn workers_export_to_the_collector_of_the_stack_with_headers_from_a_secret() {
    let collector = Collector::over_http().await;
    let stack = DeployedStack::start(&[
        ("OtlpEndpoint", collector.url()),
        ("Secrets", "OTEL_EXPORTER_OTLP_HEADERS=ssm:x-test=a%20key".into()),
        ("SecretArns", "arn:aws:ssm:us-east-1:1:parameter/of-this-test/OTEL_EXPORTER_OTLP_HEADERS".into()),
    ])
    .await;
    stack.send(EVENTS, &[hello_event("traced").to_string()]).await;
    let run = run_of(&stack, "traced").await;
    assert_eq!(stack.api().wait_for_end(&run).await["status"], "Completed");
    let spans = collector.spans_of(&run).await;
    let names: Vec<_> = spans.iter().map(|span| &*span.name).collect();
    for name in ["hello-world", "greet", "a-short-sleep", "farewell"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    let received = collector.received();
    assert_eq!(received.header.as_deref(), Some("a key"));
    assert_eq!(received.resource["stepladder.role"], "worker", "{:?}", received.resource);
    for role in ["ingest", "http", "sweep"] {
        let environment = stack.environment(role).await;
        assert!(environment["OTEL_EXPORTER_OTLP_ENDPOINT"].is_null(), "{role} exports, too");
    }
    let lines = json!(stack.log_lines("worker").await).to_string();
    let environment = stack.environment("worker").await.to_string();
    assert!(!lines.contains("a%20key") && !environment.contains("a%20key"), "the headers are shown");
}
