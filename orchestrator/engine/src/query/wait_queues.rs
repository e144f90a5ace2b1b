//! Who holds a function's slots and who stands in line for them, for people who look.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use stepladder_core::slot::{HeldSlot, Limit, Ticket};
use stepladder_core::spec::LazyScope;
use stepladder_core::{RunRow, Timestamp};

use crate::EngineError;
use crate::ports::{RunQuery, RunStatusFilter};
use crate::query::Query;

/// Live runs whose events are looked at for the keys of their limits.
const RUNS: usize = 30;
/// Limits that are looked at.
const LIMITS: usize = 10;
/// Places of a line that are read.
pub const MAX_TICKETS: usize = 20;

/// One limit: its slots, and its line.
#[derive(Clone, Debug)]
pub struct WaitQueueView {
    /// Which.
    pub limit: Limit,
    /// Who holds a slot whose lease is not over.
    pub held: Vec<HeldSlot>,
    /// The first in line, at most [`MAX_TICKETS`].
    pub line: Vec<Ticket>,
}

impl Query {
    /// The newest runs of a function, by their rows alone.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub async fn rows_of(&self, function: &str, limit: usize) -> Result<Vec<RunRow>, EngineError> {
        let query = RunQuery { function: Some(function.to_owned()), limit, ..RunQuery::default() };
        Ok(self.runtime.backend.runs(query).await?)
    }

    /// The limits that the function's newest live runs fall under, with who holds and who waits.
    /// Reads at most 30 journals and 10 lines.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] for a function that is not registered; [`EngineError::Store`].
    pub async fn wait_queues_of(&self, function: &str) -> Result<Vec<WaitQueueView>, EngineError> {
        let Some(program) = self.runtime.program(function) else {
            return Err(EngineError::NotFound(format!("there is no function `{function}`")));
        };
        let spec = program.spec();
        if spec.concurrency.is_empty() {
            return Ok(Vec::new());
        }
        let query = RunQuery {
            function: Some(function.to_owned()),
            status: RunStatusFilter::Live,
            limit: RUNS,
            ..RunQuery::default()
        };
        let rows = self.runtime.backend.runs(query).await?;
        let states = try_join_all(rows.iter().map(|row| self.runs.state(row.run))).await?;
        let mut limits = BTreeMap::new();
        for state in states.into_iter().flatten() {
            // an event on which a key fails has no line: its run has failed for that
            let scope = &mut LazyScope::new(&state.created.event);
            let (of_runs, of_steps) = (spec.run_limits(scope), spec.limits(scope));
            let of_event = of_runs.into_iter().chain(of_steps).flatten();
            limits.extend(of_event.map(|limit| (limit.key.clone(), limit)));
        }
        let now = self.runtime.now();
        try_join_all(limits.into_values().take(LIMITS).map(|limit| self.wait_queue_of(limit, now))).await
    }

    async fn wait_queue_of(&self, limit: Limit, now: Timestamp) -> Result<WaitQueueView, EngineError> {
        let mut held = self.runtime.backend.holders(&limit).await?;
        held.retain(|holding| holding.lease_until > now);
        let line = self.runtime.backend.tickets(&limit, MAX_TICKETS).await?;
        Ok(WaitQueueView { limit, held, line })
    }
}
