//! Creates runs. All rows of all runs in one call are written in one transaction (rule 16).

use std::sync::Arc;

use async_trait::async_trait;
use stepladder_core::slot::{Limit, Ticket};
use stepladder_core::{Label, Record, RunId, RunRow};
use stepladder_engine::ports::{FlowStateChange, RunCreation, RunStart, StartResult, StoreResult};

use super::commits::{OutgoingWake, deliver_in_memory, insert_record, insert_wake};
use super::flow_states::{are_unchanged, write_flow_state};
use super::timers::set_timer;
use super::{costs, trends};
use crate::Sqlite;
use crate::error::SqliteError;
use crate::memory::MemoryState;
use crate::rows::{RecordRow, TimerRow};
use crate::writer::{Durability, WriteTransaction};

/// The part of a new run that is kept in memory once the rows of the run are committed.
pub(super) struct StartInMemory {
    run: RunId,
    record: Arc<Record>,
    wake: OutgoingWake,
    tickets: Vec<(Limit, Ticket)>,
}

pub(super) struct StartRows {
    row: RunRow,
    record: RecordRow,
    entries: Arc<Record>,
    watchdog: TimerRow,
    wake: (i64, i64, String),
    tickets: Vec<(Limit, Ticket, String)>,
    flow_state: Vec<FlowStateChange>,
    labels: Vec<Label>,
}

#[async_trait]
impl RunCreation for Sqlite {
    async fn create_runs(&self, starts: Vec<RunStart>) -> StoreResult<Vec<StartResult>> {
        let prepared: Result<Vec<_>, SqliteError> = starts.into_iter().map(|start| self.prepare(start)).collect();
        let (rows, in_memory): (Vec<_>, Vec<_>) = prepared.map_err(SqliteError::into_store_error)?.into_iter().unzip();
        let work = move |db: &WriteTransaction<'_>| {
            rows.iter().map(|start| insert_run(db, start)).collect::<Result<Vec<_>, _>>()
        };
        let after = move |results: &Vec<StartResult>, memory: &MemoryState| start_in_memory(in_memory, results, memory);
        self.writer.run(Durability::Synced, work, after).await
    }
}

impl Sqlite {
    pub(super) fn prepare(&self, start: RunStart) -> Result<(StartRows, StartInMemory), SqliteError> {
        let labels = start.labels().to_vec();
        let RunStart { row, record, watchdog, wake, tickets, flow_state } = start;
        let mut outgoing = self.outgoing_wake(wake, self.clock.now())?;
        let ticket = |(limit, ticket): &(Limit, Ticket)| {
            serde_json::to_string(ticket).map(|text| (limit.clone(), ticket.clone(), text))
        };
        let (run, entries) = (row.run, Arc::new(record));
        let rows = StartRows {
            record: RecordRow::new(run, &entries)?,
            entries: entries.clone(),
            row,
            watchdog: TimerRow::new(&watchdog)?,
            wake: outgoing.take_row(),
            tickets: tickets.iter().map(ticket).collect::<Result<_, _>>()?,
            flow_state,
            labels,
        };
        Ok((rows, StartInMemory { run, record: entries, wake: outgoing, tickets }))
    }
}

/// Puts new runs into memory and delivers their wakes, once their rows are committed.
pub(super) fn start_in_memory(starts: Vec<StartInMemory>, results: &[StartResult], memory: &MemoryState) {
    let mut wakes = Vec::with_capacity(starts.len());
    let new = starts.into_iter().zip(results).filter(|(_, result)| **result == StartResult::New);
    for (StartInMemory { run, record, wake, tickets }, _) in new {
        memory.journal_ends.record(run, record.next());
        memory.run_costs.count(run, &record);
        if !tickets.is_empty() {
            let mut queues = memory.wait_queues();
            for (limit, ticket) in tickets {
                queues.change(&limit.key, |queue| queue.enqueue(ticket));
            }
        }
        wakes.push(wake);
    }
    deliver_in_memory(wakes, &[], memory);
}

pub(super) fn insert_run(db: &WriteTransaction<'_>, start: &StartRows) -> Result<StartResult, SqliteError> {
    let StartRows { row, record, entries, watchdog, wake: (n, due, wake), tickets, flow_state, labels } = start;
    if !are_unchanged(db, flow_state)? {
        let exists = db.statement("SELECT 1 FROM runs WHERE run = ?1")?.exists([row.run.to_bytes()])?;
        return Ok(if exists { StartResult::Known } else { StartResult::Overtaken });
    }
    let mut runs = db.statement(
        "INSERT OR IGNORE INTO runs (run, function, event, created_at, ended_at, status) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let (ended_at, status) = row.ended.map(|(at, status)| (at.as_millis(), status.to_string())).unzip();
    let event = row.event.to_bytes();
    let new = (row.run.to_bytes(), &row.function, event, row.created_at.as_millis(), ended_at, status);
    if runs.execute(new)? == 0 {
        return Ok(StartResult::Known);
    }
    flow_state.iter().try_for_each(|state| write_flow_state(db, state))?;
    insert_record(db, record)?;
    trends::count_created(db, &row.function, row.created_at)?;
    if let Some(ended) = row.ended {
        trends::count_ended(db, &row.function, row.created_at, false, ended)?;
        costs::add_run(db, (row.run, &row.function), Some(entries), ended.0)?;
    }
    labels.iter().try_for_each(|label| insert_label(db, row.run, label))?;
    set_timer(db, watchdog)?;
    tickets.iter().try_for_each(|(limit, ticket, text)| insert_ticket(db, &limit.key, limit.slots, ticket, text))?;
    insert_wake(db, *n, *due, wake)?;
    Ok(StartResult::New)
}

/// Adds a label of a run to the index.
pub(super) fn insert_label(db: &WriteTransaction<'_>, run: RunId, label: &Label) -> Result<(), SqliteError> {
    let mut labels = db.statement("INSERT OR IGNORE INTO labels (key, value, run) VALUES (?1, ?2, ?3)")?;
    labels.execute((&label.key, &label.value, run.to_bytes()))?;
    Ok(())
}

/// Adds a ticket to a wait queue, unless its run or step already has one.
pub(super) fn insert_ticket(
    db: &WriteTransaction<'_>,
    queue: &str,
    slots: u32,
    ticket: &Ticket,
    text: &str,
) -> Result<(), SqliteError> {
    db.statement("INSERT OR IGNORE INTO places (key, run, step, slots, place) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute((queue, ticket.run.to_bytes(), ticket.of.as_stored(), slots, text))?;
    Ok(())
}
