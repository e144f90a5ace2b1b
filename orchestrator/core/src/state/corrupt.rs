//! Journals that the engine cannot have written.

use crate::RunId;
use crate::journal::Seq;

/// An error in a journal that this engine cannot have written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the variants are explained; their fields are named by what they hold")]
pub enum CorruptJournal {
    /// There is no entry 0, or entry 0 is not `RunCreated`.
    #[error("the journal of run {0} does not begin with RunCreated")]
    NoBeginning(RunId),
    /// The number of an entry is missing or occurs twice.
    #[error("the journal of run {run} has entry {found} where entry {expected} belongs")]
    Gap { run: RunId, expected: Seq, found: Seq },
}
