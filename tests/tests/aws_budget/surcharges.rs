//! What waits, failures, limits and the sweep add to the cost of plain steps.

use std::time::Duration;

use stepladder::{Function, Pace};
use stepladder_core::slot::{Holder, Limit};
use stepladder_core::{NewEvent, RunId, json};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::SlotOperations;

use crate::document;
use crate::functions::{
    failing_function, joining_function, labelling_function, limited_function, plain_function, queued_function,
    sleeping_function,
};
use crate::measure::{MeasuredRun, WorkerCache, run, warmed_up};
use crate::price::{BilledUnits, SECRET, TRACES, dollars};
use crate::stage::AwsStage;
use crate::steps::{END, START};
use crate::wire::RequestTally;

/// The bill of a sweep that finds no due timer.
const QUIET_SWEEP: BilledUnits = BilledUnits { writes: 1.0, reads: 49.0, sqs: 0.0, invocations: 0.0 };

async fn measure_function(function: Function, n: u32) -> MeasuredRun {
    let stage = warmed_up(function, Pace::StepPerInvocation).await;
    run(&stage, n, WorkerCache::Warm).await
}

/// Returns the bill of a whole run.
fn total_bill(measured: &MeasuredRun) -> BilledUnits {
    let MeasuredRun { start, rest, invocations } = measured;
    let (start, rest) = (BilledUnits::from_tally(start, 0), BilledUnits::from_tally(rest, *invocations));
    rest.minus(BilledUnits::default().minus(start))
}

/// Returns the bill of a whole run of `n` plain steps.
fn plain_run(n: f64) -> BilledUnits {
    BilledUnits { writes: START + END + 2.0 * n, reads: n, sqs: 3.0 * n, invocations: n }
}

fn print_surcharge(what: &str, added: BilledUnits, of: &RequestTally) -> String {
    println!("{what:60} {added:?}\n    {:?}", of.requests);
    added.table_row(what)
}

#[tokio::test]
async fn a_slot_costs_two_updates_and_five_reads() {
    let stage = warmed_up(limited_function(), Pace::StepPerInvocation).await;
    let one = run(&stage, 1, WorkerCache::Warm).await;
    let three = run(&stage, 3, WorkerCache::Warm).await;
    let more = |operation| three.rest.requests_of(operation) - one.rest.requests_of(operation);
    let operations = ["UpdateItem", "Query", "PutItem", "SendMessage", "DeleteItem", "GetItem"];
    assert_eq!(operations.map(more), [2 * 2, 2 * (1 + 5), 2 * 2, 2, 0, 0]);
    let slot = total_bill(&three).minus(total_bill(&one)).divided_by(2.0).minus(plain_run(2.0).minus(plain_run(1.0)));
    let arrival = total_bill(&one).minus(plain_run(1.0)).minus(slot);
    document::assert_has_rows(&[
        print_surcharge("a step under a limit that has room: its slot", slot, &three.rest),
        print_surcharge("a run under a limit: its ticket on arrival, its end", arrival, &one.rest),
    ]);
}

#[tokio::test]
async fn a_waiting_step_tries_again_when_a_lease_ends() {
    let stage = warmed_up(queued_function(), Pace::StepPerInvocation).await;
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
    document::assert_has_rows(&[print_surcharge(
        "a run's first step that waits for its slot",
        total_bill(&parked).minus(total_bill(&free)),
        &parked.rest,
    )]);
}

#[tokio::test]
async fn a_short_sleep_costs_a_delayed_message_and_a_long_one_a_timer() {
    let short = measure_function(sleeping_function(), 60).await;
    let expected = [("PutItem", 5), ("Query", 2), ("SendMessage", 1), ("UpdateItem", 1)];
    assert_eq!(short.rest.requests, expected.map(|(operation, n)| (operation.to_owned(), n)).into());
    let long = measure_function(sleeping_function(), 1_800).await;
    document::assert_has_rows(&[
        print_surcharge("a sleep of up to 15 minutes", total_bill(&short).minus(plain_run(2.0)), &short.rest),
        print_surcharge("a longer sleep", total_bill(&long).minus(plain_run(2.0)).minus(QUIET_SWEEP), &long.rest),
    ]);
}

#[tokio::test]
async fn a_failed_attempt_costs_an_invocation_with_its_two_puts() {
    let stage = AwsStage::new(crate::stage::SdkRetryMode::Tells, vec![failing_function()]).await;
    let failed = run(&stage, 1, WorkerCache::Warm).await;
    let clean = run(&stage, 1, WorkerCache::Warm).await;
    let more = |operation| failed.rest.requests_of(operation) - clean.rest.requests_of(operation);
    // one more of each would mean that the retry's wake came early and was sent again
    assert_eq!(["Query", "PutItem", "SendMessage"].map(more), [1, 2, 1]);
    let bill = |m: &MeasuredRun| BilledUnits::from_tally(&m.rest, m.invocations);
    document::assert_has_rows(&[print_surcharge(
        "a failed attempt that is retried",
        bill(&failed).minus(bill(&clean)),
        &failed.rest,
    )]);
}

