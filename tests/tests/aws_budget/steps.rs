//! The cost of plain steps at both paces, and the requests that it consists of.

use stepladder::Pace;

use crate::document;
use crate::functions::plain_function;
use crate::measure::{MeasuredRun, WorkerCache, run, warmed_up};
use crate::price::BilledUnits;
use crate::wire::RequestTally;

const LENGTHS: [u32; 4] = [1, 3, 30, 300];

fn request_counts(of: &[(&str, u64)]) -> std::collections::BTreeMap<String, u64> {
    of.iter().filter(|(_, n)| *n > 0).map(|(operation, n)| ((*operation).to_owned(), *n)).collect()
}

/// Checks the requests that start a run. They write the event, the watchdog, the first record with
/// the run's row, and the first wake.
fn assert_start(start: &RequestTally) {
    assert_eq!(start.requests, request_counts(&[("PutItem", 3), ("SendMessage", 1)]));
    // one unit for each of the three items, and one for the row's index entry
    assert_eq!((start.writes, start.reads, start.sqs), (START, 0.0, 1.0));
}

/// The write units of the start of a run.
pub(crate) const START: f64 = 4.0;
/// The write units of the end of a run: the row, and the row's index entry.
pub(crate) const END: f64 = 2.0;

/// Returns the units of a run's steps: without those of its end, and including the run's first
/// wake.
fn measure_steps(measured: &MeasuredRun) -> BilledUnits {
    let mut bill = BilledUnits::from_tally(&measured.rest, measured.invocations);
    bill.writes -= END;
    bill.sqs += measured.start.sqs;
    bill
}

fn print(what: &str, n: u32, measured: &MeasuredRun) {
    let MeasuredRun { rest, invocations, .. } = measured;
    let bill = measure_steps(measured).divided_by(n.into());
    println!(
        "{what:32} {n:>4} steps {invocations:>4} invocations {:>4} Query {:>4} PutItem {:>4} SendMessage {:>7.2} WRU \
         {:>7.2} RRU {:>6.3} $ a million steps",
        rest.requests_of("Query"),
        rest.requests_of("PutItem"),
        rest.requests_of("SendMessage"),
        rest.writes - END,
        rest.reads,
        bill.dollars(),
    );
}

#[tokio::test]
async fn with_one_step_an_invocation_a_step_costs_one_query_two_puts_and_one_send() {
    let stage = warmed_up(plain_function(), Pace::StepPerInvocation).await;
    for n in LENGTHS {
        let measured = run(&stage, n, WorkerCache::Warm).await;
        print("a step an invocation", n, &measured);
        assert_start(&measured.start);
        let n = u64::from(n);
        let expected = [("Query", n), ("PutItem", 2 * n), ("SendMessage", n - 1), ("UpdateItem", 1)];
        assert_eq!(measured.rest.requests, request_counts(&expected));
        assert_eq!(measured.invocations, n);
        assert_eq!(measured.rest.writes, (2 * n) as f64 + END, "no record of a plain step is above 1 KB");
        // reads of the first invocation include the run's first record, but it is smaller than 4 KB
        // and costs no extra unit
        assert_eq!(measured.rest.reads, n as f64);
        let bill = measure_steps(&measured).divided_by(n as f64);
        assert!(bill.dollars() <= 3.0, "{bill:?}");
        if n == 30 {
            document::assert_has_rows(&[
                bill.table_row("a plain step at `StepPerInvocation`"),
                BilledUnits::from_tally(&measured.start, 0)
                    .minus(BilledUnits { sqs: 1.0, ..BilledUnits::default() })
                    .table_row("a run's creation"),
                BilledUnits { writes: END, ..BilledUnits::default() }.table_row("a run's end"),
            ]);
        }
    }
}

#[tokio::test]
async fn a_cold_cache_costs_more_read_units_and_no_more_requests() {
    let stage = warmed_up(plain_function(), Pace::StepPerInvocation).await;
    let mut rows = Vec::new();
    for n in [1, 3, 30, 100] {
        let measured = run(&stage, n, WorkerCache::Cold).await;
        print("a step an invocation, cold", n, &measured);
        let n = u64::from(n);
        // the only `GetItem` is that of the first invocation, which reads whether the function is
        // paused
        let expected = [("GetItem", 1), ("Query", n), ("PutItem", 2 * n), ("SendMessage", n - 1), ("UpdateItem", 1)];
        assert_eq!(measured.rest.requests, request_counts(&expected));
        let bill = measure_steps(&measured).divided_by(n as f64);
        if n >= 30 {
            rows.push(bill.table_row(&format!("one of {n} steps, every invocation on a cold worker")));
        }
    }
    document::assert_has_rows(&rows);
}

#[tokio::test]
async fn within_budget_an_invocation_costs_one_query_and_a_step_one_put() {
    let stage = warmed_up(plain_function(), Pace::WithinBudget).await;
    let mut rows = Vec::new();
    for n in LENGTHS {
        let measured = run(&stage, n, WorkerCache::Warm).await;
        print("within budget", n, &measured);
        assert_start(&measured.start);
        let n = u64::from(n);
        assert_eq!(measured.rest.requests, request_counts(&[("Query", 1), ("PutItem", n + 1), ("UpdateItem", 1)]));
        assert_eq!((measured.invocations, measured.rest.reads), (1, 1.0));
        assert_eq!(measured.rest.writes, (n + 1) as f64 + END, "no record of a plain step is above 1 KB");
        let bill = measure_steps(&measured).divided_by(n as f64);
        if n >= 30 {
            assert!(bill.dollars() <= 0.80, "{bill:?}");
        }
        if n >= 3 {
            rows.push(bill.table_row(&format!("a plain step at `WithinBudget`, {n} an invocation")));
        }
    }
    document::assert_has_rows(&rows);
}

/// The document states the number of steps per invocation from which the price applies.
#[test]
fn the_price_within_budget_holds_from_thirteen_steps_an_invocation() {
    let bill = |n: f64| BilledUnits { writes: n + 1.0, reads: 1.0, sqs: 3.0, invocations: 1.0 }.divided_by(n);
    assert!(bill(12.0).dollars() > 0.80 && bill(13.0).dollars() <= 0.80);
}
