//! The rows of the tables, and their conversion from and to the types of the core.

use std::sync::Arc;

use rusqlite::Row;
use serde::de::DeserializeOwned;
use stepladder_core::{Event, EventId, Record, RunId, RunRow, Timer, Timestamp};

use crate::error::SqliteError;

pub(crate) struct RecordRow {
    pub(crate) run: RunId,
    pub(crate) seq: i64,
    pub(crate) next: i64,
    pub(crate) token: [u8; 16],
    pub(crate) code: Arc<str>,
    pub(crate) entries: String,
}

impl RecordRow {
    pub(crate) fn new(run: RunId, record: &Record) -> Result<Self, SqliteError> {
        Ok(Self {
            run,
            seq: to_sql_integer(record.seq)?,
            next: to_sql_integer(record.next())?,
            token: record.token.to_be_bytes(),
            code: record.code.clone(),
            entries: serde_json::to_string(&record.entries)?,
        })
    }
}

/// Reads a journal record from the columns `seq, token, code, entries`.
pub(crate) fn record(row: &Row<'_>) -> Result<Record, SqliteError> {
    Ok(Record {
        seq: u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0),
        token: u128::from_be_bytes(row.get(1)?),
        code: row.get(2)?,
        entries: from_json(row, 3)?,
    })
}

pub(crate) struct TimerRow {
    pub(crate) minute: i64,
    pub(crate) due: i64,
    pub(crate) run: [u8; 16],
    pub(crate) purpose: String,
    pub(crate) timer: String,
}

impl TimerRow {
    pub(crate) fn new(timer: &Timer) -> Result<Self, SqliteError> {
        Ok(Self {
            minute: timer.due.minute(),
            due: timer.due.as_millis(),
            run: timer.run.to_bytes(),
            purpose: serde_json::to_string(&timer.purpose)?,
            timer: serde_json::to_string(timer)?,
        })
    }
}

pub(crate) struct EventRow {
    pub(crate) id: [u8; 16],
    pub(crate) external_id: Option<Arc<str>>,
    pub(crate) received_at: i64,
    pub(crate) event: String,
}

impl EventRow {
    pub(crate) fn new(event: &Event) -> Result<Self, SqliteError> {
        Ok(Self {
            id: event.id.to_bytes(),
            external_id: event.external_id.clone(),
            received_at: event.received_at.as_millis(),
            event: serde_json::to_string(event)?,
        })
    }
}

/// The columns that [`run_row`] reads.
pub(crate) const RUN_COLUMNS: &str = "run, function, event, created_at, ended_at, status";

pub(crate) fn run_row(row: &Row<'_>) -> Result<RunRow, SqliteError> {
    let status: Option<Box<str>> = row.get(5)?;
    let status = status.map(|status| status.parse().map_err(SqliteError::Unreadable)).transpose()?;
    let ended_at: Option<i64> = row.get(4)?;
    Ok(RunRow {
        run: RunId::from_bytes(row.get(0)?),
        function: row.get(1)?,
        event: EventId::from_bytes(row.get(2)?),
        created_at: Timestamp::from_millis(row.get(3)?),
        ended: ended_at.map(Timestamp::from_millis).zip(status),
    })
}

/// Reads a column that contains JSON.
pub(crate) fn from_json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T, SqliteError> {
    Ok(serde_json::from_str(row.get_ref(column)?.as_str()?)?)
}

fn to_sql_integer(n: u64) -> Result<i64, SqliteError> {
    i64::try_from(n).map_err(|_| SqliteError::Unreadable(format!("entry number {n} is too large")))
}
