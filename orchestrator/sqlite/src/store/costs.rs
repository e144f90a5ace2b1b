//! Sums of what ended runs would cost on AWS, in slots of an hour. They change in the transactions
//! that end runs, so each run counts once.

use std::time::Duration;

use rusqlite::{Connection, Row, params};
use stepladder_core::{Record, RunId, Timestamp};
use stepladder_engine::ports::{CostQuery, CostSum, RunCost, RunCostCounter};

use crate::error::SqliteError;
use crate::rows;
use crate::writer::WriteTransaction;

/// How long sums are kept.
const KEPT: Duration = Duration::from_secs(32 * 24 * 60 * 60);

/// Adds the cost of a run that ends. `last` is the record that the transaction has just appended to
/// its journal, if any.
pub(super) fn add_run(
    db: &WriteTransaction<'_>,
    (run, function): (RunId, &str),
    last: Option<&Record>,
    at: Timestamp,
) -> Result<(), SqliteError> {
    let end = u64::try_from(db.journal_end(run)?).unwrap_or(0);
    let cost = match db.memory().run_costs.cost(run, last, end) {
        Some(cost) => cost,
        None => read_cost(db, run)?,
    };
    add(db, function, at, &cost)
}

/// Computes the cost of a run from its journal.
fn read_cost(db: &WriteTransaction<'_>, run: RunId) -> Result<RunCost, SqliteError> {
    let mut query = db.statement("SELECT seq, token, code, entries FROM journal WHERE run = ?1 ORDER BY seq")?;
    let mut found = query.query([run.to_bytes()])?;
    let mut counter = RunCostCounter::default();
    while let Some(row) = found.next()? {
        rows::record(row)?.entries.iter().for_each(|entry| counter.add(entry));
    }
    Ok(counter.cost())
}

fn add(db: &WriteTransaction<'_>, function: &str, at: Timestamp, cost: &RunCost) -> Result<(), SqliteError> {
    let n = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let ms = |of: Duration| i64::try_from(of.as_millis()).unwrap_or(i64::MAX);
    db.statement(
        "INSERT INTO run_costs VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) \
         ON CONFLICT DO UPDATE SET runs = runs + 1, write_units = write_units + excluded.write_units, \
         read_units = read_units + excluded.read_units, sqs_requests = sqs_requests + excluded.sqs_requests, \
         invocations = invocations + excluded.invocations, attempts = attempts + excluded.attempts, \
         executed_ms = executed_ms + excluded.executed_ms, saved_steps = saved_steps + excluded.saved_steps, \
         saved_ms = saved_ms + excluded.saved_ms, saved_tokens = saved_tokens + excluded.saved_tokens, \
         input_tokens = input_tokens + excluded.input_tokens, output_tokens = output_tokens + excluded.output_tokens, \
         ai_micro_dollars = ai_micro_dollars + excluded.ai_micro_dollars, unpriced = unpriced + excluded.unpriced",
    )?
    .execute(params![
        CostQuery::slot_of(at),
        function,
        n(cost.write_units),
        n(cost.read_units),
        n(cost.sqs_requests),
        n(cost.invocations),
        n(cost.attempts),
        ms(cost.executed),
        n(cost.saved_steps),
        ms(cost.saved_time),
        n(cost.saved_tokens),
        n(cost.input_tokens),
        n(cost.output_tokens),
        n(cost.ai_microdollars),
        cost.unpriced,
    ])?;
    Ok(())
}

/// Reads the sums of a query.
pub(super) fn read(db: &Connection, query: &CostQuery) -> Result<Vec<CostSum>, SqliteError> {
    let end = query.first + query.slots_per_step * i64::try_from(query.steps).unwrap_or(0);
    let mut sums = db.prepare_cached(
        "SELECT (slot - ?1) / ?3, function, sum(runs), sum(write_units), sum(read_units), sum(sqs_requests), \
         sum(invocations), sum(attempts), sum(executed_ms), sum(saved_steps), sum(saved_ms), sum(saved_tokens), \
         sum(input_tokens), sum(output_tokens), sum(ai_micro_dollars), sum(unpriced) FROM run_costs \
         WHERE slot >= ?1 AND slot < ?2 AND (?4 IS NULL OR function = ?4) GROUP BY 1, 2",
    )?;
    let sums = sums.query_map(params![query.first, end, query.slots_per_step, query.function], sum)?;
    Ok(sums.collect::<rusqlite::Result<_>>()?)
}

fn sum(row: &Row<'_>) -> rusqlite::Result<CostSum> {
    let n = |at: usize| row.get::<_, i64>(at).map(|n| u64::try_from(n).unwrap_or(0));
    Ok(CostSum {
        step: usize::try_from(row.get::<_, i64>(0)?).unwrap_or(0),
        function: row.get(1)?,
        runs: n(2)?,
        cost: RunCost {
            write_units: n(3)?,
            read_units: n(4)?,
            sqs_requests: n(5)?,
            invocations: n(6)?,
            attempts: n(7)?,
            executed: Duration::from_millis(n(8)?),
            saved_steps: n(9)?,
            saved_time: Duration::from_millis(n(10)?),
            saved_tokens: n(11)?,
            input_tokens: n(12)?,
            output_tokens: n(13)?,
            ai_microdollars: n(14)?,
            unpriced: n(15)? > 0,
        },
    })
}

/// Deletes old sums.
pub(crate) fn prune(db: &Connection, now: Timestamp) -> Result<usize, SqliteError> {
    let oldest = CostQuery::slot_of(now - KEPT);
    Ok(db.prepare_cached("DELETE FROM run_costs WHERE slot < ?1")?.execute([oldest])?)
}
