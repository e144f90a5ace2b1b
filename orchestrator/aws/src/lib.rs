//! The store and the queue of the engine on AWS: journals in DynamoDB, wakes in SQS.
//!
//! [`Aws`] implements the engine's ports with one table and the steps queue. `layout.rs` lists each
//! kind of item, how it is accessed, and what it costs.
//!
//! The parts of a commit are executed in order: later wakes, append, follow-ups, wakes,
//! acknowledgements. A commit may stop between any two parts, as the ports allow. Only its append
//! is conditional. Only tickets, slots of several limits, and the creation of runs under flow
//! control or with tickets use transactions.
//!
//! The Lambda roles are in the crate `stepladder`; decisions about runs are in the engine.

mod connect;
mod error;
mod invoke;
mod item;
mod layout;
mod queue;
mod secrets;
mod services;
mod store;
mod table;
mod value;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use hashlink::LruCache;
use parking_lot::Mutex;
use stepladder_core::Timestamp;
use stepladder_engine::clock::Clock;
use stepladder_engine::retries::StorageRetries;

use store::subscription_index::SubscriptionIndex;

#[cfg(feature = "profiles")]
pub use connect::connect;
pub use connect::{Connection, http_client};
pub use invoke::{FunctionInvoker, InvokeError};
pub use queue::addresses::{DedicatedQueue, QueueAddresses};
pub use queue::dead_letters::{MESSAGE_ID, SENT_AT};
pub use queue::events::EventsMessage;
pub use queue::invocation_receipt;
pub use queue::message::decode as decode_wake;
pub use secrets::{ReadSecretError, SecretName, SecretReader};

/// The store and the queue on AWS.
pub struct Aws {
    dynamo: aws_sdk_dynamodb::Client,
    sqs: aws_sdk_sqs::Client,
    table: String,
    queues: QueueAddresses,
    clock: Arc<dyn Clock>,
    retention: Duration,
    trace: fn() -> Option<String>,
    retries: StorageRetries,
    /// The functions that this process has already listed under a day as having runs.
    listed_days: Mutex<LruCache<layout::ItemKey, ()>>,
    /// The list of event names and fields to which runs subscribe, as last read.
    subscription_index: Mutex<Option<Arc<SubscriptionIndex>>>,
    /// The entries of that list that all processes know, because this process has waited long
    /// enough.
    propagated: Mutex<HashSet<layout::ItemKey>>,
}

/// Settings of the adapter.
pub struct AwsOptions {
    /// The name of the table.
    pub table: String,
    /// The URLs of the queues.
    pub queues: QueueAddresses,
    /// The clock. Tests use a virtual clock.
    pub clock: Arc<dyn Clock>,
    /// How long items are kept after they were written. Items of a live run are renewed.
    pub retention: Duration,
    /// Returns the trace header of the current task. It is passed on with each wake.
    pub trace: fn() -> Option<String>,
    /// How to repeat the unfinished part of a batch, or a busy transaction. The connection repeats
    /// whole requests.
    pub retries: StorageRetries,
}

/// How long items are kept beyond the retention, because clocks differ and DynamoDB deletes by TTL
/// "within a few days".
const TTL_MARGIN: Duration = Duration::from_secs(2 * 86_400);

/// The maximum number of listed days and functions that a process remembers.
const MAX_LISTED_DAYS: usize = 10_000;

impl Aws {
    /// Creates the adapter over a connection.
    pub fn new(connection: &Connection, options: AwsOptions) -> Self {
        let AwsOptions { table, queues, clock, retention, trace, retries } = options;
        let Connection { dynamo, sqs, .. } = connection.clone();
        Self {
            dynamo,
            sqs,
            table,
            queues,
            clock,
            retention,
            trace,
            retries,
            listed_days: Mutex::new(LruCache::new(MAX_LISTED_DAYS)),
            subscription_index: Mutex::default(),
            propagated: Mutex::default(),
        }
    }

    /// Returns the value of `ttl` for an item that is written now, in seconds since 1970.
    fn ttl(&self, now: Timestamp) -> i64 {
        (now + self.retention + TTL_MARGIN).as_millis() / 1_000
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
