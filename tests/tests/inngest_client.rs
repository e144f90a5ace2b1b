//! The `inngest` npm package with the real server: its `send()` must work after only its base URL
//! is changed.

use std::process::Stdio;

use serde_json::{Value, json};
use stepladder_tests::{ServerProcess, parts};
use tokio::process::Command;

/// The environment variables that the `inngest` package reads.
const INNGEST_VARIABLES: [&str; 6] = [
    "INNGEST_BASE_URL",
    "INNGEST_DEV",
    "INNGEST_EVENT_KEY",
    "INNGEST_SIGNING_KEY",
    "INNGEST_API_BASE_URL",
    "INNGEST_EVENT_API_BASE_URL",
];

/// Runs a script in which `inngest` is a client of the package. Returns the script's result.
async fn with_client(server: &ServerProcess, options: &str, script: &str) -> Value {
    let base = server.url();
    let whole = format!(
        "import {{ Inngest }} from 'inngest';
         const inngest = new Inngest({{ id: 'shop', baseUrl: '{base}', isDev: true{options} }});
         const result = await (async () => {{ {script} }})();
         process.stdout.write(JSON.stringify(result));"
    );
    let mut node = Command::new("node");
    node.args(["--input-type=module", "-e", &whole]).current_dir(parts::node_folder());
    for name in INNGEST_VARIABLES {
        node.env_remove(name);
    }
    let output = node.stdin(Stdio::null()).kill_on_drop(true).output().await.expect("node starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("the script wrote JSON")
}

#[tokio::test]
async fn a_single_event_starts_its_run() {
    let server = ServerProcess::without_services().await;
    let script =
        "return inngest.send({ name: 'test/hello.world', data: { name: 'Ada' }, user: { external_id: 'u1' } });";
    let sent = with_client(&server, "", script).await;
    assert_eq!(sent["ids"].as_array().map(Vec::len), Some(1), "{sent}");
    let id = sent["ids"][0].as_str().expect("text");
    assert_eq!(id.len(), 26, "an id is a ULID: {id}");

    let api = server.api();
    let (status, event) = api.get(&format!("/v1/events/{id}")).await;
    assert_eq!(status, 200, "{event}");
    assert_eq!(event["data"]["data"], json!({"name": "Ada"}));
    assert_eq!(event["data"]["user"], json!({"external_id": "u1"}));
    let run = api.run_of(id).await;
    assert_eq!(api.wait_for_end(&run).await["status"], "Completed");
    server.assert_no_error_logged();
}

#[tokio::test]
async fn a_batch_returns_its_ids_in_order() {
    let server = ServerProcess::without_services().await;
    let script = "return inngest.send([1, 2, 3].map((n) => ({ name: 'shop/order.placed', data: { n } })));";
    let sent = with_client(&server, "", script).await;
    let ids = sent["ids"].as_array().expect("ids");
    assert_eq!(ids.len(), 3, "{sent}");
    for (place, id) in ids.iter().enumerate() {
        let (_, event) = server.api().get(&format!("/v1/events/{}", id.as_str().expect("text"))).await;
        assert_eq!(event["data"]["data"], json!({"n": place + 1}));
    }
}

#[tokio::test]
async fn an_id_sent_twice_is_one_event_and_one_run() {
    let server = ServerProcess::without_services().await;
    let script = "const event = { id: 'order-7', name: 'test/hello.world', data: { n: 7 } };
                  const first = await inngest.send(event);
                  const again = await inngest.send([event, { ...event, data: { n: 8 } }]);
                  return { first: first.ids, again: again.ids };";
    let sent = with_client(&server, "", script).await;
    let first = sent["first"][0].as_str().expect("text");
    assert_eq!(sent["again"], json!([first, first]));
    assert_eq!(first.len(), 26, "the id returned is a ULID: {first}");

    let api = server.api();
    let (status, by_senders_id) = api.get("/v1/events/order-7").await;
    assert_eq!((status, &by_senders_id["data"]["id"]), (200, &json!(first)));
    assert_eq!(by_senders_id["data"]["data"], json!({"n": 7}), "the first one stands");
    api.run_of(first).await;
    assert_eq!(api.number_of_runs().await, 1);
}

#[tokio::test]
async fn a_configured_event_key_is_required() {
    let mut server = ServerProcess::new().argument("--event-key").argument("a-key-of-this-test");
    server.start().await;
    let send =
        "return inngest.send({ name: 'shop/order.placed' }).then((sent) => sent.ids.length, (error) => String(error));";
    let right = with_client(&server, ", eventKey: 'a-key-of-this-test'", send).await;
    assert_eq!(right, json!(1));
    let wrong = with_client(&server, ", eventKey: 'another-key'", send).await;
    assert!(wrong.is_string(), "a wrong key is refused: {wrong}");
    assert!(!server.log().contains("a-key-of-this-test"), "the key is in the log");
}
