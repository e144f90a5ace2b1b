//! The queue of wakes, and what is received from it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use stepladder_core::{EventId, Timestamp, Wake};

use super::StoreResult;

/// The delay that every queue supports: a sweep sends the wake of a cron tick up to 13 minutes early,
/// because the tick may have a jitter of 10 minutes.
pub const MIN_DELAY: Duration = Duration::from_secs(13 * 60);

/// Delivers wakes.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Waits for wakes and returns at most `max`. Each wake stays invisible for `visibility`, and
    /// is delivered again if it is not acknowledged by then.
    async fn receive(&self, max: usize, visibility: Duration) -> StoreResult<Vec<Delivery>>;

    /// Returns the longest delay of a wake, at least [`MIN_DELAY`]. The engine stores a later wake as a
    /// timer.
    fn max_delay(&self) -> Duration;

    /// Returns what waits in the memory of this process. The engine asks with each request that
    /// creates runs, so it must cost no more than reading a few counters. Returns `None` by
    /// default, for a queue that is a separate service.
    fn backlog(&self) -> Option<Backlog> {
        None
    }

    /// Makes a wake visible again at `due`, if it would become visible later. The engine calls this
    /// when writes to the store fail, so it must not need the store. Returns whether the queue
    /// supports this; `false` by default. A queue that gives up a wake after a number of deliveries
    /// must return `false`.
    async fn put_back(&self, receipt: &Receipt, due: Timestamp) -> StoreResult<bool> {
        let _ = (receipt, due);
        Ok(false)
    }

    /// Sends a message with the ids of stored events. The process that receives it applies the
    /// events. Returns whether the queue supports this; `false` by default.
    async fn postpone(&self, events: Vec<EventId>) -> StoreResult<bool> {
        let _ = events;
        Ok(false)
    }
}

/// The work that waits, and the work done since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Wakes that are due and not received yet: late work.
    pub due: usize,
    /// Everything else in memory: wakes due later, wakes being served, and tickets.
    pub waiting: usize,
    /// Wakes acknowledged since the process started. The rate is the difference of two readings.
    pub served: u64,
}

/// A received wake.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The wake.
    pub wake: Wake,
    /// Acknowledges the wake.
    pub receipt: Receipt,
    /// How often it has been delivered, including this time.
    pub receives: u32,
}

/// Identifies one delivery to its queue. Only the adapter that created it can read it. Every adapter
/// skips the receipts of others.
#[derive(Clone)]
pub struct Receipt(Arc<dyn Any + Send + Sync>);

impl Receipt {
    /// Creates a receipt from the adapter's own value, whose type no other adapter uses.
    pub fn new(value: impl Any + Send + Sync) -> Self {
        Self(Arc::new(value))
    }

    /// Returns the value; `None` if the receipt was created from another type.
    pub fn value<T: Any>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receipt")
    }
}
