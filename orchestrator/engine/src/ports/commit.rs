//! What one decision of the engine writes.

use stepladder_core::journal::{Fact, Record};
use stepladder_core::{RunId, Wake};

pub use stepladder_core::hop::{EarlyWrite, LateWrite};

use super::Receipt;

/// What one decision writes, in the order in which it may become visible.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Written before the entries: delayed wakes (rule 11) and subscriptions (rule 18). If the
    /// entries are not written then, these are harmless. In the other order, a crash in between
    /// could leave a run without a wake.
    pub before: Vec<EarlyWrite>,
    /// The entries.
    pub append: Option<JournalAppend>,
    /// Written after the entries: what is true only once the entries exist.
    pub after: Vec<LateWrite>,
    /// Wakes that are due at once.
    pub wakes: Vec<Wake>,
    /// Deliveries to acknowledge.
    pub acks: Vec<Receipt>,
}

/// Entries for one run.
#[derive(Clone, Debug)]
pub struct JournalAppend {
    /// The run.
    pub run: RunId,
    /// The entries, their number and their token.
    pub record: Record,
}

/// The result of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitResult {
    /// Everything was carried out.
    Done,
    /// Another writer has appended at this number. Read its entries and decide again (rule 2).
    Conflict,
}

impl Commit {
    /// Returns whether the commit may be lost in a crash of the machine, so that it needs no sync
    /// to disk of its own. Such a commit has only bookkeeping facts (see [`Fact::is_bookkeeping`]),
    /// releases, removals from indexes and acknowledgements. The loss of such a commit repeats a
    /// wake, which is harmless.
    pub fn is_bookkeeping(&self) -> bool {
        self.before.is_empty()
            && self.wakes.is_empty()
            && self.after.iter().all(|after| !matches!(after, LateWrite::MarkEnded { .. }))
            && self.append.as_ref().is_none_or(|a| a.record.entries.iter().all(|e| Fact::is_bookkeeping(&e.fact)))
    }
}
