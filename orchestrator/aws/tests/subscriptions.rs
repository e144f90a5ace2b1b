//! A commit that subscribes to an event, shortly before the deadline of its hop.
//!
//! One HTTP server stands in for both the table and the queue. The table lists no event name as
//! subscribed yet.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use stepladder_aws::{Aws, AwsOptions, Connection, QueueAddresses};
use stepladder_core::waiting::Subscription;
use stepladder_core::{RunId, Timestamp};
use stepladder_engine::ports::{Commit, Commits, EarlyWrite, StoreError};
use stepladder_engine::retries::{StorageRetries, run_within};
use stepladder_testkit::clock::VirtualClock;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn operation_name(request: &Request) -> &str {
    let target = request.headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    target.and_then(|target| target.rsplit('.').next()).unwrap_or_default()
}

#[tokio::test]
async fn a_new_event_name_is_not_waited_for_past_the_deadline_of_the_hop() {
    let server = MockServer::start().await;
    let empty = ResponseTemplate::new(200).set_body_json(json!({ "Items": [], "Count": 0, "ScannedCount": 0 }));
    Mock::given(wiremock::matchers::any()).respond_with(empty).mount(&server).await;
    let clock = Arc::new(VirtualClock::new(NOW));
    let options = AwsOptions {
        table: "table".into(),
        queues: QueueAddresses { steps: format!("{}/steps", server.uri()), ..QueueAddresses::default() },
        clock: clock.clone(),
        retention: Duration::from_secs(86_400),
        trace: || None,
        retries: StorageRetries::at_once(),
    };
    let aws = Aws::new(&Connection::emulators(&server.uri(), &server.uri()), options);
    let run = RunId::new(NOW, 1);
    let subscription = Subscription {
        event: "paid".into(),
        key: None,
        run,
        step: "wait".into(),
        until: NOW + Duration::from_secs(60),
    };
    let commit = Commit { before: vec![EarlyWrite::Subscribe(subscription)], ..Commit::default() };
    let result = run_within(clock, NOW + Duration::from_secs(1), aws.commit(commit)).await;
    let Err(error @ StoreError::Unavailable(_)) = result else { panic!("{result:?}") };
    let sentence = error.reason();
    assert!(sentence.contains("its hop ends before all processes know it"), "{sentence}");
    let requests = server.received_requests().await.expect("they are recorded");
    let puts: Vec<_> = requests.iter().filter(|request| operation_name(request) == "PutItem").collect();
    // only the event's name is written, so that the next hop waits less; no subscription is written
    assert_eq!(puts.len(), 1);
    assert!(String::from_utf8_lossy(&puts[0].body).contains("S#waits"));
}
