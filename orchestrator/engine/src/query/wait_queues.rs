//! The limits of a function: which runs hold slots, and which runs wait in the queues of these
//! limits.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use stepladder_core::Timestamp;
use stepladder_core::slot::{HeldSlot, Limit, Ticket};
use stepladder_core::spec::LazyExprScope;

use crate::EngineError;
use crate::ports::{RunQuery, RunStatusFilter, Snapshot, SnapshotParts};
use crate::query::Query;

/// The maximum number of live runs that are searched for limits.
const RUNS: usize = 30;
/// The maximum number of limits that are shown.
const LIMITS: usize = 10;
/// The maximum number of tickets of a wait queue that are shown.
pub const MAX_TICKETS: usize = 20;

/// A limit with its held slots and its wait queue.
#[derive(Clone, Debug)]
pub struct WaitQueueView {
    /// The limit.
    pub limit: Limit,
    /// The held slots with a lease that has not expired.
    pub held: Vec<HeldSlot>,
    /// The first tickets of the wait queue, at most [`MAX_TICKETS`].
    pub tickets: Vec<Ticket>,
}

impl Query {
    /// Returns the limits that apply to the newest live runs of a function. Reads at most 30
    /// journals and 10 wait queues.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] for a function that is not registered; [`EngineError::Store`].
    pub async fn wait_queues_of(&self, function: &str) -> Result<Vec<WaitQueueView>, EngineError> {
        let catalog = self.runtime.snapshot();
        let Some(spec) = catalog.spec(function) else {
            return Err(EngineError::NotFound(format!("there is no function `{function}`")));
        };
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
            // a limit has no wait queue if its key cannot be evaluated, because the run has failed
            // for this reason
            let scope = &mut LazyExprScope::new(&state.created.event);
            let (of_runs, of_steps) = (spec.run_limits(scope), spec.limits(scope));
            let of_event = of_runs.into_iter().chain(of_steps).flatten();
            limits.extend(of_event.map(|limit| (limit.key.clone(), limit)));
        }
        let now = self.runtime.now();
        try_join_all(limits.into_values().take(LIMITS).map(|limit| self.wait_queue_of(limit, now))).await
    }

    async fn wait_queue_of(&self, limit: Limit, now: Timestamp) -> Result<WaitQueueView, EngineError> {
        let parts = SnapshotParts { holders: true, first: MAX_TICKETS, ..SnapshotParts::default() };
        let Snapshot { holders: mut held, first: tickets, .. } =
            self.runtime.backend.snapshot(&limit.key, parts).await?;
        held.retain(|slot| slot.lease_until > now);
        Ok(WaitQueueView { limit, held, tickets })
    }
}
