//! What the engine writes for one decision.

use std::sync::Arc;

use stepladder_core::journal::{Fact, Record};
use stepladder_core::{RunId, Wake};

pub use stepladder_core::hop::{EarlyWrite, LateWrite};

use super::Receipt;

/// The parts of a write for one decision, in the order in which they may become visible.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// What is written before the entries: delayed wakes (rule 11) and subscriptions (rule 18).
    /// They are harmless if the entries are not written afterwards. In the other order, a crash in
    /// between could leave a run without a wake.
    pub before: Vec<EarlyWrite>,
    /// The journal entries to append. They are shared, because the engine applies them to its state
    /// after the commit.
    pub append: Option<Arc<JournalAppend>>,
    /// What is written after the entries, because it is true only once the entries exist.
    pub after: Vec<LateWrite>,
    /// Wakes that are due immediately.
    pub wakes: Vec<Wake>,
    /// The receipts of the deliveries to acknowledge.
    pub acks: Vec<Receipt>,
}

/// Entries to append to the journal of one run.
#[derive(Clone, Debug)]
pub struct JournalAppend {
    /// The run.
    pub run: RunId,
    /// The record with the entries, its number and its token.
    pub record: Record,
}

/// The result of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitResult {
    /// Everything was carried out.
    Done,
    /// Another writer has already appended a record with this number. The caller must read its
    /// entries and decide again (rule 2).
    Conflict,
}

impl Commit {
    /// Returns whether the commit may be lost in a crash of the machine, so that it needs no
    /// separate sync to the disk. Such a commit contains only bookkeeping facts (see
    /// [`Fact::is_bookkeeping`]), releases, removals from indexes, and acknowledgements. If it is
    /// lost, a wake is repeated, which is harmless.
    pub fn is_bookkeeping(&self) -> bool {
        self.before.is_empty()
            && self.wakes.is_empty()
            && self.after.iter().all(|after| !matches!(after, LateWrite::MarkEnded { .. }))
            && self.append.as_ref().is_none_or(|a| a.record.entries.iter().all(|e| Fact::is_bookkeeping(&e.fact)))
    }
}
