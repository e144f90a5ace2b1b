//! Limits under faults: there are never more bodies than slots, every ticket is promoted, and
//! tickets are promoted in order.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::join_all;
use stepladder_core::slot::{Holder, Limit, Ticket};
use stepladder_core::{EventId, RunId, RunOrStep, Status, Timestamp};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::{Commit, Commits, LateWrite, Refusal, RefusalReason, SlotOperations};
use stepladder_tests::aws_faults::AwsFault;
use stepladder_tests::wait_for;

use crate::functions::{ExecutionLog, go_event, limited_function};
use crate::stage::{AwsStage, SdkRetryMode};

const RUNS: u32 = 6;

fn function_limit() -> Limit {
    Limit { key: "narrow/0".into(), slots: 2 }
}

async fn assert_ended(stage: &AwsStage, account: &ExecutionLog) {
    assert!(account.most_at_once() <= 2, "{} bodies at once", account.most_at_once());
    for n in 0..RUNS {
        let runs = stage.observing_engine().query().runs_of_event(&format!("go-{n}")).await.expect("listed");
        assert_eq!(runs[0].status, Status::Completed, "{n}: {:#?}", stage.facts(runs[0].run).await);
    }
    let line = stage.lambda.first_tickets(&function_limit().key, 10).await.expect("a line");
    for place in &line {
        println!("waits still: {place:?}\n{:#?}", stage.facts(place.run).await);
    }
    assert!(line.is_empty(), "the queue is empty: {line:?}");
    let now = stage.clock.now();
    let alive =
        stage.lambda.holders(&function_limit().key).await.expect("holders").into_iter().filter(|h| h.lease_until > now);
    assert_eq!(alive.count(), 0, "no slot is held");
    stage.assert_journals().await;
    stage.assert_within_limits();
}

/// Handles all visible messages at the same time, as Lambda does, until no message is left.
async fn work_in_parallel(stage: &AwsStage) {
    let engine = stage.engine();
    for n in 0..RUNS {
        stage.send(&engine, &go_event(n)).await;
    }
    loop {
        let deliveries = stage.receive_now().await;
        if deliveries.is_empty() && !stage.move_on(&engine).await {
            return;
        }
        join_all(deliveries.into_iter().map(|delivery| stage.invoke(&engine, delivery))).await;
    }
}

#[tokio::test]
async fn with_lost_replies_limits_hold_and_no_step_waits_for_ever() {
    let account = ExecutionLog::default();
    let stage = AwsStage::new(SdkRetryMode::Retries, vec![limited_function(&account)]).await;
    let mut n = 0;
    stage.wire.plan(move |_| {
        n += 1;
        if n % 3 == 0 { AwsFault::LoseReply } else { AwsFault::Pass }
    });
    work_in_parallel(&stage).await;
    stage.wire.clear();
    assert_ended(&stage, &account).await;
    assert!((0..RUNS).all(|n| account.counts_of_run(n).values().all(|times| *times == 1)));
}

