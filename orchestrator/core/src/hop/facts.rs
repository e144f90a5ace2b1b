//! What the entries of a write mean for a hop.

pub(super) use crate::journal::is_executed;
use crate::journal::{Entry, Fact};

/// Returns whether an entry is the outcome of a body.
pub(super) fn is_outcome(entry: &Entry) -> bool {
    matches!(
        entry.fact,
        Fact::StepSucceeded { .. }
            | Fact::StepFailed { .. }
            | Fact::StepAbandoned { .. }
            | Fact::AttemptUnreachable { .. }
            | Fact::CallEnded { .. }
    )
}

/// Returns how many outcomes of bodies among these entries the function saw before they were
/// written. A failure with a later retry is never among them.
pub(super) fn shown_ahead(entries: &[Entry]) -> usize {
    let is_shown = |entry: &&Entry| matches!(entry.fact, Fact::StepSucceeded { .. } | Fact::StepFailed { .. });
    entries.iter().filter(is_shown).count()
}
