//! A call that creates several runs, when the table refuses some of them.
//!
//! One HTTP server stands in for both the table and the queue, and gives each request the response
//! that the test chooses. The conformance suite covers the responses of the emulators.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use stepladder_aws::{Aws, AwsOptions, Connection, QueueAddresses};
use stepladder_core::journal::{Fact, NewRun, Record, RunOrigin};
use stepladder_core::wake::TimerPurpose;
use stepladder_core::{EventId, NewEvent, RunId, RunRow, Timer, Timestamp, Wake, WakeCause};
use stepladder_engine::ports::{FlowStateChange, RunCreation, RunStart, StartResult};
use stepladder_engine::retries::StorageRetries;
use stepladder_testkit::clock::VirtualClock;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// Starts a server that responds to each transaction with the result of `transact`.
async fn server(transact: impl Fn(&str) -> ResponseTemplate + Send + Sync + 'static) -> MockServer {
    let server = MockServer::start().await;
    let answer = move |request: &Request| match operation_name(request) {
        "TransactWriteItems" => transact(&String::from_utf8_lossy(&request.body)),
        _ => ResponseTemplate::new(200).set_body_json(json!({ "MessageId": "1" })),
    };
    Mock::given(wiremock::matchers::any()).respond_with(answer).mount(&server).await;
    server
}

fn operation_name(request: &Request) -> &str {
    let target = request.headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    target.and_then(|target| target.rsplit('.').next()).unwrap_or_default()
}

fn aws_error(code: &str, reasons: &Value) -> ResponseTemplate {
    let body = json!({ "__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "CancellationReasons": reasons });
    ResponseTemplate::new(400).set_body_json(body)
}

fn aws(server: &MockServer) -> Aws {
    let queues = QueueAddresses {
        steps: format!("{}/steps", server.uri()),
        events: None,
        steps_dead_letters: None,
        events_dead_letters: None,
        dedicated: Default::default(),
    };
    let clock = Arc::new(VirtualClock::new(NOW));
    let options = AwsOptions {
        table: "table".into(),
        queues,
        clock,
        retention: Duration::from_secs(86_400),
        trace: || None,
        retries: StorageRetries::at_once(),
    };
    Aws::new(&Connection::emulators(&server.uri(), &server.uri()), options)
}

fn run_start(n: u128, flow_state: Vec<FlowStateChange>) -> RunStart {
    let (run, event) = (RunId::new(NOW, n), EventId::new(NOW, n));
    let event = NewEvent::new("go", stepladder_core::json::empty_object()).accept(event, NOW);
    let row = RunRow { run, function: "f".into(), event: event.id, created_at: NOW, ended: None };
    let entries = vec![Fact::RunCreated(Box::new(NewRun::new("f".into(), event, RunOrigin::Event))).into_entry(NOW)];
    RunStart {
        row,
        record: Record { seq: 0, token: n, code: "1".into(), entries },
        watchdog: Timer { due: NOW, run, group: "f".into(), purpose: TimerPurpose::Watchdog },
        wake: Wake { run, cause: WakeCause::Created, group: "f".into() },
        tickets: Vec::new(),
        flow_state,
    }
}

/// Returns the bodies of the requests with this operation.
async fn requests_for(server: &MockServer, of: &str) -> Vec<String> {
    let all = server.received_requests().await.expect("they are recorded");
    let of = all.iter().filter(|request| operation_name(request) == of);
    of.map(|request| String::from_utf8_lossy(&request.body).into_owned()).collect()
}

#[tokio::test]
async fn starts_that_expect_the_flow_state_of_an_overtaken_start_are_not_attempted() {
    // the last write of the transaction fails, which is the condition on the flow state
    let server = server(|body| {
        let body: Value = serde_json::from_str(body).expect("JSON");
        let writes = body["TransactItems"].as_array().expect("a list").len();
        let reason = |n| json!({ "Code": if n + 1 == writes { "ConditionalCheckFailed" } else { "None" } });
        aws_error("TransactionCanceledException", &(0..writes).map(reason).collect())
    })
    .await;
    let change = |key: &str, seen: Option<&str>, becomes: &str| {
        vec![FlowStateChange { key: key.into(), seen: seen.map(Into::into), becomes: Some(becomes.into()), until: NOW }]
    };
    let starts = vec![
        run_start(1, change("k", None, "1")),
        run_start(2, change("k", Some("1"), "2")),
        run_start(3, change("other", None, "3")),
    ];
    let results = aws(&server).create_runs(starts).await.expect("an answer");
    assert_eq!(results, [StartResult::Overtaken; 3]);
    let attempts = requests_for(&server, "TransactWriteItems").await;
    let is_attempted = [1, 2, 3].map(|n| attempts.iter().any(|body| body.contains(&RunId::new(NOW, n).to_string())));
    assert_eq!((is_attempted, attempts.len()), ([true, false, true], 2));
}

#[tokio::test]
async fn runs_created_before_a_failed_start_have_their_wakes() {
    let refused = RunId::new(NOW, 2).to_string();
    let server = server(move |body| match body.contains(&refused) {
        true => aws_error("AccessDeniedException", &Value::Null),
        false => ResponseTemplate::new(200).set_body_json(json!({})),
    })
    .await;
    let failed = aws(&server).create_runs(vec![run_start(1, Vec::new()), run_start(2, Vec::new())]).await;
    assert!(failed.is_err(), "{failed:?}");
    let wakes = requests_for(&server, "SendMessage").await;
    assert_eq!(wakes.len(), 1, "{wakes:?}");
    assert!(wakes[0].contains(&RunId::new(NOW, 1).to_string()), "{wakes:?}");
}
