//! What waits, failures, limits and the sweep add to the cost of plain steps.

use std::time::Duration;

use stepladder::{Function, Pace};
use stepladder_core::slot::{Holder, Limit};
use stepladder_core::{NewEvent, RunId, json};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::SlotOperations;

use crate::document;
use crate::functions::{failing, joining, limited, plain, queued, sleeping};
use crate::measure::{MeasuredRun, WorkerCache, run, warmed_up};
use crate::price::{BilledUnits, SECRET, TRACES, dollars};
use crate::stage::AwsStage;
use crate::wire::RequestTally;

/// The bill of a sweep that finds no due timer.
const QUIET_SWEEP: BilledUnits = BilledUnits { writes: 1.0, reads: 49.0, sqs: 0.0, invocations: 0.0 };

async fn measured(function: Function, n: u32) -> MeasuredRun {
    let stage = warmed_up(function, Pace::StepPerInvocation).await;
    run(&stage, n, WorkerCache::Warm).await
}

/// Returns the bill of a whole run.
fn whole(measured: &MeasuredRun) -> BilledUnits {
    let MeasuredRun { start, rest, invocations } = measured;
    let (start, rest) = (BilledUnits::of(start, 0), BilledUnits::of(rest, *invocations));
    rest.less(BilledUnits::default().less(start))
}

/// Returns the bill of a whole run of `n` plain steps.
fn plain_run(n: f64) -> BilledUnits {
    BilledUnits { writes: 14.0 + 2.0 * n, reads: n, sqs: 3.0 * n, invocations: n }
}

fn tell(what: &str, added: BilledUnits, of: &RequestTally) -> String {
    println!("{what:60} {added:?}\n    {:?}", of.requests);
    added.row(what)
}

#[tokio::test]
async fn a_slot_costs_two_updates_and_five_reads() {
    let stage = warmed_up(limited(), Pace::StepPerInvocation).await;
    let one = run(&stage, 1, WorkerCache::Warm).await;
    let three = run(&stage, 3, WorkerCache::Warm).await;
    let more = |operation| three.rest.of(operation) - one.rest.of(operation);
    let operations = ["UpdateItem", "Query", "PutItem", "SendMessage", "DeleteItem", "GetItem"];
    assert_eq!(operations.map(more), [2 * 2, 2 * (1 + 5), 2 * 2, 2, 0, 0]);
    let slot = whole(&three).less(whole(&one)).each(2.0).less(plain_run(2.0).less(plain_run(1.0)));
    let arrival = whole(&one).less(plain_run(1.0)).less(slot);
    document::assert_has_rows(&[
        tell("a step under a limit that has room: its slot", slot, &three.rest),
        tell("a run under a limit: its ticket on arrival, its end", arrival, &one.rest),
    ]);
}

#[tokio::test]
async fn a_waiting_step_tries_again_when_a_lease_ends() {
    let stage = warmed_up(queued(), Pace::StepPerInvocation).await;
    let free = run(&stage, 1, WorkerCache::Warm).await;
    let limit = Limit { key: "queued/0".into(), slots: 1 };
    let other = Holder::Attempt { run: RunId::new(stage.clock.now(), 1), step: "work".into(), attempt: 1, hop: 0 };
    let until = stage.clock.now() + Duration::from_secs(100);
    stage
        .lambda
        .try_acquire(std::slice::from_ref(&limit), &other, until, stage.clock.now())
        .await
        .expect("the table answers");
    let parked = run(&stage, 1, WorkerCache::Warm).await;
    assert_eq!(parked.invocations, 2);
    document::assert_has_rows(&[tell(
        "a run's first step that waits for its slot",
        whole(&parked).less(whole(&free)),
        &parked.rest,
    )]);
}

#[tokio::test]
async fn a_short_sleep_costs_a_delayed_message_and_a_long_one_a_timer() {
    let short = measured(sleeping(), 60).await;
    let expected = [("PutItem", 5), ("Query", 2), ("SendMessage", 1), ("UpdateItem", 1)];
    assert_eq!(short.rest.requests, expected.map(|(operation, n)| (operation.to_owned(), n)).into());
    let long = measured(sleeping(), 1_800).await;
    document::assert_has_rows(&[
        tell("a sleep of up to 15 minutes", whole(&short).less(plain_run(2.0)), &short.rest),
        tell("a longer sleep", whole(&long).less(plain_run(2.0)).less(QUIET_SWEEP), &long.rest),
    ]);
}

#[tokio::test]
async fn a_failed_attempt_costs_an_invocation_with_its_two_puts() {
    let stage = AwsStage::new(crate::stage::SdkRetryMode::Tells, vec![failing()]).await;
    let failed = run(&stage, 1, WorkerCache::Warm).await;
    let clean = run(&stage, 1, WorkerCache::Warm).await;
    let more = |operation| failed.rest.of(operation) - clean.rest.of(operation);
    // one more of each would mean that the retry's wake came early and was sent again
    assert_eq!(["Query", "PutItem", "SendMessage"].map(more), [1, 2, 1]);
    let bill = |m: &MeasuredRun| BilledUnits::of(&m.rest, m.invocations);
    document::assert_has_rows(&[tell(
        "a failed attempt that is retried",
        bill(&failed).less(bill(&clean)),
        &failed.rest,
    )]);
}

