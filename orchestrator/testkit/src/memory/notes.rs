//! Notes of flow control.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use stepladder_core::Timestamp;

use super::Memory;
use stepladder_engine::ports::{FlowStateChange, FlowStates, StoreResult};

/// Clocks differ: a note is not forgotten before its time on any of them.
const MARGIN: Duration = Duration::from_secs(3_600);

/// What is noted, and until when.
#[derive(Debug, Default)]
pub(super) struct Kept(HashMap<Arc<str>, (Arc<str>, Timestamp)>);

impl Kept {
    fn noted(&self, key: &str, now: Timestamp) -> Option<&Arc<str>> {
        self.0.get(key).filter(|(_, until)| *until + MARGIN > now).map(|(text, _)| text)
    }

    pub(super) fn is_as_seen(&self, note: &FlowStateChange, now: Timestamp) -> bool {
        self.noted(&note.key, now) == note.seen.as_ref()
    }

    pub(super) fn change(&mut self, note: FlowStateChange) {
        match note.becomes {
            Some(text) => drop(self.0.insert(note.key, (text, note.until))),
            None => drop(self.0.remove(&note.key)),
        }
    }
}

#[async_trait]
impl FlowStates for Memory {
    async fn read_flow_state(&self, keys: Vec<Arc<str>>) -> StoreResult<Vec<Option<Arc<str>>>> {
        let (now, inner) = (self.now(), self.lock());
        Ok(keys.iter().map(|key| inner.notes.noted(key, now).cloned()).collect())
    }

    async fn change_flow_state(&self, changes: Vec<FlowStateChange>) -> StoreResult<Vec<bool>> {
        let (now, mut inner) = (self.now(), self.lock());
        let mut change = |note: FlowStateChange| {
            if inner.notes.is_as_seen(&note, now) {
                inner.notes.change(note);
                return true;
            }
            inner.notes.noted(&note.key, now) == note.becomes.as_ref()
        };
        Ok(changes.into_iter().map(&mut change).collect())
    }
}
