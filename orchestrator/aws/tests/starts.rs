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

/// Starts a server that responds to each request with the result of `respond`, which gets the
/// operation and the body. Without a result, the request succeeds.
async fn server(respond: impl Fn(&str, &str) -> Option<ResponseTemplate> + Send + Sync + 'static) -> MockServer {
    let server = MockServer::start().await;
    let answer = move |request: &Request| {
        let special = respond(operation_name(request), &String::from_utf8_lossy(&request.body));
        special.unwrap_or_else(|| ResponseTemplate::new(200).set_body_json(json!({ "MessageId": "1" })))
    };
    Mock::given(wiremock::matchers::any()).respond_with(answer).mount(&server).await;
    server
}

/// The sort key of a run's first record.
const FIRST_RECORD: &str = "J#0000000000";

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
        worker_timeout: None,
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
    let server = server(|operation, body| {
        if operation != "TransactWriteItems" {
            return None;
        }
        let body: Value = serde_json::from_str(body).expect("JSON");
        let writes = body["TransactItems"].as_array().expect("a list").len();
        let reason = |n| json!({ "Code": if n + 1 == writes { "ConditionalCheckFailed" } else { "None" } });
        Some(aws_error("TransactionCanceledException", &(0..writes).map(reason).collect()))
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
    let server = server(move |_, body| {
        let is_refused = body.contains(&refused) && body.contains(FIRST_RECORD);
        is_refused.then(|| aws_error("AccessDeniedException", &Value::Null))
    })
    .await;
    let failed = aws(&server).create_runs(vec![run_start(1, Vec::new()), run_start(2, Vec::new())]).await;
    assert!(failed.is_err(), "{failed:?}");
    let wakes = requests_for(&server, "SendMessage").await;
    assert_eq!(wakes.len(), 1, "{wakes:?}");
    assert!(wakes[0].contains(&RunId::new(NOW, 1).to_string()), "{wakes:?}");
}

/// Rule 12: a run without its watchdog would never continue if its first wake was lost.
#[tokio::test]
async fn a_run_is_not_written_before_its_watchdog() {
    let server =
        server(|_, body| body.contains("#watchdog").then(|| aws_error("AccessDeniedException", &Value::Null))).await;
    let limited = vec![FlowStateChange { key: "k".into(), seen: None, becomes: Some("1".into()), until: NOW }];
    for start in [run_start(1, Vec::new()), run_start(2, limited)] {
        let failed = aws(&server).create_runs(vec![start]).await;
        assert!(failed.is_err(), "{failed:?}");
    }
    let all = server.received_requests().await.expect("they are recorded");
    let bodies: Vec<_> = all.iter().map(|request| String::from_utf8_lossy(&request.body)).collect();
    assert!(bodies.iter().any(|body| body.contains("#watchdog")), "{bodies:?}");
    assert!(!bodies.iter().any(|body| body.contains(FIRST_RECORD)), "{bodies:?}");
}

/// Rule 16: what a limiter counts changes together with the run.
#[tokio::test]
async fn only_a_start_under_flow_control_has_a_transaction() {
    let server = server(|_, _| None).await;
    let limited = vec![FlowStateChange { key: "k".into(), seen: None, becomes: Some("1".into()), until: NOW }];
    let starts = vec![run_start(1, Vec::new()), run_start(2, limited)];
    assert_eq!(aws(&server).create_runs(starts).await.expect("an answer"), [StartResult::New; 2]);
    let transactions = requests_for(&server, "TransactWriteItems").await;
    assert_eq!(transactions.len(), 1, "{transactions:?}");
    let body: Value = serde_json::from_str(&transactions[0]).expect("JSON");
    assert_eq!(body["TransactItems"].as_array().expect("a list").len(), 2, "the record and the flow state: {body}");
    assert!(transactions[0].contains(&RunId::new(NOW, 2).to_string()) && transactions[0].contains(FIRST_RECORD));
}

/// Rule 1: the SDK repeats a write if its reply was lost, and then meets its own record. Otherwise
/// the watchdogs of repeated events would add up.
#[tokio::test]
async fn a_start_of_an_existing_run_removes_its_watchdog_unless_the_run_is_its_own() {
    // 16 bytes in base64: the token 7
    let existing = json!({ "t": { "B": "AAAAAAAAAAAAAAAAAAAABw==" } });
    let found = existing.clone();
    let server = server(move |operation, body| match operation {
        "PutItem" if body.contains(FIRST_RECORD) => {
            let code = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException";
            Some(ResponseTemplate::new(400).set_body_json(json!({ "__type": code, "Item": existing })))
        }
        "TransactWriteItems" => {
            let reasons = json!([{ "Code": "ConditionalCheckFailed" }, { "Code": "None" }]);
            Some(aws_error("TransactionCanceledException", &reasons))
        }
        "GetItem" => Some(ResponseTemplate::new(200).set_body_json(json!({ "Item": found }))),
        _ => None,
    })
    .await;
    let changes = || vec![FlowStateChange { key: "k".into(), seen: None, becomes: Some("1".into()), until: NOW }];
    let create = async |start| {
        assert_eq!(aws(&server).create_runs(vec![start]).await.expect("an answer"), [StartResult::Known]);
        requests_for(&server, "DeleteItem").await
    };
    assert_eq!(create(run_start(7, Vec::new())).await.len(), 0, "the record has the token of this start");
    assert_eq!(create(run_start(7, changes())).await.len(), 0, "the record has the token of this start");
    assert_eq!(create(run_start(8, Vec::new())).await.len(), 1, "the record has another token");
    let deleted = create(run_start(8, changes())).await;
    assert_eq!(deleted.len(), 2, "the record has another token");
    assert!(deleted.iter().all(|body| body.contains("#watchdog/00000000000000000000000000000008")), "{deleted:?}");
}
