//! The health of the engine: waiting work, executing bodies, and due timers.

use futures::{StreamExt, stream};
use stepladder_core::{Timer, Timestamp};

use crate::EngineError;
use crate::hop::RunningBody;
use crate::ports::Backlog;
use crate::query::Query;

/// The number of minutes before and after now for which timers are shown.
const MINUTES: i64 = 5;
/// The maximum number of timers that are shown.
pub const MAX_TIMERS: usize = 200;
/// The number of minutes for which timers are read concurrently.
const READS: usize = 4;

/// The health of the engine: waiting work, executing bodies, and due timers.
#[derive(Clone, Debug)]
pub struct Health {
    /// The amount of work that waits in this process; `None` if the queue is a separate service.
    pub backlog: Option<Backlog>,
    /// The bodies that are executing in this process, oldest first.
    pub executing: Vec<RunningBody>,
    /// The time up to which all timers were sent; `None` before the first sweep.
    pub swept_to: Option<Timestamp>,
    /// The timers of the last and the next five minutes that the sweep has not sent yet, soonest
    /// first; at most [`MAX_TIMERS`].
    pub timers: Vec<Timer>,
    /// Whether there are more timers than are shown.
    pub more_timers: bool,
}

/// How much this process has to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// The amount of work that waits in this process; `None` if the queue is a separate service.
    pub backlog: Option<Backlog>,
    /// The number of bodies that are executing in this process.
    pub executing: usize,
}

impl Query {
    /// Returns how much this process has to do, without reading the store.
    pub fn load(&self) -> Load {
        Load { backlog: self.backlog(), executing: self.bodies.count() }
    }

    /// Reads the cursor of the sweep, and the timers of at most 11 minutes. Timers that cannot be
    /// read are omitted, because the sweep reports them.
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
