//! Journals in DynamoDB, wakes in SQS: what the engine needs of storage and queue, on AWS.
//!
//! [`Aws`] implements the engine's ports over one table ([`layout`](self), every access pattern and its cost) and the
//! steps queue. Nothing of a commit but its append is conditional on anything, and only starts are transactions: a
//! commit is carried out in order (later wakes, append, what follows, wakes, acknowledgements) and may stop anywhere
//! between, as the ports allow.
//!
//! What is deliberately not here: the Lambda roles (the `stepladder` crate), and any decision about runs.

mod connect;
mod fault;
mod item;
mod layout;
mod queue;
mod store;
mod table;
mod value;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use stepladder_core::Timestamp;
use stepladder_engine::clock::Clock;

pub use connect::Connection;
#[cfg(feature = "people")]
pub use connect::connect;
pub use queue::address::{Addresses, Dedicated};
pub use queue::events::EventsMessage;
pub use queue::letters::{DeadLetter, Letters, MESSAGE_ID, Redriven, SENT_AT, What};
pub use queue::message::decode as decode_wake;

/// Storage and queue on AWS.
pub struct Aws {
    dynamo: aws_sdk_dynamodb::Client,
    sqs: aws_sdk_sqs::Client,
    table: String,
    queues: Addresses,
    clock: Arc<dyn Clock>,
    /// For how long items are kept after they were written.
    retention: Duration,
    trace: fn() -> Option<String>,
    /// Hours and days that this process has listed as having runs.
    listed: Mutex<std::collections::HashSet<layout::Key>>,
    /// By what events are waited for, as it was read lately.
    kinds: Mutex<Option<Arc<store::kinds::Kinds>>>,
    /// Of that, what this process has waited for others to know.
    spread: Mutex<std::collections::HashSet<layout::Key>>,
}

/// How to use the table and the queues.
pub struct Options {
    /// The table's name.
    pub table: String,
    /// Where wakes go.
    pub queues: Addresses,
    /// The time; the system's, but in tests.
    pub clock: Arc<dyn Clock>,
    /// How long a run's items are kept after they were written. A run that lives longer has them renewed.
    pub retention: Duration,
    /// The trace header of the current task, passed on with each wake.
    pub trace: fn() -> Option<String>,
}

/// Kept beyond the retention: deletion by TTL is "within a few days", and clocks differ.
const MARGIN: Duration = Duration::from_secs(2 * 86_400);

impl Aws {
    /// Over a connection.
    pub fn new(connection: &Connection, options: Options) -> Self {
        let Options { table, queues, clock, retention, trace } = options;
        let Connection { dynamo, sqs } = connection.clone();
        Self {
            dynamo,
            sqs,
            table,
            queues,
            clock,
            retention,
            trace,
            listed: Mutex::default(),
            kinds: Mutex::default(),
            spread: Mutex::default(),
        }
    }

    /// The time to live of an item that is written now: seconds since 1970.
    fn ttl(&self, now: Timestamp) -> i64 {
        (now + self.retention + MARGIN).as_millis() / 1_000
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