#[tokio::test]
async fn a_label_costs_one_write_unit_and_labels_of_one_poll_one_request() {
    let stage = warmed_up(labelling_function(), Pace::StepPerInvocation).await;
    let (none, three) = (run(&stage, 0, WorkerCache::Warm).await, run(&stage, 3, WorkerCache::Warm).await);
    let more = |operation| three.rest.requests_of(operation) - none.rest.requests_of(operation);
    assert_eq!(["BatchWriteItem", "PutItem", "Query", "GetItem", "SendMessage"].map(more), [1, 0, 0, 0, 0]);
    let label = total_bill(&three).minus(total_bill(&none)).divided_by(3.0);
    document::assert_has_rows(&[print_surcharge("a label of a run", label, &three.rest)]);
}

#[tokio::test]
async fn a_join_of_four_steps_costs_one_invocation() {
    let joined = measure_function(joining_function(), 4).await;
    assert_eq!((joined.invocations, joined.rest.requests_of("Query")), (1, 1));
    let steps = total_bill(&joined).minus(plain_run(0.0));
    document::assert_has_rows(&[print_surcharge("a `join!` of 4 plain steps, all of it", steps, &joined.rest)]);
}

#[tokio::test]
async fn an_event_that_creates_no_run_costs_one_put() {
    let stage = warmed_up(plain_function(), Pace::StepPerInvocation).await;
    let engine = stage.engine();
    stage.wire.take_tally();
    stage.send(&engine, &NewEvent::new("shop/unused", json::empty_object())).await;
    let event = stage.wire.take_tally();
    assert_eq!((event.requests_of("PutItem"), event.requests.len()), (1, 1));
    // a message is sent, received and deleted; the event itself is already part of the run's start
    let through = BilledUnits { sqs: 3.0, invocations: 1.0, ..BilledUnits::default() };
    let run = plain_run(10.0).minus(BilledUnits::default().minus(through));
    document::assert_has_rows(&[
        print_surcharge("an event that starts nothing, stored", BilledUnits::from_tally(&event, 0), &event),
        print_surcharge("an event's way through the events queue", through, &event),
        print_surcharge("a run of 10 plain steps, from its event to its end", run, &event),
    ]);
}

#[tokio::test]
async fn a_senders_id_costs_one_put_more_and_subscribed_names_are_read_once_a_second() {
    let stage = warmed_up(plain_function(), Pace::StepPerInvocation).await;
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
    let named = |tally: &RequestTally| ["PutItem", "Query", "GetItem"].map(|operation| tally.requests_of(operation));
    assert_eq!(
        [named(&soon), named(&later), named(&with_id), named(&again)],
        [[1, 0, 0], [1, 1, 0], [2, 0, 0], [2, 0, 0]]
    );
    let bill = |tally: &RequestTally| BilledUnits::from_tally(tally, 0);
    document::assert_has_rows(&[
        print_surcharge("an event's `id`, remembered for 24 hours", bill(&with_id).minus(bill(&soon)), &with_id),
        print_surcharge(
            "ingest's read of the subscribed event names, once a second and process",
            bill(&later).minus(bill(&soon)),
            &later,
        ),
        print_surcharge("an event with an earlier `id`", bill(&again), &again),
    ]);
}

#[tokio::test]
async fn within_budget_a_step_under_a_limit_costs_as_many_writes() {
    let mut rows = Vec::new();
    let mut writes = Vec::new();
    for (pace, what) in [(Pace::StepPerInvocation, "`StepPerInvocation`"), (Pace::WithinBudget, "`WithinBudget`")] {
        let stage = warmed_up(limited_function(), pace).await;
        let (one, eleven) = (run(&stage, 1, WorkerCache::Warm).await, run(&stage, 11, WorkerCache::Warm).await);
        let step = total_bill(&eleven).minus(total_bill(&one)).divided_by(10.0);
        writes.push(step.writes);
        rows.push(print_surcharge(
            &format!("a plain step under a limit at {what}, 10 after the first"),
            step,
            &eleven.rest,
        ));
    }
    assert_eq!(writes[0], writes[1]);
    document::assert_has_rows(&rows);
}

#[tokio::test]
async fn a_sweep_without_due_timers_reads_six_minutes_of_timers() {
    let stage = warmed_up(plain_function(), Pace::StepPerInvocation).await;
    let engine = stage.engine();
    stage.sweep(&engine).await;
    stage.advance(Duration::from_secs(60));
    stage.wire.take_tally();
    engine.sweep().await.expect("a sweep");
    let quiet = stage.wire.take_tally();
    let operations = ["GetItem", "Query", "PutItem"].map(|operation| quiet.requests_of(operation));
    assert_eq!((operations, BilledUnits::from_tally(&quiet, 0)), ([1, 48, 1], QUIET_SWEEP));
    // the number of minutes in a month, which is the number of sweeps
    let month = 1_440.0 * 30.0;
    let BilledUnits { writes, reads, .. } = QUIET_SWEEP;
    let sweep = BilledUnits { writes: writes * month, reads: reads * month, sqs: 0.0, invocations: month };
    let polls = 5.0 * 2.0 * 86_400.0 * 30.0 / 20.0;
    let row = |what: &str, bill: BilledUnits| format!("| {what} | {} |", dollars(bill.dollars() / 1_000_000.0));
    document::assert_has_rows(&[
        row("sweep: 43,200 invocations, 2.12 million RRU, 43,200 WRU", sweep),
        row("empty receives of two queues: 1.3 million", BilledUnits { sqs: polls, ..BilledUnits::default() }),
        format!("| traces of the sweep: 43,200 | {} |", dollars(month * TRACES / 1_000_000.0)),
        format!("| event key and token in Secrets Manager | {} |", dollars(2.0 * SECRET)),
    ]);
}
