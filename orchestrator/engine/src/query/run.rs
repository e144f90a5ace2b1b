//! Queries of one run: the run in full, the run as it was after any entry, and its journal.

use std::sync::Arc;

use stepladder_core::journal::{Record, Seq};
use stepladder_core::state::RunState;
use stepladder_core::{Entry, RunId};

use crate::engine::{EngineError, no_such_run};
use crate::ports::StoreError;
use crate::query::Query;
use crate::query::view::{JournalPage, RunDetail, RunTimeline};

/// A run as it was after some of its journal entries, with these entries.
#[derive(Clone, Debug)]
pub struct RunAtEntry {
    /// The run as it was after these entries.
    pub detail: RunDetail,
    /// The entries, with their numbers from 0.
    pub entries: Vec<(Seq, Entry)>,
    /// The number of all entries that the run has now.
    pub total: Seq,
}

impl Query {
    /// Returns a run in full, as it is now.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] for an unknown run; [`EngineError::Store`].
    pub async fn run(&self, run: RunId) -> Result<RunDetail, EngineError> {
        Ok(self.run_at(run, None).await?.detail)
    }

    /// Returns a run as it was after its first `at` entries, or as it is now. A run in the past has
    /// no [`waiting`](RunDetail::waiting) and no callback tokens.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] for an unknown run; [`EngineError::Store`].
    pub async fn run_at(&self, run: RunId, at: Option<Seq>) -> Result<RunAtEntry, EngineError> {
        let mut records = self.read_records(run).await?;
        let total = records.last().map_or(0, Record::next);
        let past = at.filter(|at| *at < total);
        if let Some(at) = past {
            truncate_records(&mut records, at.max(1));
        }
        let state = RunState::fold(run, &records).map_err(StoreError::unreadable)?;
        let mut timeline = RunTimeline::from_records(&state, &records);
        let waiting = match past {
            Some(_) => None,
            None => self.describe_wait(&state).await?,
        };
        if past.is_some() {
            // the token is removed, because the callback that the run waited for at that time may
            // have arrived since
            timeline.steps.iter_mut().for_each(|step| step.token = None);
        }
        let detail = RunDetail::of(&state, timeline, waiting);
        Ok(RunAtEntry { detail, entries: numbered_entries(records).collect(), total })
    }

    /// Returns the state of a run, for an executor that asks for the outcomes of the run.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] for an unknown run; [`EngineError::Store`].
    pub async fn state(&self, run: RunId) -> Result<Arc<RunState>, EngineError> {
        self.runs.state(run).await?.ok_or_else(|| no_such_run(run))
    }

    /// Returns a page of a run's journal, from the entry `from` on.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] for an unknown run; [`EngineError::Store`].
    pub async fn journal(&self, run: RunId, from: Seq, limit: usize) -> Result<JournalPage, EngineError> {
        // all records are read, because a record may start before `from` and contain later entries
        let all = numbered_entries(self.read_records(run).await?);
        let mut entries: Vec<_> = all.filter(|(seq, _)| *seq >= from).take(limit.saturating_add(1)).collect();
        let next = (entries.len() > limit).then(|| entries[limit].0);
        entries.truncate(limit);
        Ok(JournalPage { entries, next })
    }

    /// Returns the number of entries of a run. Only entries from `from` on are read, because the
    /// caller knows the ones before. For an unknown run, returns `from`.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub async fn entries_since(&self, run: RunId, from: Seq) -> Result<Seq, EngineError> {
        Ok(self.runtime.backend.read(run, from).await?.last().map_or(from, Record::next))
    }

    async fn read_records(&self, run: RunId) -> Result<Vec<Record>, EngineError> {
        let records = self.runtime.backend.read(run, 0).await?;
        if records.is_empty() { Err(no_such_run(run)) } else { Ok(records) }
    }
}

/// Returns the entries in the records, each with its number.
fn numbered_entries(records: Vec<Record>) -> impl Iterator<Item = (Seq, Entry)> {
    records.into_iter().flat_map(|record| (record.seq..).zip(record.entries))
}

/// Keeps the first `n` entries.
fn truncate_records(records: &mut Vec<Record>, n: Seq) {
    records.retain(|record| record.seq < n);
    if let Some(last) = records.last_mut() {
        last.entries.truncate(usize::try_from(n - last.seq).unwrap_or(usize::MAX));
    }
}
