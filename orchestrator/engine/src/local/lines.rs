//! The slots and lines of all keys, and how many wait in them together.

use std::collections::HashMap;
use std::sync::Arc;

use super::Line;

/// A [`Line`] for each key that somebody holds a slot of, or waits for.
#[derive(Debug, Default)]
pub struct Lines {
    lines: HashMap<Arc<str>, Line>,
    /// Kept beside them: who asks how many wait must not have to visit every key.
    waiting: usize,
}

impl Lines {
    /// The line of a key, if anybody is in it.
    pub fn get(&self, key: &str) -> Option<&Line> {
        self.lines.get(key)
    }

    /// Lets a key's line change. It is made when it is not there, and forgotten once nobody is in it.
    pub fn change<T>(&mut self, key: &Arc<str>, change: impl FnOnce(&mut Line) -> T) -> T {
        let line = self.lines.entry(key.clone()).or_default();
        let before = line.len();
        let changed = change(line);
        self.waiting = self.waiting - before + line.len();
        if line.is_idle() {
            self.lines.remove(key);
        }
        changed
    }

    /// How many places there are, in all lines.
    pub fn waiting(&self) -> usize {
        self.waiting
    }
}
