//! The order of a start's writes. The process dies at each call, and the event is never sent again.
//! Then there is either no run, or a run that its watchdog wakes (rule 12).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use stepladder::prelude::*;
use stepladder_core::{EventId, NewEvent, RunId, Status, json};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::{Listings, SlotOperations};
use stepladder_engine::{IdSeed, RunFilter};
use stepladder_tests::aws_faults::AwsFault;

use crate::functions::{GoEvent, go_event};
use crate::stage::{AwsStage, SdkRetryMode};

const FUNCTIONS: [&str; 3] = ["plain", "limited", "throttled"];

async fn working_handler(ctx: Context, event: Event<GoEvent>) -> Result<u32> {
    ctx.step("work", async || Ok(event.data.n)).await
}

/// Returns a function without limits, one whose runs have tickets, and one with a flow state.
fn functions() -> Vec<Function> {
    vec![
        Function::new(FUNCTIONS[0], working_handler),
        Function::new(FUNCTIONS[1], working_handler).concurrency(Concurrency::limit(1)),
        Function::new(FUNCTIONS[2], working_handler).throttle(Rate::new(1_000, Duration::from_secs(1))),
    ]
}

/// Sends an event to a process that dies at call number `at`. Returns the number of calls, and
/// whether the event was accepted.
async fn send_and_die(stage: &AwsStage, event: NewEvent, at: usize, fault: AwsFault) -> (usize, bool) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    stage.wire.plan(move |_| match counted.fetch_add(1, Ordering::SeqCst) {
        n if n == at => fault.clone(),
        n if n > at => AwsFault::LoseRequest,
        _ => AwsFault::Pass,
    });
    let accepted = stage.engine().intake().ingest(vec![event], None).await.is_ok();
    stage.wire.clear();
    (calls.load(Ordering::SeqCst), accepted)
}

async fn statuses(stage: &AwsStage) -> Vec<Status> {
    let all = RunFilter { limit: Some(500), ..RunFilter::default() };
    let page = stage.observing_engine().query().runs(all).await.expect("a listing");
    page.runs.into_iter().map(|run| run.status).collect()
}

#[tokio::test]
async fn rule_12_a_run_whose_process_died_at_its_start_is_woken_by_its_watchdog() {
    let stage = AwsStage::new(SdkRetryMode::Tells, functions()).await;
    // the first start also lists the functions under the day, which the process does only once
    let mut calls = 0;
    for n in 0..2 {
        let accepted;
        (calls, accepted) = send_and_die(&stage, go_event(n), usize::MAX, AwsFault::Pass).await;
        assert!(accepted && calls >= 11, "{calls}");
        stage.settle(|| stage.engine()).await;
        stage.advance(Duration::from_secs(3_601));
    }
    assert_eq!(statuses(&stage).await, [Status::Completed; 6]);
    let (mut n, mut without_wake) = (1, 0);
    for fault in [AwsFault::LoseReply, AwsFault::LoseRequest] {
        for at in 0..calls {
            n += 1;
            let (_, accepted) = send_and_die(&stage, go_event(n), at, fault.clone()).await;
            assert!(!accepted, "{fault:?} at call {at}");
            stage.settle(|| stage.engine()).await;
            without_wake += statuses(&stage).await.iter().filter(|status| !status.is_end()).count();
            stage.advance(Duration::from_secs(3_601));
            stage.sweep(&stage.engine()).await;
            stage.settle(|| stage.engine()).await;
            let after = statuses(&stage).await;
            assert!(after.iter().all(|status| *status == Status::Completed), "{fault:?} at call {at}: {after:?}");
        }
    }
    // the exact number depends on the order of concurrent requests
    assert!(without_wake >= 3, "some starts have left a run without a wake: {without_wake}");
    for function in FUNCTIONS {
        let tickets = stage.lambda.first_tickets(&format!("{function}/0").into(), 9).await.expect("an answer");
        assert!(tickets.is_empty(), "rule 16: {function} has a ticket without a run: {tickets:?}");
    }
    stage.assert_journals().await;
    stage.assert_within_limits();
}

/// An event with data that compression does not shorten, and that no longer fits into a write unit
/// together with the row.
#[tokio::test]
async fn a_run_of_a_large_event_is_read_from_two_items_after_a_second_attempt() {
    let stage = AwsStage::new(SdkRetryMode::Tells, vec![Function::new("plain", working_handler)]).await;
    let data = (0..200_u64).map(|n| format!("{:x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)));
    let data = json::to_json(&serde_json::json!({"n": 1, "text": data.collect::<String>()})).expect("JSON");
    let event = NewEvent::new(GoEvent::NAME, data.clone()).with_id("go-1");
    // the first process dies after it has written the value, and the second writes another
    let is_first = |body: &serde_json::Value| body["Item"]["SK"]["S"] == "J#0000000000";
    stage.wire.plan(move |call| if is_first(call.body) { AwsFault::LoseRequest } else { AwsFault::Pass });
    assert!(stage.engine().intake().ingest(vec![event.clone()], None).await.is_err());
    stage.wire.clear();
    let sent = stage.engine().intake().ingest(vec![event], None).await.expect("accepted")[0];
    stage.settle(|| stage.engine()).await;
    let runs = stage.runs(sent).await;
    assert_eq!(runs.iter().map(|run| run.summary.status).collect::<Vec<_>>(), [Status::Completed]);
    assert_eq!(runs[0].event.data.get(), data.get());
    let values = stage.direct.dynamo().query().table_name(&stage.table);
    let values = values.key_condition_expression("PK = :p AND begins_with(SK, :s)");
    let text = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned());
    let values = values.expression_attribute_values(":p", text(&format!("R#{}", runs[0].summary.run)));
    let values = values.expression_attribute_values(":s", text("J#0000000000/")).send().await.expect("an answer");
    assert_eq!(values.count, 2, "one of each attempt");
    stage.assert_journals().await;
    stage.assert_within_limits();
}

/// The runs of an event are found without links: by their ids, for all functions with runs on the
/// day of the event, even if a function no longer exists.
#[tokio::test]
async fn the_runs_of_an_event_are_found_by_their_ids() {
    let stage = AwsStage::new(SdkRetryMode::Tells, functions()).await;
    let seed = IdSeed { at: stage.clock.now(), random: 1 };
    let event = stage.engine().intake().ingest(vec![go_event(1)], Some(seed)).await.expect("accepted")[0];
    assert_eq!(event, EventId::new(seed.at, seed.random));
    let mut runs: Vec<RunId> = FUNCTIONS.map(|function| RunId::started_by(event, function)).into();
    runs.sort_unstable();
    let mut found: Vec<RunId> =
        stage.lambda.runs_of(event).await.expect("an answer").into_iter().map(|row| row.run).collect();
    found.sort_unstable();
    assert_eq!(found, runs);
    let rerun = stage.engine().control().rerun(runs[0], Default::default()).await.expect("rerun");
    let found = stage.lambda.runs_of(event).await.expect("an answer");
    assert_eq!(found.len(), 4);
    assert!(found.iter().any(|row| row.run == rerun), "a rerun has a link");
}
