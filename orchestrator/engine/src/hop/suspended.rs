//! Executions that hops left open. The next hop of the run continues one of them, instead of
//! replaying all outcomes.
//!
//! An execution is only a copy of what a replay of the journal would rebuild. It is used if it
//! belongs to the same version and attempt of the handler, and has seen no more outcomes than the
//! journal contains. It is dropped if memory is short, or if no hop needs it for a while.

use std::time::Duration;

use stepladder_core::hop::Opening;
use stepladder_core::{RunId, Timestamp};

use crate::executor::Execution;
use crate::runs::RunCache;

/// How long an execution is kept while no hop needs it. What its function holds, such as a
/// connection, is not released before.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// The number of outcomes from which an execution is kept. A replay of fewer outcomes costs little,
/// and most runs that sleep have fewer.
const MIN_OUTCOMES: usize = 16;

pub(crate) struct SuspendedExecutions(RunCache<Suspended>);

struct Suspended {
    execution: Box<dyn Execution>,
    opening: Opening,
    /// The number of outcomes in the journal that the execution has seen.
    seen: usize,
    since: Timestamp,
}

impl SuspendedExecutions {
    /// Creates an empty set of executions, which may use this many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        Self(RunCache::new(bytes))
    }

    /// Keeps an execution that has seen this many outcomes of the run's journal.
    pub(crate) fn keep(
        &self,
        run: RunId,
        execution: Box<dyn Execution>,
        opening: Opening,
        seen: usize,
        now: Timestamp,
    ) {
        self.drop_idle(now);
        if seen < MIN_OUTCOMES {
            return;
        }
        if let Some(bytes) = execution.bytes_to_keep() {
            self.0.put(run, Suspended { execution, opening, seen, since: now }, bytes);
        }
    }

    /// Takes the execution of a run, with the number of outcomes that it has seen. Drops an
    /// execution that does not fit the journal.
    pub(crate) fn resume(&self, run: RunId, opening: &Opening) -> Option<(Box<dyn Execution>, usize)> {
        let Suspended { execution, opening: of, seen, .. } = self.0.take(run)?;
        let is_same = (&of.function, &of.version, of.attempt) == (&opening.function, &opening.version, opening.attempt);
        (is_same && seen <= opening.outcomes).then_some((execution, seen))
    }

    /// Drops the executions that no hop has needed for a while.
    pub(crate) fn drop_idle(&self, now: Timestamp) {
        self.0.drop_oldest_while(|suspended| now.since(suspended.since) > KEPT_FOR);
    }
}
