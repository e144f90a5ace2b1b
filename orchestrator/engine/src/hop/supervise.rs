//! Watches the step bodies that this process executes. A body that does not stop at its timeout is
//! failed.
//!
//! A body that blocks its thread also blocks its own timer. A supervisor on a separate thread calls
//! [`Engine::expel_overdue`] regularly. It writes the failure in place of the blocked body, so that
//! the run continues (rule 29). A later outcome of the body is refused, because its attempt is no
//! longer the running one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stepladder_core::hop::{Attempt, OverdueAttempt, Write};
use stepladder_core::spec::LazyExprScope;
use stepladder_core::{RunId, StepId, Timestamp};

use crate::hop::Hops;
use crate::ports::{Commit, StoreError};
use crate::retries;
use crate::runs::AppendOutcome;

/// How long after its timeout a body counts as stuck. If the thread of the body is not blocked, the
/// body's own timer fires earlier.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long before the end of an invocation a body counts as stuck at the latest, because nothing
/// can be written after the end.
const LAST_CHANCE: Duration = Duration::from_secs(1);

/// A body that executes in this process.
#[derive(Clone, Debug)]
pub struct RunningBody {
    /// The run of the body.
    pub run: RunId,
    /// The step of the body.
    pub step: StepId,
    /// The number of the attempt.
    pub attempt: u32,
    /// When the body started.
    pub since: Timestamp,
}

/// The bodies that are executing in this process.
#[derive(Clone, Default)]
pub(crate) struct RunningBodies(Arc<Mutex<HashMap<u64, Body>>>);

#[derive(Clone)]
struct Body {
    attempt: Attempt,
    began: Timestamp,
    /// The time at which the body counts as stuck.
    stuck_at: Timestamp,
}

/// The entry of a body in the list. Dropping it removes the entry.
pub(crate) struct BodyWatch {
    bodies: RunningBodies,
    key: u64,
}

impl Drop for BodyWatch {
    fn drop(&mut self) {
        self.bodies.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl RunningBodies {
    /// Returns the number of executing bodies.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Returns the executing bodies, oldest first.
    pub(crate) fn executing(&self) -> Vec<RunningBody> {
        let bodies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |body: &Body| RunningBody {
            run: body.attempt.holder.run(),
            step: body.attempt.ready.step.clone(),
            attempt: body.attempt.ready.attempt,
            since: body.began,
        };
        let mut executing: Vec<RunningBody> = bodies.values().map(of).collect();
        executing.sort_by_key(|body| (body.since, body.run));
        executing
    }
}

impl Hops {
    /// Watches the body of an attempt, in an invocation that ends at `deadline`.
    pub(crate) fn watch(&self, attempt: &Attempt, deadline: Timestamp) -> BodyWatch {
        let key = self.runtime.entropy.bits() as u64;
        let stuck_at = (attempt.expires + PATIENCE).min(deadline - LAST_CHANCE).max(attempt.expires);
        let body = Body { attempt: attempt.clone(), began: self.runtime.now(), stuck_at };
        self.bodies.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, body);
        BodyWatch { bodies: self.bodies.clone(), key }
    }

    /// Fails the attempts with bodies that have not stopped at their timeout. Returns the steps of
    /// these attempts.
    ///
    /// # Errors
    /// [`StoreError`]. The next call retries what was not written.
    pub(crate) async fn expel_overdue(&self) -> Result<Vec<(RunId, StepId)>, StoreError> {
        let now = self.runtime.now();
        let overdue: HashMap<u64, Body> = {
            let bodies = self.bodies.0.lock().unwrap_or_else(PoisonError::into_inner);
            let overdue = bodies.iter().filter(|(_, body)| body.stuck_at < now);
            overdue.map(|(key, body)| (*key, body.clone())).collect()
        };
        let mut expelled = Vec::new();
        for (key, body) in overdue {
            // the call is not repeated here, because the supervisor's thread may have no timer, and
            // the next call comes within a second
            retries::run_within(self.runtime.clock.clone(), now, self.fail_overdue_body(&body)).await?;
            self.bodies.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            let Attempt { ready, holder, .. } = body.attempt;
            expelled.push((holder.run(), ready.step));
        }
        Ok(expelled)
    }

    async fn fail_overdue_body(&self, body: &Body) -> Result<(), StoreError> {
        let Attempt { ready, holder, lease_until, .. } = &body.attempt;
        let Some(state) = self.runs.state(holder.run()).await? else { return Ok(()) };
        let mut state = Arc::unwrap_or_clone(state);
        let limits = match self.runtime.snapshot().descriptions().for_run(&state) {
            Some(chosen) => {
                chosen.function.spec.limits(&mut LazyExprScope::new(&state.created.event)).unwrap_or_default()
            }
            None => Vec::new(),
        };
        let (limits, worker, lease_until) = (&limits[..], &*self.worker, *lease_until);
        let overdue = OverdueAttempt { ready, holder, limits, worker, lease_until };
        loop {
            let now = self.runtime.now();
            let seed = self.runtime.entropy.bits() as u64;
            let Some(write) = overdue.fail(&state, now, seed) else { break };
            let Write { before, entries, after, .. } = write;
            let mut commit = Commit { before, after, ..Commit::default() };
            match self.runs.append(&mut state, entries.clone(), &mut commit).await? {
                AppendOutcome::Conflict => continue,
                AppendOutcome::Done => {
                    entries.iter().for_each(|failed| {
                        crate::hop::log_attempt(&self.runtime.config, &state, failed, now.since(body.began))
                    });
                    break;
                }
                AppendOutcome::Refused => break,
            }
        }
        self.slots.promote(limits).await
    }
}