/// A step reads the holders and then the wait queue. Between the two reads, another step acquires
/// the last slot, and that step's ticket is removed.
#[tokio::test]
async fn the_last_free_slot_is_not_given_twice() {
    let stage = AwsStage::new(SdkRetryMode::Tells, vec![limited_function(&ExecutionLog::default())]).await;
    let one = Limit { key: "one".into(), slots: 1 };
    let holder =
        |n| Holder::Attempt { run: RunId::new(Timestamp::from_millis(1), n), step: "s".into(), attempt: 1, hop: 0 };
    let (now, until) = (stage.clock.now(), stage.clock.now() + Duration::from_secs(100));
    // so that the item with the holders exists
    stage.lambda.try_acquire(std::slice::from_ref(&one), &holder(0), until, now).await.expect("taken");
    let after = vec![LateWrite::Release { limit: one.clone(), holder: holder(0) }];
    stage.lambda.commit(Commit { after, ..Commit::default() }).await.expect("released");
    let held = Arc::new(AtomicBool::new(false));
    let holding = held.clone();
    stage.wire.plan(move |call| {
        let line = call.body["ExpressionAttributeValues"][":p"]["S"].as_str().is_some_and(|pk| pk.starts_with("Q#"));
        if line && !holding.swap(true, Ordering::SeqCst) { AwsFault::Hold } else { AwsFault::Pass }
    });
    let (aws, limit) = (stage.aws.clone(), one.clone());
    let slow = tokio::spawn(async move { aws.try_acquire(std::slice::from_ref(&limit), &holder(1), until, now).await });
    wait_for("the line to be read", async || held.load(Ordering::SeqCst).then_some(())).await;
    assert_eq!(stage.lambda.try_acquire(std::slice::from_ref(&one), &holder(2), until, now).await.expect("taken"), []);
    stage.dynamo.release();
    assert_eq!(
        slow.await.expect("no panic").expect("answered"),
        [Refusal { limit: 0, reason: RefusalReason::Full { free_at: Some(until) } }]
    );
    assert_eq!(stage.lambda.holders(&one.key).await.expect("holders").len(), 1);
}

/// Rule 24: a ticket that stays behind would be promoted without effect, and the slot would stay
/// free.
#[tokio::test]
async fn acquiring_a_slot_removes_the_ticket_also_if_the_reply_is_lost() {
    let account = ExecutionLog::default();
    let stage = AwsStage::new(SdkRetryMode::Retries, vec![limited_function(&account)]).await;
    let engine = stage.engine();
    for n in 0..2 {
        let event = stage.send(&engine, &go_event(n)).await;
        let run = stage.runs(event).await[0].summary.run;
        stage.wire.plan(|call| {
            // the first acquisition creates the item of the holders, and later ones update it
            let takes = call.body["Item"].get("h").is_some() || call.operation == "UpdateItem";
            if takes && call.n == 0 { AwsFault::LoseReply } else { AwsFault::Pass }
        });
        let holder = Holder::Attempt { run, step: "one".into(), attempt: 1, hop: 0 };
        let (now, until) = (stage.clock.now(), stage.clock.now() + Duration::from_secs(100));
        assert_eq!(stage.aws.try_acquire(&[function_limit()], &holder, until, now).await.expect("taken"), []);
        assert!(
            stage.lambda.first_tickets(&function_limit().key, 10).await.expect("a line").is_empty(),
            "{n} stands in line no more"
        );
        assert_eq!(stage.lambda.ticket(&function_limit().key, run, None).await.expect("a place"), None);
    }
}

/// The reply to an enqueue is lost. Before the SDK repeats the request, the ticket is used.
#[tokio::test]
async fn a_repeated_request_does_not_restore_a_used_ticket() {
    let stage = AwsStage::new(SdkRetryMode::Retries, vec![limited_function(&ExecutionLog::default())]).await;
    let one = Limit { key: "one".into(), slots: 1 };
    let (now, until) = (stage.clock.now(), stage.clock.now() + Duration::from_secs(100));
    let run = RunId::new(Timestamp::from_millis(1), 1);
    let place = Ticket { queued_at: now, event: EventId::from_bytes([7; 16]), run, of: RunOrStep::Step("s".into()) };
    let repeated = Arc::new(AtomicBool::new(false));
    let repeats = repeated.clone();
    stage.wire.plan(move |call| match (call.operation, call.n) {
        ("TransactWriteItems", 0) => AwsFault::LoseReply,
        ("TransactWriteItems", 1) => {
            repeats.store(true, Ordering::SeqCst);
            AwsFault::Hold
        }
        _ => AwsFault::Pass,
    });
    let (aws, limit) = (stage.aws.clone(), one.clone());
    let slow = tokio::spawn(async move { aws.enqueue(&limit, place).await });
    wait_for("the request to be repeated", async || repeated.load(Ordering::SeqCst).then_some(())).await;
    assert!(stage.lambda.ticket(&one.key, run, None).await.expect("read").is_some());
    let holder = Holder::Attempt { run, step: "s".into(), attempt: 1, hop: 0 };
    assert_eq!(stage.lambda.try_acquire(std::slice::from_ref(&one), &holder, until, now).await.expect("taken"), []);
    stage.dynamo.release();
    slow.await.expect("no panic").expect("joined");
    assert_eq!(stage.lambda.first_tickets(&one.key, 9).await.expect("a line"), []);
}

