//! Rule 27: the items of a live run do not expire. If some items of an expired run are left, they
//! do not count as a run.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use stepladder_core::{Status, Timestamp};
use stepladder_engine::RunFilter;
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::{Cursor, Listings, Timers};

use crate::functions::{ExecutionLog, functions_with_every_step, go_event, retrying_function};
use crate::stage::{AwsStage, RETENTION, SdkRetryMode};

const DAY: Duration = Duration::from_secs(86_400);

type TableItem = HashMap<String, AttributeValue>;

fn text_attribute<'a>(item: &'a TableItem, name: &str) -> &'a str {
    item.get(name).and_then(|value| value.as_s().ok()).map_or("", String::as_str)
}

async fn all_items(stage: &AwsStage) -> Vec<TableItem> {
    let pages = stage.direct.dynamo().scan().table_name(&stage.table).into_paginator().items().send();
    pages.try_collect().await.expect("scanned")
}

/// Deletes the items that have expired, as DynamoDB does after some time.
async fn delete_expired_items(stage: &AwsStage) {
    let now = stage.clock.now().as_millis() / 1_000;
    for item in all_items(stage).await {
        let ttl = item.get("ttl").and_then(|ttl| ttl.as_n().ok()).and_then(|ttl| ttl.parse::<i64>().ok());
        if ttl.is_some_and(|ttl| ttl <= now) {
            let key: TableItem = ["PK", "SK"].map(|name| (name.to_owned(), item[name].clone())).into();
            let deletion = stage.direct.dynamo().delete_item().table_name(&stage.table).set_key(Some(key));
            deletion.send().await.expect("deleted");
        }
    }
}

/// Advances the clock to `moment`, at which a watchdog is due, and executes a sweep. The minutes in
/// between have no timers.
async fn sweep_at(stage: &AwsStage, moment: Timestamp) {
    stage.advance(moment.since(stage.clock.now()));
    let there = stage.lambda.cursor().await.expect("a cursor");
    stage.lambda.advance(there, Cursor { minute: moment.minute(), sent: Vec::new() }).await.expect("moved");
    stage.engine().sweep().await.expect("swept");
}

#[tokio::test]
async fn the_items_of_a_run_that_sleeps_for_seventy_days_do_not_expire() {
    let account = ExecutionLog::default();
    let stage = AwsStage::new(SdkRetryMode::Tells, vec![retrying_function(&account, 70 * DAY)]).await;
    let engine = stage.engine();
    let event = stage.send(&engine, &go_event(1)).await;
    let run = stage.runs(event).await[0].summary.run;
    let begun = stage.clock.now();
    let hop = stage.receive_now().await.remove(0);
    assert!(stage.invoke(&engine, hop).await);
    let wakes_at = begun + 70 * DAY;
    // the first visit of the watchdog is after an hour, and the others are daily
    for day in 0..70 {
        sweep_at(&stage, begun + Duration::from_secs(3_600) + day * DAY).await;
        if day % 10 == 9 {
            delete_expired_items(&stage).await;
        }
    }
    let items = all_items(&stage).await;
    let of_run = |item: &&TableItem| {
        let pk = text_attribute(item, "PK");
        [run.to_string(), event.to_string()].iter().any(|id| pk.ends_with(id)) || pk.starts_with("S#days")
    };
    let kept: Vec<&TableItem> = items.iter().filter(of_run).collect();
    let kinds: Vec<String> =
        kept.iter().map(|item| format!("{}/{}", text_attribute(item, "PK"), text_attribute(item, "SK"))).collect();
    // two records, the event, and the two items that list the day and the function
    assert_eq!(kept.len(), 5, "{kinds:#?}");
    for (item, kind) in kept.iter().zip(&kinds) {
        let ttl: i64 = item["ttl"].as_n().expect("a number").parse().expect("digits");
        assert!(ttl > wakes_at.as_millis() / 1_000, "{kind} expires before the wake");
    }
    assert_eq!(stage.observing_engine().query().runs(RunFilter::default()).await.expect("listed").runs.len(), 1);
    sweep_at(&stage, wakes_at).await;
    stage.settle(|| stage.engine()).await;
    let ended = &stage.runs(event).await[0];
    assert_eq!(ended.summary.status, Status::Completed);
    assert!(stage.clock.now() >= wakes_at, "never early");
    assert_eq!(account.counts_of_run(1).values().sum::<u32>(), 1);
    stage.assert_journals().await;
    stage.assert_within_limits();
}

