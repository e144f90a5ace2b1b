//! Notes of flow control. Nothing is forgotten: a test is short.

use std::sync::Arc;

use async_trait::async_trait;
use stepladder_core::planted::{self, Plant};

use super::{Inner, Memory};
use crate::ports::{Note, Notes, StoreResult};

impl Inner {
    pub(super) fn is_as_seen(&self, note: &Note) -> bool {
        self.notes.get(&note.key) == note.seen.as_ref() || planted::is(Plant::NotesAreNotCompared)
    }

    pub(super) fn change(&mut self, note: Note) {
        match note.becomes {
            Some(text) => drop(self.notes.insert(note.key, text)),
            None => drop(self.notes.remove(&note.key)),
        }
    }
}

#[async_trait]
impl Notes for Memory {
    async fn noted(&self, keys: Vec<Arc<str>>) -> StoreResult<Vec<Option<Arc<str>>>> {
        let inner = self.lock();
        Ok(keys.iter().map(|key| inner.notes.get(key).cloned()).collect())
    }

    async fn note(&self, changes: Vec<Note>) -> StoreResult<Vec<bool>> {
        let mut inner = self.lock();
        let mut change = |note: Note| {
            if inner.is_as_seen(&note) {
                inner.change(note);
                return true;
            }
            inner.notes.get(&note.key) == note.becomes.as_ref()
        };
        Ok(changes.into_iter().map(&mut change).collect())
    }
}
