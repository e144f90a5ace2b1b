//! The cost of a start and an end: their items, large events, and called runs.

use stepladder::Pace;
use stepladder_core::{NewEvent, Status, json};

use crate::document;
use crate::functions::{called_function, calling_function, plain_function};
use crate::measure::warmed_up;
use crate::price::BilledUnits;
use crate::stage::{AwsStage, SdkRetryMode};
use crate::steps::END;

/// Creates an event with this many bytes of text, which compression does not shorten.
fn event_of(bytes: usize) -> NewEvent {
    let mut seed = 7_u64;
    let mut letter = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'#' + (seed >> 58) as u8)
    };
    let text: String = (0..bytes).map(|_| letter()).filter(|letter| *letter != '\\').collect();
    NewEvent::new("shop/go", json::to_json(&serde_json::json!({"n": 1, "text": text})).expect("JSON"))
}

#[tokio::test]
async fn a_large_event_is_written_with_the_event_and_with_the_run_and_not_at_the_end() {
    let stage = warmed_up(plain_function(), Pace::StepPerInvocation).await;
    let engine = stage.engine();
    engine.functions().paused().await.expect("the table answers");
    let mut starts = Vec::new();
    for bytes in [100, 300, 2_500, 9_500] {
        stage.wire.take_tally();
        let event = stage.send(&engine, &event_of(bytes)).await;
        let start = stage.wire.take_tally();
        stage.settle(|| engine.clone()).await;
        let rest = stage.wire.take_tally();
        assert_eq!(stage.runs(event).await[0].summary.status, Status::Completed);
        assert_eq!(rest.writes, 2.0 + END, "the end of a run with {bytes} bytes");
        starts.push(start.writes);
    }
    stage.assert_within_limits();
    // the event and the value each take a unit per KB, besides watchdog, record and index entry;
    // compression makes them a quarter smaller
    assert_eq!(starts, [4.0, 4.0, 3.0 + 2.0 * 3.0, 3.0 + 2.0 * 8.0]);
}

#[tokio::test]
async fn a_called_run_has_a_link_and_no_event() {
    let stage = AwsStage::new(SdkRetryMode::Tells, vec![calling_function(), called_function()]).await;
    let engine = stage.engine();
    let event = NewEvent::new("shop/go", json::to_json(&serde_json::json!({"n": 1})).expect("JSON"));
    let mut calls = Vec::new();
    for _ in 0..2 {
        engine.functions().paused().await.expect("the table answers");
        stage.wire.take_tally();
        stage.send(&engine, &event).await;
        let invocations = stage.settle(|| engine.clone()).await as u64;
        calls.push(BilledUnits::from_tally(&stage.wire.take_tally(), invocations));
    }
    stage.assert_within_limits();
    document::assert_has_rows(&[calls[1].table_row("a run that calls a run of one plain step, both of them")]);
}

#[tokio::test]
async fn a_repeated_event_costs_three_writes_for_a_run_that_exists() {
    let stage = warmed_up(plain_function(), Pace::StepPerInvocation).await;
    let engine = stage.engine();
    let event = event_of(100).with_id("of-the-sender");
    let id = stage.send(&engine, &event).await;
    stage.settle(|| engine.clone()).await;
    stage.wire.take_tally();
    assert_eq!(stage.send(&engine, &event).await, id);
    let again = stage.wire.take_tally();
    // besides them, the sender's id and the event are each written once, and refused
    let requests = ["PutItem", "DeleteItem", "Query", "SendMessage"].map(|operation| again.requests_of(operation));
    assert_eq!((requests, again.writes, again.reads), ([4, 1, 1, 0], 2.0 + 3.0, 1.0));
    stage.assert_within_limits();
}

#[tokio::test]
async fn a_run_of_thirty_steps_within_budget_costs_what_the_document_says() {
    let stage = warmed_up(plain_function(), Pace::WithinBudget).await;
    let engine = stage.engine();
    engine.functions().paused().await.expect("the table answers");
    stage.wire.take_tally();
    stage.send(&engine, &NewEvent::new("shop/go", json::to_json(&serde_json::json!({"n": 30})).expect("JSON"))).await;
    // the event's own message is sent, received and deleted
    let through = BilledUnits { sqs: 3.0, invocations: 1.0, ..BilledUnits::default() };
    let invocations = stage.settle(|| engine.clone()).await as u64;
    let run = BilledUnits::from_tally(&stage.wire.take_tally(), invocations);
    let all = run.minus(BilledUnits::default().minus(through));
    assert!(all.dollars() <= 27.0, "{all:?}");
    document::assert_has_rows(&[all.table_row("a run of 30 plain steps within budget, from its event to its end")]);
}
