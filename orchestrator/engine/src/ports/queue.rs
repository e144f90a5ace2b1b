//! The queue of wakes, and the deliveries that are received from it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use stepladder_core::{EventId, Timestamp, Wake};

use super::StoreResult;

/// The delay that every queue must support. A sweep sends the wake of a cron tick up to 13 minutes
/// early, because the tick may have a jitter of 10 minutes.
pub const MIN_DELAY: Duration = Duration::from_secs(13 * 60);

/// Delivers wakes to workers.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Waits for wakes, and returns at most `max` of them. Each returned wake stays invisible for
    /// `visibility`, and is delivered again if it is not acknowledged by then.
    async fn receive(&self, max: usize, visibility: Duration) -> StoreResult<Vec<Delivery>>;

    /// Returns the maximum delay of a wake, which is at least [`MIN_DELAY`]. The engine stores a
    /// later wake as a timer.
    fn max_delay(&self) -> Duration;

    /// Returns the amount of work that waits in the memory of this process. The engine calls this
    /// for every request that creates runs, so it must cost no more than reading a few counters.
    /// Returns `None` by default, for a queue that is a separate service.
    fn backlog(&self) -> Option<Backlog> {
        None
    }

    /// Makes a wake visible again at `due`, if it would otherwise become visible later. The engine
    /// calls this when the store fails, so it must not need the store. Returns whether the queue
    /// supports this; by default `false`. A queue that gives up a wake after a number of deliveries
    /// must return `false`.
    async fn put_back(&self, receipt: &Receipt, due: Timestamp) -> StoreResult<bool> {
        let _ = (receipt, due);
        Ok(false)
    }

    /// Sends a message with the ids of stored events. The process that receives the message starts
    /// the runs of these events. Returns whether the queue supports this; by default `false`.
    async fn postpone(&self, events: Vec<EventId>) -> StoreResult<bool> {
        let _ = events;
        Ok(false)
    }
}

/// The amount of waiting work, and of the work done since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// The number of wakes that are due but not received yet: late work.
    pub due: usize,
    /// The number of all other items in memory: wakes that are due later, wakes being handled, and
    /// tickets.
    pub waiting: usize,
    /// The number of wakes that were acknowledged since the process started. The difference of two
    /// readings is the rate.
    pub served: u64,
}

/// A received wake.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The wake that was received.
    pub wake: Wake,
    /// The receipt with which the wake is acknowledged.
    pub receipt: Receipt,
    /// How often the wake was delivered, including this delivery.
    pub receives: u32,
}

/// Identifies one delivery to its queue. Only the adapter that created a receipt can read it. An
/// adapter ignores the receipts of other adapters.
#[derive(Clone)]
pub struct Receipt(Arc<dyn Any + Send + Sync>);

impl Receipt {
    /// Creates a receipt from a value of a type that only this adapter uses.
    pub fn new(value: impl Any + Send + Sync) -> Self {
        Self(Arc::new(value))
    }

    /// Returns the value of the receipt; `None` if it was created from another type.
    pub fn value<T: Any>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receipt")
    }
}
