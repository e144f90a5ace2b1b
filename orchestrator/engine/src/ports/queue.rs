//! The queue of wakes, and what is received from it.

use std::time::Duration;

use async_trait::async_trait;
use stepladder_core::{EventId, Timestamp, Wake};

use super::StoreResult;

/// Delivers wakes.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Waits for wakes and returns at most `max`. Each wake stays invisible for `visibility`, and
    /// is delivered again if it is not acknowledged by then.
    async fn receive(&self, max: usize, visibility: Duration) -> StoreResult<Vec<Delivery>>;

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

/// Identifies one delivery to its queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Receipt {
    /// A row of a local queue.
    Row(i64),
    /// A receipt handle of SQS.
    Handle(String),
    /// The wake came with an invocation of a Lambda function. The answer of the invocation
    /// acknowledges it. Adapters skip it in a commit.
    Invocation,
}