#[tokio::test]
async fn a_join_of_four_steps_costs_one_invocation() {
    let joined = measured(joining(), 4).await;
    assert_eq!((joined.invocations, joined.rest.of("Query")), (1, 1));
    let steps = whole(&joined).less(plain_run(0.0));
    document::assert_has_rows(&[tell("a `join!` of 4 plain steps, all of it", steps, &joined.rest)]);
}

#[tokio::test]
async fn an_event_that_creates_no_run_costs_one_put() {
    let stage = warmed_up(plain(), Pace::StepPerInvocation).await;
    let engine = stage.engine();
    stage.wire.take_tally();
    stage.send(&engine, &NewEvent::new("shop/unused", json::empty_object())).await;
    let event = stage.wire.take_tally();
    assert_eq!((event.of("PutItem"), event.requests.len()), (1, 1));
    // a message is sent, received and deleted; the event itself is already part of the run's start
    let through = BilledUnits { sqs: 3.0, invocations: 1.0, ..BilledUnits::default() };
    let run = plain_run(10.0).less(BilledUnits::default().less(through));
    document::assert_has_rows(&[
        tell("an event that starts nothing, stored", BilledUnits::of(&event, 0), &event),
        tell("an event's way through the events queue", through, &event),
        tell("a run of 10 plain steps, from its event to its end", run, &event),
    ]);
}

#[tokio::test]
async fn a_senders_id_costs_one_put_more_and_subscribed_names_are_read_once_a_second() {
    let stage = warmed_up(plain(), Pace::StepPerInvocation).await;
    let engine = stage.engine();
    let mut event = NewEvent::new("shop/unused", json::empty_object());
    let tally_of = async |event: &NewEvent| {
        stage.wire.take_tally();
        stage.send(&engine, event).await;
        stage.wire.take_tally()
    };
    tally_of(&event).await;
    let soon = tally_of(&event).await;
    stage.advance(Duration::from_secs(2));
    let later = tally_of(&event).await;
    event.id = Some("of-the-sender".into());
    let with_id = tally_of(&event).await;
    let again = tally_of(&event).await;
    let named = |tally: &RequestTally| ["PutItem", "Query", "GetItem"].map(|operation| tally.of(operation));
    assert_eq!(
        [named(&soon), named(&later), named(&with_id), named(&again)],
        [[1, 0, 0], [1, 1, 0], [2, 0, 0], [2, 0, 0]]
    );
    let bill = |tally: &RequestTally| BilledUnits::of(tally, 0);
    document::assert_has_rows(&[
        tell("an event's `id`, remembered for 24 hours", bill(&with_id).less(bill(&soon)), &with_id),
        tell(
            "ingest's read of the subscribed event names, once a second and process",
            bill(&later).less(bill(&soon)),
            &later,
        ),
        tell("an event with an earlier `id`", bill(&again), &again),
    ]);
}

#[tokio::test]
async fn within_budget_a_step_under_a_limit_costs_as_many_writes() {
    let mut rows = Vec::new();
    let mut writes = Vec::new();
    for (pace, what) in [(Pace::StepPerInvocation, "`StepPerInvocation`"), (Pace::WithinBudget, "`WithinBudget`")] {
        let stage = warmed_up(limited(), pace).await;
        let (one, eleven) = (run(&stage, 1, WorkerCache::Warm).await, run(&stage, 11, WorkerCache::Warm).await);
        let step = whole(&eleven).less(whole(&one)).each(10.0);
        writes.push(step.writes);
        rows.push(tell(&format!("a plain step under a limit at {what}, 10 after the first"), step, &eleven.rest));
    }
    assert_eq!(writes[0], writes[1]);
    document::assert_has_rows(&rows);
}

#[tokio::test]
async fn a_sweep_without_due_timers_reads_six_minutes_of_timers() {
    let stage = warmed_up(plain(), Pace::StepPerInvocation).await;
    let engine = stage.engine();
    stage.sweep(&engine).await;
    stage.advance(Duration::from_secs(60));
    stage.wire.take_tally();
    engine.sweep().await.expect("a sweep");
    let quiet = stage.wire.take_tally();
    let operations = ["GetItem", "Query", "PutItem"].map(|operation| quiet.of(operation));
    assert_eq!((operations, BilledUnits::of(&quiet, 0)), ([1, 48, 1], QUIET_SWEEP));
    // the number of minutes in a month, which is the number of sweeps
    let month = 1_440.0 * 30.0;
    let BilledUnits { writes, reads, .. } = QUIET_SWEEP;
    let sweep = BilledUnits { writes: writes * month, reads: reads * month, sqs: 0.0, invocations: month };
    let polls = 5.0 * 3.0 * 86_400.0 * 30.0 / 20.0;
    let row = |what: &str, bill: BilledUnits| format!("| {what} | {} |", dollars(bill.dollars() / 1_000_000.0));
    document::assert_has_rows(&[
        row("sweep: 43,200 invocations, 2.12 million RRU, 43,200 WRU", sweep),
        row("empty receives of three queues: 1.9 million", BilledUnits { sqs: polls, ..BilledUnits::default() }),
        format!("| traces of the sweep: 43,200 | {} |", dollars(month * TRACES / 1_000_000.0)),
        format!("| event key and token in Secrets Manager | {} |", dollars(2.0 * SECRET)),
    ]);
}
