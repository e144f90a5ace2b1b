//! Which queue is which: the steps queue, and the queues of functions that have workers of their own.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stepladder_engine::ports::{StoreError, StoreResult};

use crate::Aws;
use crate::item::{Read, keys, text};
use crate::layout;

/// The queues' URLs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// Where wakes go.
    pub steps: String,
    /// Where events may be sent to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<String>,
    /// Where wakes go that could not be worked on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps_dead_letters: Option<String>,
    /// Where events go that could not be taken in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events_dead_letters: Option<String>,
    /// Functions that have a queue and workers of their own, by their ids.
    #[serde(default)]
    pub dedicated: BTreeMap<String, Dedicated>,
}

/// A queue and workers of a function's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dedicated {
    /// The queue's URL.
    pub queue: String,
    /// The time-out of its workers, in seconds.
    pub timeout: u64,
}

impl Dedicated {
    /// The time-out of its workers.
    pub fn worker_timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

impl Addresses {
    /// The queue for wakes of a group: a function's id, or a limit's key, which begins with it.
    pub(crate) fn of(&self, group: &str) -> &str {
        let belongs =
            |function: &str| group.strip_prefix(function).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.dedicated.iter().find(|(function, _)| belongs(function)).map_or(&self.steps, |(_, own)| &own.queue)
    }
}

impl Aws {
    /// Writes the queues' addresses into the table, where the command line finds them.
    ///
    /// # Errors
    /// When the table cannot be written to.
    pub async fn publish(&self, addresses: &Addresses) -> StoreResult<()> {
        let json = serde_json::to_string(addresses).map_err(|e| StoreError::Unreadable(e.to_string()))?;
        let mut item = keys(&layout::queues());
        item.insert("v".into(), text(json));
        self.put(item).await
    }

    /// Reads them.
    ///
    /// # Errors
    /// When the table cannot be read, or what it holds was not written by [`Aws::publish`].
    pub async fn published(&self) -> StoreResult<Option<Addresses>> {
        let Some(item) = self.get(&layout::queues()).await? else { return Ok(None) };
        let addresses = serde_json::from_str(item.text("v")?);
        addresses.map(Some).map_err(|e| StoreError::Unreadable(format!("the queues' addresses in the table: {e}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_of_its_own_queue_takes_its_limits_along_and_no_namesakes() {
        let own = Dedicated { queue: "own".into(), timeout: 300 };
        let addresses = Addresses {
            steps: "steps".into(),
            dedicated: BTreeMap::from([("report".to_owned(), own)]),
            ..Addresses::default()
        };
        let of = |group| addresses.of(group).to_owned();
        assert_eq!([of("report"), of("report/0/eu"), of("report/on-failure")], ["own"; 3].map(str::to_owned));
        assert_eq!([of("reports"), of("hello"), of("")], ["steps"; 3].map(str::to_owned));
    }
}
