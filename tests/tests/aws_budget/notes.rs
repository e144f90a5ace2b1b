//! The cost of flow state, and of large requests, which may be repeated.

use std::time::Duration;

use stepladder::{Function, Pace};
use stepladder_core::{NewEvent, json};
use stepladder_engine::clock::Clock;
use stepladder_engine::{IdSeed, PIECE};

use crate::document;
use crate::functions::{plain_function, rate_limited_function, throttled_function};
use crate::measure::{MeasuredRun, WorkerCache, run, warmed_up};
use crate::price::BilledUnits;
use crate::wire::RequestTally;

const OPERATIONS: [&str; 6] = ["GetItem", "PutItem", "UpdateItem", "DeleteItem", "Query", "SendMessage"];

async fn one_step(function: Function) -> MeasuredRun {
    let stage = warmed_up(function, Pace::StepPerInvocation).await;
    // after the warm-up, the throttle would delay the next start by some milliseconds
    stage.advance(Duration::from_secs(60));
    run(&stage, 1, WorkerCache::Warm).await
}

/// Returns how many more requests `tally` has than `than`, by operation.
fn additional_units(tally: &RequestTally, than: &RequestTally) -> [u64; 6] {
    OPERATIONS.map(|operation| tally.requests_of(operation) - than.requests_of(operation))
}

#[tokio::test]
async fn an_admission_costs_one_read_and_one_write() {
    let free = one_step(plain_function()).await;
    let bill = |measured: &MeasuredRun| BilledUnits::from_tally(&measured.rest, measured.invocations);
    for function in [throttled_function(), rate_limited_function()] {
        let limited = one_step(function).await;
        assert_eq!(additional_units(&limited.rest, &free.rest), [1, 1, 0, 0, 0, 0]);
        let admission = bill(&limited).minus(bill(&free));
        document::assert_has_rows(&[admission.table_row("a run's admission under a throttle, or under a rate limit")]);
    }
}

#[tokio::test]
async fn a_large_request_without_ids_costs_one_read_and_two_writes_more() {
    let stage = warmed_up(plain_function(), Pace::StepPerInvocation).await;
    let engine = stage.engine();
    let events = |n: usize| vec![NewEvent::new("shop/unused", json::empty_object()); n];
    let mut seeds = 1..;
    let mut tally_of = async |events: Vec<NewEvent>, body: Option<u128>| {
        let now = stage.clock.now();
        let seed = IdSeed { at: now, random: seeds.next().expect("numbers") << 32 };
        stage.wire.take_tally();
        engine.intake().ingest_by(events, seed, body, now + Duration::from_secs(20)).await.expect("taken in");
        stage.wire.take_tally()
    };
    // the first request in a second also reads the names of subscribed events, so it is not
    // measured
    tally_of(events(1), None).await;
    let large = PIECE + 1;
    let (plain, noted) = (tally_of(events(large), None).await, tally_of(events(large), Some(7)).await);
    assert_eq!(additional_units(&noted, &plain), [1, 1, 0, 1, 0, 0]);
    document::assert_has_rows(&[BilledUnits::from_tally(&noted, 0)
        .minus(BilledUnits::from_tally(&plain, 0))
        .table_row("an HTTP request with more than 16 events, of which one has no `id`")]);

    let small = tally_of(events(PIECE), Some(8)).await;
    assert_eq!(small.requests, tally_of(events(PIECE), None).await.requests);
    let mut with_ids = events(large);
    for (n, event) in with_ids.iter_mut().enumerate() {
        event.id = Some(format!("of-the-sender-{n}").into());
    }
    assert_eq!(["GetItem", "DeleteItem"].map(|operation| small.requests_of(operation)), [0, 0]);
    let with_ids = tally_of(with_ids, Some(9)).await;
    assert_eq!(["GetItem", "DeleteItem"].map(|operation| with_ids.requests_of(operation)), [0, 0]);
}
