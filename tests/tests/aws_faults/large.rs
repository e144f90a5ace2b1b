//! Values that are too large for one item. They are split into parts, which are written before the
//! entry. Parts are read eventually consistent first; if one is missing, they are read again
//! strongly consistent. A part that is missing then is an error.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_dynamodb::types::AttributeValue;
use stepladder_core::{RunId, Status};
use stepladder_tests::aws_faults::AwsFault;
use stepladder_tests::wait_for;

use crate::functions::{go_event, large_outcome_function};
use crate::stage::{AwsStage, SdkRetryMode};

type TableItem = std::collections::HashMap<String, AttributeValue>;

async fn only_run(stage: &AwsStage) -> RunId {
    let runs = stage.observing_engine().query().runs_of_event("go-1").await.expect("listed");
    assert_eq!(runs.len(), 1);
    runs[0].run
}

fn is_part(item: &TableItem) -> bool {
    item["PK"].as_s().is_ok_and(|pk| pk.starts_with("B#"))
}

/// Returns all items of the table that are parts of large values.
async fn stored_parts(stage: &AwsStage) -> Vec<TableItem> {
    let pages = stage.direct.dynamo().scan().table_name(&stage.table).into_paginator().items().send();
    let items: Vec<TableItem> = pages.try_collect().await.expect("scanned");
    items.into_iter().filter(is_part).collect()
}

#[tokio::test]
async fn an_outcome_of_three_megabytes_survives_lost_replies_and_cold_workers() {
    let stage = AwsStage::new(SdkRetryMode::Retries, vec![large_outcome_function()]).await;
    let (late, early) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (after, before) = (late.clone(), early.clone());
    let (mut puts, mut named) = (0, false);
    stage.wire.plan(move |call| {
        let item = &call.body["Item"];
        let pk = item["PK"]["S"].as_str().unwrap_or_default();
        if call.operation != "PutItem" || !(pk.starts_with("B#") || pk.starts_with("R#")) {
            return AwsFault::Pass;
        }
        puts += 1;
        named |= item.get("b").is_some();
        if pk.starts_with("B#") {
            if named { &after } else { &before }.fetch_add(1, Ordering::SeqCst);
        }
        if puts % 4 == 0 { AwsFault::LoseReply } else { AwsFault::Pass }
    });
    let engine = stage.engine();
    stage.send(&engine, &go_event(1)).await;
    stage.settle(|| stage.engine()).await;
    stage.wire.clear();
    let run = only_run(&stage).await;
    let facts = stage.facts(run).await;
    assert_eq!(facts.last().map(String::as_str), Some("completed: true"), "{facts:#?}");
    assert!(stored_parts(&stage).await.len() >= 6);
    let parts = [early, late].map(|puts| puts.load(Ordering::SeqCst));
    assert!(parts[0] >= 6 && parts[1] == 0, "no part comes after the item that names it: {parts:?}");
    stage.assert_journals().await;
    stage.assert_within_limits();
}

#[tokio::test]
async fn a_missing_part_is_read_again_strongly_and_a_lost_part_is_reported() {
    let stage = AwsStage::new(SdkRetryMode::Retries, vec![large_outcome_function()]).await;
    let engine = stage.engine();
    let event = stage.send(&engine, &go_event(1)).await;
    stage.settle(|| engine.clone()).await;
    assert_eq!(stage.runs(event).await[0].summary.status, Status::Completed);
    let run = only_run(&stage).await;
    let part = stored_parts(&stage).await.remove(3);
    let key: TableItem = ["PK", "SK"].map(|name| (name.to_owned(), part[name].clone())).into();
    let dynamo = stage.direct.dynamo();
    dynamo.delete_item().table_name(&stage.table).set_key(Some(key)).send().await.expect("deleted");
    let error = stage.engine().query().run(run).await.expect_err("no run without its parts").to_string();
    assert!(error.contains("parts of a large value are missing or damaged in partition B#"), "{error}");

    // the first read must be eventually consistent, and misses parts as on a stale replica; the
    // second must be strongly consistent
    let reads = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = reads.clone();
    stage.wire.plan(move |call| {
        let of = call.body["ExpressionAttributeValues"][":p"]["S"].as_str().unwrap_or_default();
        if call.operation != "Query" || !of.starts_with("B#") {
            return AwsFault::Pass;
        }
        let (strong, page) = (call.body["ConsistentRead"] == true, call.body.get("ExclusiveStartKey").is_some());
        if page {
            return AwsFault::Pass;
        }
        seen.lock().expect("no panic").push(strong);
        if strong { AwsFault::Hold } else { AwsFault::Pass }
    });
    let cold = stage.engine();
    let reading = tokio::spawn(async move { cold.query().run(run).await.map(|run| run.summary.status) });
    wait_for("the strong read", async || (*reads.lock().expect("no panic") == [false, true]).then_some(())).await;
    dynamo.put_item().table_name(&stage.table).set_item(Some(part)).send().await.expect("put");
    stage.dynamo.release();
    assert_eq!(reading.await.expect("no panic").expect("a run"), Status::Completed);
}
