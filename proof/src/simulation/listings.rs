//! Stale listings, as in a store that keeps its listings in an index with a delay.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use stepladder_core::{Event, EventId, RunId, RunRow};
use stepladder_engine::ports::{Listings, RunQuery, StoreResult};
use stepladder_testkit::memory::Memory;

use super::invariants::rows;

/// The listings of the store in memory, either current or frozen at an earlier moment.
pub(crate) struct LaggingListings {
    memory: Arc<Memory>,
    stands: Mutex<Option<Vec<RunRow>>>,
}

impl LaggingListings {
    pub(crate) fn new(memory: Arc<Memory>) -> Self {
        Self { memory, stands: Mutex::default() }
    }

    /// Freezes the listings, or unfreezes them if they are frozen. Returns whether they are frozen
    /// now.
    pub(crate) fn stand_still_or_go_on(&self) -> bool {
        let mut stands = self.stands.lock().expect("no panic");
        *stands = if stands.is_none() { Some(rows(&self.memory)) } else { None };
        stands.is_some()
    }

    pub(crate) fn go_on(&self) {
        *self.stands.lock().expect("no panic") = None;
    }

    fn frozen_listing<T>(&self, of: impl FnOnce(&[RunRow]) -> T) -> Option<T> {
        self.stands.lock().expect("no panic").as_deref().map(of)
    }
}

#[async_trait]
impl Listings for LaggingListings {
    async fn runs(&self, query: RunQuery) -> StoreResult<Vec<RunRow>> {
        let is_shown = |row: &&RunRow| {
            let is_of = query.function.as_ref().is_none_or(|function| **function == *row.function);
            is_of
                && query.status.includes(row)
                && query.before.is_none_or(|before| row.run < before)
                && query.from.is_none_or(|from| row.run >= from)
        };
        match self.frozen_listing(|rows| rows.iter().filter(is_shown).take(query.limit).cloned().collect()) {
            Some(rows) => Ok(rows),
            None => self.memory.runs(query).await,
        }
    }

    async fn events(&self, before: Option<EventId>, limit: usize) -> StoreResult<Vec<Event>> {
        self.memory.events(before, limit).await
    }

    async fn runs_of(&self, event: EventId) -> StoreResult<Vec<RunRow>> {
        let of = |rows: &[RunRow]| rows.iter().rev().filter(|row| row.event == event).cloned().collect();
        match self.frozen_listing(of) {
            Some(rows) => Ok(rows),
            None => self.memory.runs_of(event).await,
        }
    }

    async fn row(&self, run: RunId) -> StoreResult<Option<RunRow>> {
        match self.frozen_listing(|rows| rows.iter().find(|row| row.run == run).cloned()) {
            Some(row) => Ok(row),
            None => self.memory.row(run).await,
        }
    }
}
