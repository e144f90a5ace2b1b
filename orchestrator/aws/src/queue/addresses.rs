//! The addresses of the queues: the steps queue, the events queue, and the queues of functions with
//! dedicated workers.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stepladder_engine::ports::{StoreError, StoreResult};

use crate::Aws;
use crate::item::{ReadItem, key_attributes, text};
use crate::layout;

/// The URLs of all queues.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueAddresses {
    /// The queue of wakes.
    pub steps: String,
    /// The queue to which events may be sent, if the stack has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<String>,
    /// The dead-letter queue of wakes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps_dead_letters: Option<String>,
    /// The dead-letter queue of events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events_dead_letters: Option<String>,
    /// The queues of functions with dedicated workers, by function id.
    #[serde(default)]
    pub dedicated: BTreeMap<String, DedicatedQueue>,
    /// The timeout of the other workers, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_timeout: Option<u64>,
}

/// The queue of a function with dedicated workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DedicatedQueue {
    /// The URL of the queue.
    pub queue: String,
    /// The timeout of the function's workers, in seconds.
    pub timeout: u64,
}

impl DedicatedQueue {
    /// Returns the timeout of the function's workers.
    pub fn worker_timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

impl QueueAddresses {
    /// Returns the URL of the queue for the wakes of a group. A group is a function id, or the key
    /// of a limit, which starts with a function id.
    pub(crate) fn for_group(&self, group: &str) -> &str {
        let is_of =
            |function: &str| group.strip_prefix(function).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.dedicated.iter().find(|(function, _)| is_of(function)).map_or(&self.steps, |(_, own)| &own.queue)
    }
}

impl Aws {
    /// Writes the addresses of the queues into the table, where the command line tool finds them.
    ///
    /// # Errors
    /// The table cannot be written.
    pub async fn publish_addresses(&self, addresses: &QueueAddresses) -> StoreResult<()> {
        let json = serde_json::to_string(addresses).map_err(StoreError::unreadable)?;
        let mut item = key_attributes(&layout::queues_key());
        item.insert("v".into(), text(json));
        self.put(item).await
    }

    /// Reads the addresses of the queues from the table. Returns `None` if none were published yet.
    ///
    /// # Errors
    /// The table cannot be read, or its item was not written by
    /// [`publish_addresses`](Self::publish_addresses).
    pub async fn read_addresses(&self) -> StoreResult<Option<QueueAddresses>> {
        let Some(item) = self.get(&layout::queues_key()).await? else { return Ok(None) };
        let addresses = serde_json::from_str(item.text("v")?);
        addresses.map(Some).map_err(|e| {
            StoreError::Unreadable(format!("the addresses of the queues in the table: {e}").into()).because(e)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dedicated_queue_gets_the_wakes_of_its_function_and_of_its_limits_only() {
        let own = DedicatedQueue { queue: "own".into(), timeout: 300 };
        let addresses = QueueAddresses {
            steps: "steps".into(),
            dedicated: BTreeMap::from([("report".to_owned(), own)]),
            ..QueueAddresses::default()
        };
        let queue = |group| addresses.for_group(group).to_owned();
        assert_eq!([queue("report"), queue("report/0/eu"), queue("report/on-failure")], ["own"; 3].map(str::to_owned));
        assert_eq!([queue("reports"), queue("hello"), queue("")], ["steps"; 3].map(str::to_owned));
    }
}
