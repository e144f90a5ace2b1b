//! Journals.

use serde::{Deserialize, Serialize};
use stepladder_core::Seq;

use crate::Time;

/// One page of a run's journal, oldest entry first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JournalPage<F> {
    /// The entries.
    pub data: Vec<JournalEntry<F>>,
    /// The `from` of the request for the next page; `None` on the last page.
    #[serde(default)]
    pub next: Option<Seq>,
}

/// One entry of a journal.
///
/// `F` is the fact: the server writes a [`Fact`](stepladder_core::Fact); a client that only passes
/// it on keeps it as [`Json`](stepladder_core::Json) text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JournalEntry<F> {
    /// Its number within the run, from 0.
    pub seq: Seq,
    /// When it was written.
    pub at: Time,
    /// What happened.
    pub fact: F,
}
