//! Where the journals of runs end that were written to lately. A worker that asks what is new, and knows it all, is
//! answered without a look at the file: nobody else writes to it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use stepladder_core::{RunId, Seq};

/// Runs that are kept; then all are forgotten, and asked for in the file once more.
const KEPT: usize = 32_768;

/// The numbers after the last entries.
#[derive(Default)]
pub(crate) struct Ends(Mutex<HashMap<RunId, Seq>>);

impl Ends {
    /// Notes that a run's journal reaches up to `next`, which is the case from a commit on.
    pub(crate) fn note(&self, run: RunId, next: Seq) {
        let mut ends = self.lock();
        if ends.len() >= KEPT {
            ends.clear();
        }
        let end = ends.entry(run).or_default();
        *end = next.max(*end);
    }

    /// Whether a run's journal is known to have nothing from this number on.
    pub(crate) fn is_past(&self, run: RunId, from: Seq) -> bool {
        self.lock().get(&run).is_some_and(|next| from >= *next)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, Seq>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use stepladder_core::Timestamp;

    use super::*;

    #[test]
    fn only_what_is_known_is_past() {
        let run = |n| RunId::new(Timestamp::from_millis(0), n);
        let ends = Ends::default();
        assert!(!ends.is_past(run(1), 9));
        ends.note(run(1), 5);
        assert!(ends.is_past(run(1), 5));
        assert!(!ends.is_past(run(1), 4));
        // an earlier write that is heard of later takes nothing back
        ends.note(run(1), 3);
        assert!(!ends.is_past(run(1), 4));
        for n in 2..=KEPT as u128 + 1 {
            ends.note(run(n), 1);
        }
        assert!(!ends.is_past(run(1), 5));
    }
}
