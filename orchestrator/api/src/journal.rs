//! The journals of runs, page by page.

use serde::{Deserialize, Serialize};
use stepladder_core::Seq;

use crate::Time;

/// One page of a run's journal, oldest entry first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JournalPage<F> {
    /// The entries.
    pub data: Vec<JournalEntry<F>>,
    /// The value of the parameter `from` in the request for the next page; `None` on the last page.
    #[serde(default)]
    pub next: Option<Seq>,
}

/// A journal entry.
///
/// `F` is the type of the fact. The server writes a [`Fact`](stepladder_core::Fact). A client that
/// only passes the fact on keeps it as [`Json`](stepladder_core::Json).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JournalEntry<F> {
    /// The number of the entry within its run, from 0.
    pub seq: Seq,
    /// When the entry was written.
    pub at: Time,
    /// What the entry records.
    pub fact: F,
}
