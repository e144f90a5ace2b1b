//! Caches the lengths of recently written journals. If a worker has read a journal to its end, the
//! next read is answered from memory. The cache is exact, because no other process writes the file.

use hashlink::LruCache;
use parking_lot::Mutex;
use stepladder_core::{RunId, Seq};

/// The maximum number of cached runs. The journals of other runs are read from the file.
const MAX_RUNS: usize = 32_768;

/// For each run, the number that follows its last journal entry.
pub(crate) struct JournalEnds(Mutex<LruCache<RunId, Seq>>);

impl Default for JournalEnds {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(MAX_RUNS)))
    }
}

impl JournalEnds {
    /// Records that a commit extended the journal of a run. `next` is the number that follows the
    /// last entry.
    pub(crate) fn record(&self, run: RunId, next: Seq) {
        let mut ends = self.0.lock();
        let latest = ends.peek(&run).copied().unwrap_or_default().max(next);
        ends.insert(run, latest);
    }

    /// Returns the number that follows the last entry of a run's journal, if it is known.
    pub(crate) fn get(&self, run: RunId) -> Option<Seq> {
        self.0.lock().get(&run).copied()
    }

    /// Returns whether the journal of a run is known to have no entries from the number `from` on.
    pub(crate) fn is_past(&self, run: RunId, from: Seq) -> bool {
        self.get(run).is_some_and(|next| from >= next)
    }

    /// Forgets a run, because its journal was deleted.
    pub(crate) fn forget(&self, run: RunId) {
        self.0.lock().remove(&run);
    }
}

#[cfg(test)]
mod tests {
    use stepladder_core::Timestamp;

    use super::*;

    fn run(n: usize) -> RunId {
        RunId::new(Timestamp::from_millis(0), n as u128)
    }

    #[test]
    fn only_a_known_journal_has_an_end() {
        let ends = JournalEnds::default();
        assert!(!ends.is_past(run(1), 9));
        ends.record(run(1), 5);
        assert!(ends.is_past(run(1), 5));
        assert!(!ends.is_past(run(1), 4));
    }

    #[test]
    fn an_earlier_write_that_is_recorded_later_changes_nothing() {
        let ends = JournalEnds::default();
        ends.record(run(1), 5);
        ends.record(run(1), 3);
        assert!(!ends.is_past(run(1), 4));
    }

    #[test]
    fn the_least_recently_used_run_is_dropped() {
        let ends = JournalEnds::default();
        for n in 1..=MAX_RUNS {
            ends.record(run(n), 1);
        }
        assert!(ends.is_past(run(1), 1));
        ends.record(run(MAX_RUNS + 1), 1);
        assert!(ends.is_past(run(1), 1));
        assert!(!ends.is_past(run(2), 1));
    }
}
