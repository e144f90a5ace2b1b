//! Limits under faults: never more bodies than slots, nobody forgotten, first come first served.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::join_all;
use stepladder_core::slot::{Holder, Limit, Ticket};
use stepladder_core::{EventId, RunId, Status, Timestamp};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::{AcquireResult, Commit, Commits, LateWrite, Slots};
use stepladder_tests::aws_faults::Fault;
use stepladder_tests::wait_for;

use crate::functions::{Account, go, narrow};
use crate::stage::{Sdk, Stage};

const RUNS: u32 = 6;

fn limit() -> Limit {
    Limit { key: "narrow/0".into(), slots: 2 }
}

async fn assert_ended(stage: &Stage, account: &Account) {
    assert!(account.most() <= 2, "{} bodies at once", account.most());
    for n in 0..RUNS {
        let runs = stage.onlooker().query().runs_of_event(&format!("go-{n}")).await.expect("listed");
        assert_eq!(runs[0].status, Status::Completed, "{n}: {:#?}", stage.facts(runs[0].run).await);
    }
    let line = stage.lambda.tickets(&limit(), 10).await.expect("a line");
    for place in &line {
        println!("waits still: {place:?}\n{:#?}", stage.facts(place.run).await);
    }
    assert!(line.is_empty(), "nobody waits any more: {line:?}");
    let now = stage.clock.now();
    let alive = stage.lambda.holders(&limit()).await.expect("holders").into_iter().filter(|h| h.lease_until > now);
    assert_eq!(alive.count(), 0, "nobody holds any more");
    stage.assert_journals().await;
    stage.assert_within_limits();
}

/// All that is visible at once, as Lambda would; until nothing is left.
async fn side_by_side(stage: &Stage) {
    let engine = stage.engine();
    for n in 0..RUNS {
        stage.send(&engine, &go(n)).await;
    }
    loop {
        let deliveries = stage.look().await;
        if deliveries.is_empty() && !stage.move_on(&engine).await {
            return;
        }
        join_all(deliveries.into_iter().map(|delivery| stage.invoke(&engine, delivery))).await;
    }
}

#[tokio::test]
async fn lost_replies_let_nobody_exceed_a_limit_or_wait_for_ever() {
    let account = Account::default();
    let stage = Stage::new(Sdk::Retries, vec![narrow(&account)]).await;
    let mut n = 0;
    stage.wire.plan(move |_| {
        n += 1;
        if n % 3 == 0 { Fault::LoseReply } else { Fault::Pass }
    });
    side_by_side(&stage).await;
    stage.wire.clear();
    assert_ended(&stage, &account).await;
    assert!((0..RUNS).all(|n| account.of(n).values().all(|times| *times == 1)));
}

/// An asker counts the holders, then reads the line; another one takes the last slot and leaves the line in between.
#[tokio::test]
async fn a_slot_that_was_free_a_moment_ago_is_not_given_twice() {
    let stage = Stage::new(Sdk::Tells, vec![narrow(&Account::default())]).await;
    let one = Limit { key: "one".into(), slots: 1 };
    let holder = |n| Holder { run: RunId::new(Timestamp::from_millis(1), n), step: "s".into(), attempt: 1, hop: 0 };
    let (now, until) = (stage.clock.now(), stage.clock.now() + Duration::from_secs(100));
    // the item that keeps the holders is there
    stage.lambda.acquire(&one, &holder(0), until, now).await.expect("taken");
    let after = vec![LateWrite::Release { limit: one.clone(), holder: holder(0) }];
    stage.lambda.commit(Commit { after, ..Commit::default() }).await.expect("released");
    let held = Arc::new(AtomicBool::new(false));
    let holding = held.clone();
    stage.wire.plan(move |call| {
        let line = call.body["ExpressionAttributeValues"][":p"]["S"].as_str().is_some_and(|pk| pk.starts_with("Q#"));
        if line && !holding.swap(true, Ordering::SeqCst) { Fault::Hold } else { Fault::Pass }
    });
    let (aws, limit) = (stage.aws.clone(), one.clone());
    let slow = tokio::spawn(async move { aws.acquire(&limit, &holder(1), until, now).await });
    wait_for("the line to be read", async || held.load(Ordering::SeqCst).then_some(())).await;
    assert_eq!(stage.lambda.acquire(&one, &holder(2), until, now).await.expect("taken"), AcquireResult::Acquired);
    stage.dynamo.release();
    assert_eq!(slow.await.expect("no panic").expect("answered"), AcquireResult::Full { free_at: Some(until) });
    assert_eq!(stage.lambda.holders(&one).await.expect("holders").len(), 1);
}

