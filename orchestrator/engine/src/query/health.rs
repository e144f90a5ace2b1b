//! How the engine itself is doing, for people who look.

use futures::{StreamExt, stream};
use stepladder_core::{Timer, Timestamp};

use crate::EngineError;
use crate::hop::RunningBody;
use crate::ports::Backlog;
use crate::query::Query;

/// Minutes ahead whose timers are shown, and behind where the sweep has not been.
const MINUTES: i64 = 5;
/// Timers that are looked at, at most.
pub const MAX_TIMERS: usize = 200;
/// Minutes that are read at a time.
const READS: usize = 4;

/// What waits, what executes, and what is still to come.
#[derive(Clone, Debug)]
pub struct Health {
    /// What waits in this process; `None` where the queue is a service of its own.
    pub backlog: Option<Backlog>,
    /// Bodies that execute in this process, the oldest first.
    pub executing: Vec<RunningBody>,
    /// All timers before this were sent; `None` before the first sweep that sent any.
    pub swept_to: Option<Timestamp>,
    /// Timers of the last and the next few minutes that the sweep's cursor is not past, soonest
    /// first; [`MAX_TIMERS`] at most.
    pub timers: Vec<Timer>,
    /// Whether there are more of them.
    pub more_timers: bool,
}

impl Query {
    /// Looks: the cursor, and the timers of at most 11 minutes until there are enough. The sweep
    /// reports those that cannot be read.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub async fn health(&self) -> Result<Health, EngineError> {
        let now = self.runtime.now().minute();
        let cursor = self.runtime.backend.cursor().await?;
        let from = cursor.as_ref().map_or(now - MINUTES, |cursor| cursor.minute.clamp(now - MINUTES, now));
        let reads =
            (from..=now + MINUTES).map(async |minute| self.runtime.backend.bucket(minute, MAX_TIMERS + 1).await);
        let mut buckets = stream::iter(reads).buffered(READS);
        let mut timers = Vec::new();
        while let Some(bucket) = buckets.next().await {
            timers.extend(bucket?.into_iter().flatten());
            if timers.len() > MAX_TIMERS {
                break;
            }
        }
        timers.sort_by_key(|timer| (timer.due, timer.run));
        let more_timers = timers.len() > MAX_TIMERS;
        timers.truncate(MAX_TIMERS);
        Ok(Health {
            backlog: self.backlog(),
            executing: self.bodies.executing(),
            swept_to: cursor.map(|cursor| Timestamp::of_minute(cursor.minute)),
            timers,
            more_timers,
        })
    }
}
