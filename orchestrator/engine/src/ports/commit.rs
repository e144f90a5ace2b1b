//! What one decision writes.

use stepladder_core::journal::{Fact, Record};
use stepladder_core::slot::{Holder, Limit};
use stepladder_core::waiting::Subscription;
use stepladder_core::{EventId, RunId, Status, StepId, Timer, Timestamp, Wake};

use super::Receipt;

/// What one decision wants to happen, in the order in which it may become visible.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Before the journal: later wakes (rule 11), who waits (rule 18). A stale one is harmless, a missing one strands the
    /// run.
    pub before: Vec<EarlyWrite>,
    /// The entries.
    pub append: Option<JournalAppend>,
    /// After the journal: what only holds once the entries are there.
    pub after: Vec<LateWrite>,
    /// Wakes that are due at once.
    pub wakes: Vec<Wake>,
    /// Deliveries that are done with.
    pub acks: Vec<Receipt>,
}

/// Entries for one run.
#[derive(Clone, Debug)]
pub struct JournalAppend {
    /// Which run.
    pub run: RunId,
    /// The entries, their number and their token.
    pub record: Record,
}

/// What is there before the entry that it is for: wakes for later, and who waits for what.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are explained; their fields are named by what they hold")]
pub enum EarlyWrite {
    /// Through the queue: due within 900 s (the most that SQS delays).
    Wake { wake: Wake, due: Timestamp },
    /// Through the sweep.
    Timer(Timer),
    /// One who waits for an event, for the index. Who is in it has the new time from then on.
    Subscribe(Subscription),
    /// An event for the run's inbox: it met the run in the index and not in its journal. One that is in it stays single.
    PutInInbox { run: RunId, event: EventId },
    /// The event leads to this run, which another one created: it is listed among the event's runs.
    LinkEvent { run: RunId, event: EventId },
}

/// What follows from entries.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are explained; their fields are named by what they hold")]
pub enum LateWrite {
    /// The run's row shows its end.
    MarkEnded { run: RunId, at: Timestamp, status: Status },
    /// A slot is free. Nothing happens when the holder does not hold it.
    Release { limit: Limit, holder: Holder },
    /// A place in a line is given up: the one of this step, or all of the run's. Nothing happens when it has none.
    Dequeue { limit: Limit, run: RunId, step: Option<StepId> },
    /// One who waits no more leaves the index. Nothing happens when he is not in it.
    Unsubscribe(Subscription),
    /// An event leaves the run's inbox. Nothing happens when it is not in it.
    TakeFromInbox { run: RunId, event: EventId },
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitResult {
    /// All of it was carried out.
    Done,
    /// The number was taken by somebody else. Read on and decide again (rule 2).
    Conflict,
}

impl Commit {
    /// Whether this consists of facts that need no sync of their own (see [`Fact::is_bookkeeping`]), of releases, of stale
    /// items of indexes and of acknowledgements: one that is lost repeats a wake, which harms nothing.
    pub fn is_bookkeeping(&self) -> bool {
        self.before.is_empty()
            && self.wakes.is_empty()
            && self.after.iter().all(|after| !matches!(after, LateWrite::MarkEnded { .. }))
            && self.append.as_ref().is_none_or(|a| a.record.entries.iter().all(|e| Fact::is_bookkeeping(&e.fact)))
    }
}