/// Rule 26: the sweeps failed for an hour, so no cursor is stored. Rule 34: one of the timers
/// cannot be read.
#[tokio::test]
async fn the_first_successful_sweep_sends_the_timers_due_before_it() {
    let account = ExecutionLog::default();
    let stage = AwsStage::new(SdkRetryMode::Tells, vec![retrying_function(&account, Duration::from_secs(1_800))]).await;
    let engine = stage.engine();
    let event = stage.send(&engine, &go_event(1)).await;
    let hop = stage.receive_now().await.remove(0);
    assert!(stage.invoke(&engine, hop).await);
    let due = stage.clock.now() + Duration::from_secs(1_800);
    let broken = [("PK", format!("T#{:010}#3", due.minute())), ("SK", format!("{:015}#unknown", due.as_millis()))];
    let broken: TableItem = broken.map(|(name, s)| (name.to_owned(), AttributeValue::S(s))).into();
    stage.direct.dynamo().put_item().table_name(&stage.table).set_item(Some(broken)).send().await.expect("written");
    stage.advance(Duration::from_secs(3_600));
    let swept = engine.sweep().await.expect("swept");
    assert_eq!((swept.timers, swept.watched, swept.unreadable), (2, 1, 1), "two sleeps, the watchdog, the broken one");
    assert_eq!(engine.sweep().await.expect("swept"), Default::default(), "the cursor has passed them");
    stage.settle(|| stage.engine()).await;
    assert_eq!(stage.runs(event).await[0].summary.status, Status::Completed);
}

#[tokio::test]
async fn the_rest_of_an_expired_run_does_not_count_as_a_run() {
    let account = ExecutionLog::default();
    let stage = AwsStage::new(SdkRetryMode::Tells, functions_with_every_step(&account)).await;
    let engine = stage.engine();
    let event = stage.send(&engine, &go_event(1)).await;
    stage.settle(|| engine.clone()).await;
    let run = stage.runs(event).await[0].summary.run;
    let (pk, first) = (format!("R#{run}"), "J#0000000000");
    stage.advance(RETENTION + 3 * DAY);
    let gone = |error: String| assert!(error.contains("there is no run"), "{error}");
    gone(stage.observing_engine().query().run(run).await.expect_err("expired, though all of it is there").to_string());
    let key = [("PK", pk.as_str()), ("SK", first)].map(|(name, s)| (name.to_owned(), AttributeValue::S(s.into())));
    let deletion = stage.direct.dynamo().delete_item().table_name(&stage.table).set_key(Some(key.into()));
    deletion.send().await.expect("deleted");
    gone(stage.observing_engine().query().run(run).await.expect_err("its first record is gone").to_string());
    // the run's wake is still delivered, and has no effect
    assert_eq!(stage.settle(|| stage.engine()).await, 0);
}

/// The end of a run extends the time to live of its row, which is also its first record. The other
/// records expire earlier, and without them the first one is no journal.
#[tokio::test]
async fn a_run_that_ended_late_is_listed_longer_than_its_journal_is_kept() {
    let account = ExecutionLog::default();
    let stage = AwsStage::new(SdkRetryMode::Tells, vec![retrying_function(&account, 10 * DAY)]).await;
    let begun = stage.clock.now();
    let event = stage.send(&stage.engine(), &go_event(1)).await;
    stage.settle(|| stage.engine()).await;
    let run = stage.runs(event).await[0].summary.clone();
    assert_eq!(run.status, Status::Completed);
    assert!(stage.clock.now() >= begun + 10 * DAY, "no watchdog has renewed its items");
    stage.advance((begun + RETENTION + 3 * DAY).since(stage.clock.now()));
    let journal = async || stage.observing_engine().query().run(run.run).await.map(|run| run.summary.status);
    let before = journal().await.expect_err("expired, although all items exist");
    delete_expired_items(&stage).await;
    let after = journal().await.expect_err("expired");
    assert_eq!((before.to_string(), before.to_string()), (after.to_string(), format!("there is no run {}", run.run)));
    let listed = async || stage.lambda.runs_of(event).await.expect("an answer").len();
    assert_eq!(listed().await, 1, "the row is kept for the retention after the end");
    stage.advance(10 * DAY);
    delete_expired_items(&stage).await;
    assert_eq!(listed().await, 0);
}