/// Rule 24: a place that is left behind would be woken in vain, and what is free stays free.
#[tokio::test]
async fn who_takes_a_slot_leaves_the_line_also_where_the_reply_is_lost() {
    let account = Account::default();
    let stage = Stage::new(Sdk::Retries, vec![narrow(&account)]).await;
    let engine = stage.engine();
    for n in 0..2 {
        let event = stage.send(&engine, &go(n)).await;
        let run = stage.runs(event).await[0].summary.run;
        stage.wire.plan(|call| {
            // the first slot comes with its item, the second changes it
            let takes = call.body["Item"].get("h").is_some() || call.operation == "UpdateItem";
            if takes && call.n == 0 { Fault::LoseReply } else { Fault::Pass }
        });
        let holder = Holder { run, step: "one".into(), attempt: 1, hop: 0 };
        let (now, until) = (stage.clock.now(), stage.clock.now() + Duration::from_secs(100));
        assert_eq!(stage.aws.acquire(&limit(), &holder, until, now).await.expect("taken"), AcquireResult::Acquired);
        assert!(stage.lambda.tickets(&limit(), 10).await.expect("a line").is_empty(), "{n} stands in line no more");
        assert_eq!(stage.lambda.ticket(&limit(), run, None).await.expect("a place"), None);
    }
}

/// The reply of who joins is lost, and his place is used up before the SDK sends the request again.
#[tokio::test]
async fn a_place_that_was_given_up_is_not_brought_back_by_a_repeated_request() {
    let stage = Stage::new(Sdk::Retries, vec![narrow(&Account::default())]).await;
    let one = Limit { key: "one".into(), slots: 1 };
    let (now, until) = (stage.clock.now(), stage.clock.now() + Duration::from_secs(100));
    let run = RunId::new(Timestamp::from_millis(1), 1);
    let place = Ticket { queued_at: now, event: EventId::from_bytes([7; 16]), run, step: "s".into() };
    let repeated = Arc::new(AtomicBool::new(false));
    let repeats = repeated.clone();
    stage.wire.plan(move |call| match (call.operation, call.n) {
        ("TransactWriteItems", 0) => Fault::LoseReply,
        ("TransactWriteItems", 1) => {
            repeats.store(true, Ordering::SeqCst);
            Fault::Hold
        }
        _ => Fault::Pass,
    });
    let (aws, limit) = (stage.aws.clone(), one.clone());
    let slow = tokio::spawn(async move { aws.enqueue(&limit, place).await });
    wait_for("the request to be repeated", async || repeated.load(Ordering::SeqCst).then_some(())).await;
    assert!(stage.lambda.ticket(&one, run, None).await.expect("read").is_some());
    let holder = Holder { run, step: "s".into(), attempt: 1, hop: 0 };
    assert_eq!(stage.lambda.acquire(&one, &holder, until, now).await.expect("taken"), AcquireResult::Acquired);
    stage.dynamo.release();
    slow.await.expect("no panic").expect("joined");
    assert_eq!(stage.lambda.tickets(&one, 9).await.expect("a line"), []);
}