/// Deletes the item that lists the tickets of a run.
async fn forget_tickets(stage: &AwsStage, run: RunId) {
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

/// A process died between the two writes that remove a ticket, so the run no longer knows the
/// ticket.
#[tokio::test]
async fn a_ticket_that_its_run_does_not_know_is_removed_at_its_turn() {
    let account = ExecutionLog::default();
    let stage = AwsStage::new(SdkRetryMode::Retries, vec![limited_function(&account)]).await;
    let engine = stage.engine();
    let event = stage.send(&engine, &go_event(0)).await;
    stage.settle(|| engine.clone()).await;
    let run = stage.runs(event).await[0].summary.run;
    for step in ["one", "two"] {
        let place = Ticket { queued_at: stage.clock.now(), event, run, of: RunOrStep::Step(step.into()) };
        stage.lambda.enqueue(&function_limit(), place).await.expect("parked");
        forget_tickets(&stage, run).await;
    }
    assert_eq!(stage.lambda.first_tickets(&function_limit().key, 9).await.expect("a line").len(), 2);
    for n in 1..RUNS {
        stage.send(&engine, &go_event(n)).await;
    }
    stage.settle(|| engine.clone()).await;
    assert_ended(&stage, &account).await;
}

/// Other holders have both slots until all runs are enqueued. From then on, the reply to every
/// successful acquisition is lost.
#[tokio::test]
async fn slots_are_given_in_order_also_if_replies_are_lost() {
    let account = ExecutionLog::default();
    let stage = AwsStage::new(SdkRetryMode::Retries, vec![limited_function(&account)]).await;
    let until = stage.clock.now() + Duration::from_secs(100);
    for attempt in [1, 2] {
        let other =
            Holder::Attempt { run: RunId::new(Timestamp::from_millis(1), 1), step: "other".into(), attempt, hop: 0 };
        stage
            .lambda
            .try_acquire(&[function_limit()], &other, until, stage.clock.now())
            .await
            .expect("the table answers");
    }
    stage.wire.plan(|call| {
        let takes = call.body["UpdateExpression"].as_str().is_some_and(|update| update.starts_with("SET h.#me"));
        if takes && call.n % 2 == 0 { AwsFault::LoseReply } else { AwsFault::Pass }
    });
    let engine = stage.engine();
    for n in 0..RUNS {
        stage.advance(Duration::from_millis(5));
        stage.send(&engine, &go_event(n)).await;
    }
    stage.settle(|| engine.clone()).await;
    assert_eq!(account.start_order(), (0..RUNS).collect::<Vec<_>>());
    assert_ended(&stage, &account).await;
}

/// A slot is held for a step that never starts. When the lease has expired, the next acquisition
/// removes the holder.
#[tokio::test]
async fn a_slot_of_a_dead_worker_is_free_at_the_end_of_its_lease() {
    let account = ExecutionLog::default();
    let stage = AwsStage::new(SdkRetryMode::Tells, vec![limited_function(&account)]).await;
    let dead = Arc::new(AtomicBool::new(false));
    let (dying, mut died) = (dead.clone(), false);
    stage.wire.plan(move |call| {
        let starts = call.operation == "PutItem" && call.body["Item"].to_string().contains("StepStarted");
        if starts && !died {
            (died, _) = (true, dying.swap(true, Ordering::SeqCst));
        }
        if dying.load(Ordering::SeqCst) { AwsFault::LoseRequest } else { AwsFault::Pass }
    });
    let mut engine = stage.engine();
    for n in 0..RUNS {
        stage.send(&engine, &go_event(n)).await;
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
