//! Listings of runs.

use async_trait::async_trait;
use rusqlite::{Connection, ToSql};
use stepladder_core::{Event, EventId, Label, Record, RunId, RunRow, Status};
use stepladder_engine::ports::{
    CostQuery, CostSum, Listings, RunQuery, RunStatusFilter, StoreResult, TrendCounts, TrendQuery,
};

use super::{costs, trends};
use crate::Sqlite;
use crate::error::SqliteError;
use crate::rows::{RUN_COLUMNS, from_json, record, run_row};

#[async_trait]
impl Listings for Sqlite {
    async fn runs(&self, query: RunQuery) -> StoreResult<Vec<RunRow>> {
        self.readers.list(move |db| runs(db, &query)).await
    }

    async fn events(&self, before: Option<EventId>, limit: usize) -> StoreResult<Vec<Event>> {
        self.readers
            .list(move |db| {
                // no id is larger, so the first page can use the same query as the others
                let before = before.map_or([u8::MAX; 16], EventId::to_bytes);
                let limit = i64::try_from(limit).unwrap_or(i64::MAX);
                let mut query =
                    db.prepare_cached("SELECT event FROM events WHERE id < ?1 ORDER BY id DESC LIMIT ?2")?;
                let mut found = query.query((before, limit))?;
                let mut events = Vec::new();
                while let Some(row) = found.next()? {
                    events.push(from_json(row, 0)?);
                }
                Ok(events)
            })
            .await
    }

    async fn runs_of(&self, event: EventId) -> StoreResult<Vec<RunRow>> {
        let sql = format!(
            "SELECT {RUN_COLUMNS} FROM runs WHERE event = ?1 \
             UNION SELECT {RUN_COLUMNS} FROM runs WHERE run IN (SELECT run FROM links WHERE event = ?1) \
             ORDER BY created_at, run"
        );
        self.readers.read(|db| query_rows(db, &sql, &[&event.to_bytes()]))
    }

    async fn resumed_by(&self, event: EventId) -> StoreResult<Vec<RunRow>> {
        let sql = format!(
            "SELECT {RUN_COLUMNS} FROM runs WHERE run IN (SELECT run FROM deliveries WHERE event = ?1) \
             ORDER BY created_at, run"
        );
        self.readers.read(|db| query_rows(db, &sql, &[&event.to_bytes()]))
    }

    async fn row(&self, run: RunId) -> StoreResult<Option<RunRow>> {
        let sql = format!("SELECT {RUN_COLUMNS} FROM runs WHERE run = ?1");
        self.readers.read(|db| Ok(query_rows(db, &sql, &[&run.to_bytes()])?.pop()))
    }

    async fn count_runs(&self, query: RunQuery) -> StoreResult<Option<Vec<(Option<Status>, usize)>>> {
        self.readers.list(move |db| count_runs(db, &query).map(Some)).await
    }

    async fn first_records(&self, runs: Vec<RunId>) -> StoreResult<Option<Vec<(RunId, Record)>>> {
        self.readers
            .list(move |db| {
                let mut query = db.prepare_cached(
                    "SELECT seq, token, code, entries FROM journal WHERE run = ?1 AND seq = 0 LIMIT 1",
                )?;
                let mut records = Vec::new();
                for run in runs {
                    let mut found = query.query([run.to_bytes()])?;
                    if let Some(row) = found.next()? {
                        records.push((run, record(row)?));
                    }
                }
                Ok(Some(records))
            })
            .await
    }

    async fn costs(&self, query: CostQuery) -> StoreResult<Option<Vec<CostSum>>> {
        self.readers.list(move |db| costs::read(db, &query).map(Some)).await
    }

    async fn trends(&self, query: TrendQuery) -> StoreResult<Option<TrendCounts>> {
        self.readers.list(move |db| trends::read(db, &query).map(Some)).await
    }

    async fn labels_of(&self, runs: Vec<RunId>) -> StoreResult<Option<Vec<(RunId, Label)>>> {
        self.readers
            .list(move |db| {
                let mut query = db.prepare_cached("SELECT key, value FROM labels WHERE run = ?1 ORDER BY key")?;
                let mut labels = Vec::new();
                for run in runs {
                    let of_run =
                        query.query_map([run.to_bytes()], |row| Ok(Label { key: row.get(0)?, value: row.get(1)? }))?;
                    for label in of_run {
                        labels.push((run, label?));
                    }
                }
                Ok(Some(labels))
            })
            .await
    }
}

fn runs(db: &Connection, query: &RunQuery) -> Result<Vec<RunRow>, SqliteError> {
    select_runs(query, RUN_COLUMNS, |sql, values| query_rows(db, sql, values))
}

/// Counts the newest rows of a query by status.
fn count_runs(db: &Connection, query: &RunQuery) -> Result<Vec<(Option<Status>, usize)>, SqliteError> {
    select_runs(query, "status", |sql, values| {
        let mut query = db.prepare_cached(&format!("SELECT status, count(*) FROM ({sql}) GROUP BY status"))?;
        let mut found = query.query(values)?;
        let mut counts = Vec::new();
        while let Some(row) = found.next()? {
            let status: Option<Box<str>> = row.get(0)?;
            let status = status.map(|status| status.parse().map_err(SqliteError::Unreadable)).transpose()?;
            counts.push((status, usize::try_from(row.get::<_, i64>(1)?).unwrap_or(0)));
        }
        Ok(counts)
    })
}

/// Calls `run` with the statement that selects these columns of a query's rows, newest first, and
/// with its values.
fn select_runs<T>(
    query: &RunQuery,
    columns: &str,
    run: impl FnOnce(&str, &[&dyn ToSql]) -> Result<T, SqliteError>,
) -> Result<T, SqliteError> {
    let before = query.before.map(RunId::to_bytes);
    let from = query.from.map(RunId::to_bytes);
    let status = match query.status {
        RunStatusFilter::Ended(status) => Some(status.to_string()),
        RunStatusFilter::All | RunStatusFilter::Live => None,
    };
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    let mut conditions = vec!["TRUE"];
    let mut values: Vec<&dyn ToSql> = Vec::new();
    if let Some(before) = &before {
        conditions.push("run < ?");
        values.push(before);
    }
    if let Some(from) = &from {
        conditions.push("run >= ?");
        values.push(from);
    }
    let mut table = "runs";
    if let Some(label) = &query.label {
        // the join reads the labels first: they are in the order of the listing
        table = "labels CROSS JOIN runs USING (run)";
        conditions.push("labels.key = ? AND labels.value = ?");
        values.extend([&label.key as &dyn ToSql, &label.value]);
    }
    if let Some(function) = &query.function {
        conditions.push("function = ?");
        values.push(function);
    }
    if let Some(status) = &status {
        conditions.push("status = ?");
        values.push(status);
    }
    if query.status == RunStatusFilter::Live {
        conditions.push("status IS NULL");
    }
    values.push(&limit);
    let conditions = conditions.join(" AND ");
    run(&format!("SELECT {columns} FROM {table} WHERE {conditions} ORDER BY run DESC LIMIT ?"), &values)
}

fn query_rows(db: &Connection, sql: &str, values: &[&dyn ToSql]) -> Result<Vec<RunRow>, SqliteError> {
    let mut query = db.prepare_cached(sql)?;
    let mut found = query.query(values)?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        rows.push(run_row(row)?);
    }
    Ok(rows)
}
