//! How the engine itself is doing, for people who look.

use futures::future::try_join_all;
use stepladder_core::{RunId, StepId, Timer, Timestamp};

use super::{Engine, EngineError};
use crate::ports::Backlog;

/// Minutes ahead whose timers are shown, and behind where the sweep has not been.
const MINUTES: i64 = 5;

/// What waits, what executes, and what is still to come.
#[derive(Clone, Debug)]
pub struct Health {
    /// What waits in this process; `None` where the queue is a service of its own.
    pub backlog: Option<Backlog>,
    /// Bodies that execute in this process, the oldest first.
    pub executing: Vec<Executing>,
    /// All timers before this were sent; `None` before the first sweep that sent any.
    pub swept_to: Option<Timestamp>,
    /// Timers of the last and the next few minutes that the sweep's cursor is not past, soonest first.
    pub timers: Vec<Timer>,
}

/// A body.
#[derive(Clone, Debug)]
pub struct Executing {
    /// Of which run.
    pub run: RunId,
    /// Of which step.
    pub step: StepId,
    /// Of which attempt.
    pub attempt: u32,
    /// Since when.
    pub since: Timestamp,
}

impl Engine {
    /// Looks: the cursor, and at most 11 minutes of timers.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub async fn health(&self) -> Result<Health, EngineError> {
        let now = self.now().minute();
        let cursor = self.backend.cursor().await?;
        let from = cursor.as_ref().map_or(now - MINUTES, |cursor| cursor.minute.clamp(now - MINUTES, now));
        let buckets = try_join_all((from..=now + MINUTES).map(|minute| self.backend.bucket(minute))).await?;
        let mut timers = buckets.concat();
        timers.sort_by_key(|timer| (timer.due, timer.run));
        Ok(Health {
            backlog: self.backlog(),
            executing: self.bodies.executing(),
            swept_to: cursor.map(|cursor| Timestamp::of_minute(cursor.minute)),
            timers,
        })
    }
}
