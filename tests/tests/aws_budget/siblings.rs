//! The requests of a fan-out: its steps are spread over several invocations, which append to one
//! journal at the same time.

use futures::future::join_all;
use stepladder::Pace;
use stepladder_core::{NewEvent, Status, json};

use crate::document;
use crate::functions::joining_function;
use crate::measure::warmed_up;
use crate::price::BilledUnits;
use crate::steps::{END, START};
use crate::wire::RequestTally;

/// Executes a run that fans out over `n` steps, with at most this many invocations at the same
/// time, each on a worker of its own. Returns its requests and its invocations.
async fn fan_out(n: u32, workers: usize) -> (RequestTally, usize) {
    let stage = warmed_up(joining_function(), Pace::StepPerInvocation).await;
    let workers: Vec<_> = (0..workers).map(|_| stage.engine()).collect();
    let event = NewEvent::new("shop/go", json::to_json(&serde_json::json!({"n": n})).expect("JSON"));
    stage.wire.take_tally();
    let event = stage.send(&workers[0], &event).await;
    let mut invocations = 0;
    loop {
        let deliveries = stage.receive_now().await;
        if deliveries.is_empty() && !stage.move_on(&workers[0]).await {
            break;
        }
        invocations += deliveries.len();
        let mut deliveries = deliveries.into_iter();
        while deliveries.len() > 0 {
            let at_once = workers.iter().zip(deliveries.by_ref());
            join_all(at_once.map(|(worker, delivery)| stage.invoke(worker, delivery))).await;
        }
    }
    let tally = stage.wire.take_tally();
    assert_eq!(stage.runs(event).await[0].summary.status, Status::Completed);
    stage.assert_journals().await;
    stage.assert_within_limits();
    (tally, invocations)
}

/// An invocation executes up to 16 steps and may be overtaken by other invocations. The requests of
/// a step must not grow with the number of steps.
#[tokio::test]
async fn the_requests_of_a_step_do_not_grow_with_the_number_of_its_siblings() {
    for n in [10_u32, 100, 1_000] {
        let (tally, invocations) = fan_out(n, 10).await;
        let per_step = |count: u64| count as f64 / f64::from(n);
        let [puts, queries] = ["PutItem", "Query"].map(|operation| per_step(tally.requests_of(operation)));
        let conflicts = per_step(tally.conflicts);
        let invocations = per_step(invocations as u64);
        println!(
            "{n:>4} steps: per step {invocations:.2} invocations {puts:.2} PutItem {queries:.2} Query {conflicts:.2} conflicts"
        );
        assert!(conflicts <= 1.0 && puts <= 1.5 && queries <= 1.5, "{n}: {tally:?}");
        assert!(invocations <= 0.5, "{n}: {invocations}");
    }
}

/// Without other workers there are no conflicts, so the requests can be priced exactly.
#[tokio::test]
async fn a_step_of_a_fan_out_costs_a_fraction_of_a_plain_step() {
    let mut rows = Vec::new();
    for (n, shown) in [(10_u32, "10"), (100, "100"), (1_000, "1,000")] {
        let (tally, invocations) = fan_out(n, 1).await;
        assert_eq!(tally.conflicts, 0, "{n}: {tally:?}");
        let rest = BilledUnits { writes: START + END, ..BilledUnits::default() };
        let bill = BilledUnits::from_tally(&tally, invocations as u64).minus(rest).divided_by(n.into());
        rows.push(bill.table_row(&format!("a step of a fan-out of {shown}, on one worker")));
    }
    rows.iter().for_each(|row| println!("{row}"));
    document::assert_has_rows(&rows);
}
