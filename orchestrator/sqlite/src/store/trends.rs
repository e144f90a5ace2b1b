//! Counts of what runs did, in slots of five minutes. They change in the transactions that create,
//! start and end runs, so each run counts once.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};
use stepladder_core::{Entry, RunId, Status, Timestamp};
use stepladder_engine::ports::{DurationBin, TrendCount, TrendCounts, TrendKind, TrendQuery, UnstartedRuns};

use crate::error::SqliteError;
use crate::writer::WriteTransaction;

/// How long counts are kept.
const KEPT: Duration = Duration::from_secs(8 * 24 * 60 * 60);

/// What a record changes in the counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RecordTrends {
    /// The time of the handler's first request in the record.
    starts: Option<Timestamp>,
    /// The price and the tokens of models, with the time of the last entry that used one.
    usage: Option<(Timestamp, [u64; 3])>,
}

impl RecordTrends {
    pub(super) fn of(entries: &[Entry]) -> Self {
        let mut usage: Option<(Timestamp, [u64; 3])> = None;
        for entry in entries {
            for used in entry.fact.report().into_iter().flat_map(|report| &report.usage) {
                let (at, sums) = usage.get_or_insert((entry.at, [0; 3]));
                *at = entry.at;
                let more = [used.micro_dollars.unwrap_or(0), used.input_tokens, used.output_tokens];
                sums.iter_mut().zip(more).for_each(|(sum, n)| *sum = sum.saturating_add(n));
            }
        }
        let starts = entries.iter().find(|entry| entry.fact.is_requested_by_handler()).map(|entry| entry.at);
        Self { starts, usage }
    }

    /// Counts the start of a run, if the record is the first that contains one, and the usage of
    /// models.
    pub(super) fn apply(self, db: &WriteTransaction<'_>, run: RunId) -> Result<(), SqliteError> {
        if let Some(at) = self.starts {
            let mut row = db.statement(
                "UPDATE runs SET started_at = ?2 WHERE run = ?1 AND started_at IS NULL RETURNING function, created_at",
            )?;
            let first: Option<(Arc<str>, i64)> =
                row.query_row((run.to_bytes(), at.as_millis()), |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            if let Some((function, created_at)) = first {
                let waited = at.since(Timestamp::from_millis(created_at));
                add(db, at, &function, TrendKind::Started, DurationBin::of(waited), 1)?;
            }
        }
        if let Some((at, sums)) = self.usage {
            let mut row = db.statement("SELECT function FROM runs WHERE run = ?1")?;
            let function: Option<Arc<str>> = row.query_row([run.to_bytes()], |row| row.get(0)).optional()?;
            let kinds = [TrendKind::AiMicroDollars, TrendKind::InputTokens, TrendKind::OutputTokens];
            for (kind, n) in kinds.into_iter().zip(sums).filter(|(_, n)| *n > 0) {
                let function = function.as_deref().unwrap_or_default();
                add(db, at, function, kind, DurationBin::default(), n)?;
            }
        }
        Ok(())
    }
}

/// Counts a new run.
pub(super) fn count_created(db: &WriteTransaction<'_>, function: &str, at: Timestamp) -> Result<(), SqliteError> {
    add(db, at, function, TrendKind::Created, DurationBin::default(), 1)
}

/// Counts the end of a run.
pub(super) fn count_ended(
    db: &WriteTransaction<'_>,
    function: &str,
    created_at: Timestamp,
    is_started: bool,
    (at, status): (Timestamp, Status),
) -> Result<(), SqliteError> {
    let took = DurationBin::of(at.since(created_at));
    let (kind, bin) = match status {
        Status::Completed => (TrendKind::Completed, took),
        Status::Failed => (TrendKind::Failed, took),
        Status::Cancelled => (TrendKind::Cancelled, took),
        Status::Skipped => (TrendKind::Skipped, DurationBin::default()),
        Status::Scheduled | Status::Running => return Ok(()),
    };
    add(db, at, function, kind, bin, 1)?;
    match is_started {
        true => Ok(()),
        false => add(db, at, function, TrendKind::Unstarted, DurationBin::default(), 1),
    }
}

fn add(
    db: &WriteTransaction<'_>,
    at: Timestamp,
    function: &str,
    kind: TrendKind,
    bin: DurationBin,
    n: u64,
) -> Result<(), SqliteError> {
    let n = i64::try_from(n).unwrap_or(i64::MAX);
    db.statement(
        "INSERT INTO trends (slot, function, kind, bin, n) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT DO UPDATE SET n = n + excluded.n",
    )?
    .execute((TrendQuery::slot_of(at), function, kind.number(), bin.0, n))?;
    Ok(())
}

/// Reads the counts of a query.
pub(super) fn read(db: &Connection, query: &TrendQuery) -> Result<TrendCounts, SqliteError> {
    let first = TrendQuery::slot_of(query.from);
    let per_step = query.slots_per_step();
    let end = first + per_step * i64::try_from(query.steps).unwrap_or(i64::MAX / per_step / 2);
    let mut counts = db.prepare_cached(
        "SELECT (slot - ?1) / ?3, function, kind, bin, sum(n) FROM trends \
         WHERE slot >= ?1 AND slot < ?2 AND (?4 IS NULL OR function = ?4) GROUP BY 1, 2, 3, 4",
    )?;
    let counts = counts.query_map((first, end, per_step, &query.function), |row| {
        let (step, kind, n): (i64, i64, i64) = (row.get(0)?, row.get(2)?, row.get(4)?);
        let kind = usize::try_from(kind).ok().and_then(|kind| TrendKind::ALL.get(kind)).copied();
        let count = |kind| {
            let (step, n) = (usize::try_from(step).unwrap_or(0), u64::try_from(n).unwrap_or(0));
            Ok(TrendCount { step, function: row.get(1)?, kind, bin: DurationBin(row.get(3)?), n })
        };
        // a later version may count more
        kind.map(count).transpose()
    })?;
    let counts = counts.filter_map(Result::transpose).collect::<rusqlite::Result<_>>()?;
    let mut unstarted = db.prepare_cached(
        "SELECT function, count(*), min(run) FROM runs INDEXED BY runs_unstarted WHERE status IS NULL AND started_at IS NULL \
         AND (?1 IS NULL OR function = ?1) GROUP BY function",
    )?;
    let unstarted = unstarted.query_map([&query.function], |row| {
        let runs = u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0);
        Ok(UnstartedRuns { function: row.get(0)?, runs, oldest: RunId::from_bytes(row.get(2)?) })
    })?;
    Ok(TrendCounts { counts, unstarted: unstarted.collect::<rusqlite::Result<_>>()? })
}

/// Deletes old counts.
pub(crate) fn prune(db: &Connection, now: Timestamp) -> Result<usize, SqliteError> {
    let oldest = TrendQuery::slot_of(now - KEPT);
    Ok(db.prepare_cached("DELETE FROM trends WHERE slot < ?1")?.execute([oldest])?)
}
