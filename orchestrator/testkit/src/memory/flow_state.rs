//! Flow state in memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use stepladder_core::Timestamp;

use super::Memory;
use stepladder_engine::ports::{FlowStateChange, FlowStates, StoreResult};

/// How much longer flow state is kept than guaranteed, because the clocks of processes differ.
const MARGIN: Duration = Duration::from_secs(3_600);

/// The flow state of each key, and its expiry.
#[derive(Debug, Default)]
pub(super) struct FlowStateTable(HashMap<Arc<str>, (Arc<str>, Timestamp)>);

impl FlowStateTable {
    fn state_of(&self, key: &str, now: Timestamp) -> Option<&Arc<str>> {
        self.0.get(key).filter(|(_, until)| *until + MARGIN > now).map(|(text, _)| text)
    }

    /// Returns whether the state is still the one that the change expects.
    pub(super) fn is_as_seen(&self, change: &FlowStateChange, now: Timestamp) -> bool {
        self.state_of(&change.key, now) == change.seen.as_ref()
    }

    /// Applies a change.
    pub(super) fn apply(&mut self, change: FlowStateChange) {
        match change.becomes {
            Some(text) => drop(self.0.insert(change.key, (text, change.until))),
            None => drop(self.0.remove(&change.key)),
        }
    }
}

#[async_trait]
impl FlowStates for Memory {
    async fn read_flow_state(&self, keys: Vec<Arc<str>>) -> StoreResult<Vec<Option<Arc<str>>>> {
        let (now, inner) = (self.now(), self.lock());
        Ok(keys.iter().map(|key| inner.flow_state.state_of(key, now).cloned()).collect())
    }

    async fn change_flow_state(&self, changes: Vec<FlowStateChange>) -> StoreResult<Vec<bool>> {
        let (now, mut inner) = (self.now(), self.lock());
        let mut apply = |change: FlowStateChange| {
            if inner.flow_state.is_as_seen(&change, now) {
                inner.flow_state.apply(change);
                return true;
            }
            inner.flow_state.state_of(&change.key, now) == change.becomes.as_ref()
        };
        Ok(changes.into_iter().map(&mut apply).collect())
    }
}
