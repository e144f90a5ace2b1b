//! The savings of several wakes per invocation. Lambda receives and deletes the messages of an
//! invocation with one request each.

use futures::future::join_all;
use stepladder::Pace;
use stepladder_core::{NewEvent, Status, json};

use crate::document;
use crate::functions::plain_function;
use crate::measure::warmed_up;
use crate::price::BilledUnits;
use crate::steps::{END, START};

/// The number of runs that make progress at the same time.
const RUNS: usize = 10;
const STEPS: u32 = 10;

/// Executes runs of ten plain steps at the same time, with this many wakes per invocation. Returns
/// the bill per run, from its event on.
async fn bill_of_a_run(wakes: usize) -> BilledUnits {
    let stage = warmed_up(plain_function(), Pace::StepPerInvocation).await;
    let engine = stage.engine();
    engine.functions().paused().await.expect("the table answers");
    let event = NewEvent::new("shop/go", json::to_json(&serde_json::json!({"n": STEPS})).expect("JSON"));
    stage.wire.take_tally();
    let mut events = Vec::new();
    for _ in 0..RUNS {
        events.push(stage.send(&engine, &event).await);
    }
    let mut invocations = 0;
    loop {
        let mut waiting = stage.receive_now().await.into_iter().peekable();
        if waiting.peek().is_none() {
            break;
        }
        while waiting.peek().is_some() {
            invocations += 1;
            let batch = waiting.by_ref().take(wakes).map(|delivery| stage.invoke(&engine, delivery));
            assert!(join_all(batch.collect::<Vec<_>>()).await.into_iter().all(|is_done| is_done));
        }
    }
    let bill = BilledUnits::from_tally(&stage.wire.take_tally(), invocations);
    for event in events {
        assert_eq!(stage.runs(event).await[0].summary.status, Status::Completed);
    }
    stage.assert_journals().await;
    stage.assert_within_limits();
    // the message of each event is sent, received and deleted on its own
    let through = BilledUnits { sqs: 3.0, invocations: 1.0, ..BilledUnits::default() };
    bill.divided_by(RUNS as f64).minus(BilledUnits::default().minus(through))
}

#[tokio::test]
async fn several_wakes_per_invocation_save_requests_and_no_writes() {
    let mut rows = Vec::new();
    for (wakes, at_most) in [(1, 34.0), (5, 26.0), (10, 26.0)] {
        let run = bill_of_a_run(wakes).await;
        println!("{wakes:>2} wakes per invocation: {run:?}");
        let hops = f64::from(STEPS);
        let invocations = 1.0 + hops / wakes as f64;
        assert_eq!((run.writes, run.reads), (START + END + 2.0 * hops, hops), "{wakes}");
        assert_eq!((run.invocations, run.sqs), (invocations, 1.0 + hops + 2.0 * invocations), "{wakes}");
        assert!(run.dollars() <= at_most, "{wakes}: {run:?}");
        rows.push(run.table_row(&format!("a run of 10 plain steps, {wakes} wakes per invocation")));
    }
    document::assert_has_rows(&rows[1..]);
}