/// Deletes what leads from a run to its places.
async fn forget_places(stage: &Stage, run: RunId) {
    let dynamo = stage.direct.dynamo();
    let all = dynamo.scan().table_name(&stage.table).send().await.expect("the table answers");
    let of_run = |item: &&HashMap<String, AttributeValue>| {
        item["PK"].as_s().is_ok_and(|pk| *pk == format!("R#{run}"))
            && item["SK"].as_s().is_ok_and(|sk| sk.starts_with("P#"))
    };
    for item in all.items().iter().filter(of_run) {
        let keys = ["PK", "SK"].map(|name| (name.to_owned(), item[name].clone()));
        let delete = dynamo.delete_item().table_name(&stage.table).set_key(Some(keys.into()));
        delete.send().await.expect("deleted");
    }
}

/// A process that died between the two writes of giving a place up.
#[tokio::test]
async fn a_place_that_no_run_knows_of_goes_when_its_turn_comes() {
    let account = Account::default();
    let stage = Stage::new(Sdk::Retries, vec![narrow(&account)]).await;
    let engine = stage.engine();
    let event = stage.send(&engine, &go(0)).await;
    stage.settle(|| engine.clone()).await;
    let run = stage.runs(event).await[0].summary.run;
    for step in ["one", "two"] {
        let place = Ticket { queued_at: stage.clock.now(), event, run, step: step.into() };
        stage.lambda.enqueue(&limit(), place).await.expect("parked");
        forget_places(&stage, run).await;
    }
    assert_eq!(stage.lambda.tickets(&limit(), 9).await.expect("a line").len(), 2);
    for n in 1..RUNS {
        stage.send(&engine, &go(n)).await;
    }
    stage.settle(|| engine.clone()).await;
    assert_ended(&stage, &account).await;
}

/// Both slots are held by others while all arrive; every reply that says "taken" is lost.
#[tokio::test]
async fn slots_are_given_in_the_order_of_arrival_also_where_replies_are_lost() {
    let account = Account::default();
    let stage = Stage::new(Sdk::Retries, vec![narrow(&account)]).await;
    let until = stage.clock.now() + Duration::from_secs(100);
    for attempt in [1, 2] {
        let other = Holder { run: RunId::new(Timestamp::from_millis(1), 1), step: "other".into(), attempt, hop: 0 };
        stage.lambda.acquire(&limit(), &other, until, stage.clock.now()).await.expect("the table answers");
    }
    stage.wire.plan(|call| {
        let takes = call.body["UpdateExpression"].as_str().is_some_and(|update| update.starts_with("SET h.#me"));
        if takes && call.n % 2 == 0 { Fault::LoseReply } else { Fault::Pass }
    });
    let engine = stage.engine();
    for n in 0..RUNS {
        stage.advance(Duration::from_millis(5));
        stage.send(&engine, &go(n)).await;
    }
    stage.settle(|| engine.clone()).await;
    assert_eq!(account.order(), (0..RUNS).collect::<Vec<_>>());
    assert_ended(&stage, &account).await;
}

/// A slot is held, but its step never started: the lease ends, and the next asker reaps it.
#[tokio::test]
async fn a_worker_that_dies_with_a_slot_blocks_it_no_longer_than_its_lease() {
    let account = Account::default();
    let stage = Stage::new(Sdk::Tells, vec![narrow(&account)]).await;
    let dead = Arc::new(AtomicBool::new(false));
    let (dying, mut died) = (dead.clone(), false);
    stage.wire.plan(move |call| {
        let starts = call.operation == "PutItem" && call.body["Item"].to_string().contains("StepStarted");
        if starts && !died {
            (died, _) = (true, dying.swap(true, Ordering::SeqCst));
        }
        if dying.load(Ordering::SeqCst) { Fault::LoseRequest } else { Fault::Pass }
    });
    let mut engine = stage.engine();
    for n in 0..RUNS {
        stage.send(&engine, &go(n)).await;
    }
    let begun = stage.clock.now();
    let living = || {
        if dead.swap(false, Ordering::SeqCst) {
            engine = stage.engine();
        }
        engine.clone()
    };
    stage.settle(living).await;
    assert_ended(&stage, &account).await;
    assert!(stage.clock.now().since(begun) < Duration::from_secs(400), "{:?}", stage.clock.now().since(begun));
}
