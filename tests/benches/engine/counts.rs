//! Counts what runs write, which is the same on every machine. A count above its limit makes the
//! program fail, so that no later change makes long or wide runs expensive unnoticed.
//!
//! Reads, wakes and conflicts are counted at the ports, by `engine/tests/budget.rs`.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use stepladder_tests::wait_for;

use crate::growth::run;
use crate::ours::server::BenchServer;

/// A function with its input, and what one run of it may write.
struct CountedRun {
    name: &'static str,
    event: &'static str,
    data: Value,
    /// The limits at one step an invocation.
    step: WrittenLimits,
    /// The limits within budget.
    budget: WrittenLimits,
}

/// The maximum numbers of a run.
#[derive(Clone, Copy, Debug)]
struct WrittenLimits {
    /// The records of the journal. Each is one transaction.
    records: i64,
    /// The entries of the journal.
    entries: i64,
}

/// What a run has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WrittenCounts {
    records: i64,
    entries: i64,
    /// The size of the entries as JSON.
    bytes: i64,
}

/// The runs that are counted. `n` steps have `2n + 2` entries: each step starts and succeeds, and
/// the run is created and ends.
fn counted_runs() -> Vec<CountedRun> {
    let run = |name, event, data, step, budget| CountedRun { name, event, data, step, budget };
    vec![
        run("3 steps", "bench/three", json!({"n": 1}), limits(7, 8), limits(5, 8)),
        run("100 steps", "bench/sequential", json!({"steps": 100}), limits(201, 202), limits(102, 202)),
        run("1,000 steps", "bench/sequential", json!({"steps": 1_000}), limits(2_001, 2_002), limits(1_002, 2_002)),
        run("fan-out of 100", "bench/fan-out", json!({"steps": 100}), limits(107, 206), limits(105, 206)),
        run("fan-out of 1,000", "bench/fan-out", json!({"steps": 1_000}), limits(1_007, 2_006), limits(1_005, 2_006)),
        run(
            "map of 500 at 50",
            "bench/map",
            json!({"items": 500, "limit": 50}),
            limits(1_000, 1_006),
            limits(600, 1_006),
        ),
    ]
}

const fn limits(records: i64, entries: i64) -> WrittenLimits {
    WrittenLimits { records, entries }
}

/// Counts at both paces, and prints the counts. Returns whether all of them are within their
/// limits.
pub(crate) async fn check() -> bool {
    let mut all_within = true;
    for (name, pace) in [("one step an invocation", "step"), ("within budget", "budget")] {
        println!("{name}");
        let server = BenchServer::start(pace).await;
        for counted in counted_runs() {
            let limits = if pace == "step" { counted.step } else { counted.budget };
            run(&server.api(), counted.event, counted.data).await;
            let written = WrittenCounts::of_latest_run(server.data_file());
            let is_within = written.records <= limits.records && written.entries <= limits.entries;
            let WrittenCounts { records, entries, bytes } = written;
            let verdict = if is_within { "" } else { "  TOO MANY" };
            println!(
                "  {:17} {records:5} of {:5} records, {entries:5} of {:5} entries, {bytes:7} bytes{verdict}",
                counted.name, limits.records, limits.entries
            );
            all_within &= is_within;
        }
        await_empty_queue(server.data_file()).await;
    }
    all_within
}

/// Waits until the queue is empty. If wakes multiplied, it would never be.
async fn await_empty_queue(data_file: &Path) {
    let db = open(data_file);
    let wakes = || db.query_row("SELECT count(*) FROM wakes", [], |row| row.get::<_, i64>(0)).expect("a count");
    wait_for("an empty queue", async || (wakes() == 0).then_some(())).await;
}

impl WrittenCounts {
    /// Counts what the run that was created last has written.
    fn of_latest_run(data_file: &Path) -> Self {
        let sql = "SELECT count(*), sum(next - seq), sum(length(entries)) FROM journal
                   WHERE run = (SELECT run FROM runs ORDER BY run DESC LIMIT 1)";
        let counts =
            |row: &rusqlite::Row<'_>| Ok(Self { records: row.get(0)?, entries: row.get(1)?, bytes: row.get(2)? });
        open(data_file).query_row(sql, [], counts).expect("the journal of a run")
    }
}

fn open(data_file: &Path) -> Connection {
    Connection::open_with_flags(data_file, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the data file")
}
