//! The health of the engine: what waits, what executes, and what is due.

use futures::{StreamExt, stream};
use stepladder_core::{Timer, Timestamp};

use crate::EngineError;
use crate::hop::RunningBody;
use crate::ports::Backlog;
use crate::query::Query;

/// How many minutes ahead timers are shown, and at most how many behind.
const MINUTES: i64 = 5;
/// Maximum number of timers that are shown.
pub const MAX_TIMERS: usize = 200;
/// Minutes that are read at the same time.
const READS: usize = 4;

/// What waits, what executes, and what is due.
#[derive(Clone, Debug)]
pub struct Health {
    /// What waits in this process; `None` if the queue is a service of its own.
    pub backlog: Option<Backlog>,
    /// Bodies that execute in this process, oldest first.
    pub executing: Vec<RunningBody>,
    /// The time up to which all timers are sent; `None` before the first sweep.
    pub swept_to: Option<Timestamp>,
    /// Timers of the last and the next five minutes that the sweep has not passed, soonest first; at
    /// most [`MAX_TIMERS`].
    pub timers: Vec<Timer>,
    /// Whether there are more timers.
    pub more_timers: bool,
}

impl Query {
    /// Reads the cursor, and the timers of at most 11 minutes. Timers that cannot be read are left
    /// out; the sweep reports them.
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
