//! What one decision of the engine writes.

use stepladder_core::journal::{Fact, Record};
use stepladder_core::slot::{Holder, Limit};
use stepladder_core::waiting::Subscription;
use stepladder_core::{EventId, RunId, RunOrStep, Status, Timer, Timestamp, Wake};

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

/// What is written before its entry: wakes for later, subscriptions and inbox events.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are explained; their fields are named by what they hold")]
pub enum EarlyWrite {
    /// A wake through the queue, due within 900 s (the maximum delay of SQS).
    Wake { wake: Wake, due: Timestamp },
    /// A wake through the sweep.
    Timer(Timer),
    /// Adds a subscription to the index, or replaces its expiry.
    Subscribe(Subscription),
    /// Puts an event into the run's inbox, because its subscription is in the index and not yet in
    /// the journal. An event is in an inbox at most once.
    PutInInbox { run: RunId, event: EventId },
    /// Lists the run among the event's runs, although another event created it.
    LinkEvent { run: RunId, event: EventId },
}

/// What is written after its entries.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are explained; their fields are named by what they hold")]
pub enum LateWrite {
    /// Marks the run's row as ended.
    MarkEnded { run: RunId, at: Timestamp, status: Status },
    /// Releases a slot. Nothing happens if the holder does not have it.
    Release { limit: Limit, holder: Holder },
    /// Removes the ticket of the run or of its step, or all tickets of the run if `of` is `None`.
    /// Nothing happens if there is none.
    Dequeue { limit: Limit, run: RunId, of: Option<RunOrStep> },
    /// Removes a subscription from the index. Nothing happens if it is not there.
    Unsubscribe(Subscription),
    /// Removes an event from the run's inbox. Nothing happens if it is not there.
    TakeFromInbox { run: RunId, event: EventId },
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
    /// releases, removals from indexes and acknowledgements. Its loss repeats a wake, which is
    /// harmless.
    pub fn is_bookkeeping(&self) -> bool {
        self.before.is_empty()
            && self.wakes.is_empty()
            && self.after.iter().all(|after| !matches!(after, LateWrite::MarkEnded { .. }))
            && self.append.as_ref().is_none_or(|a| a.record.entries.iter().all(|e| Fact::is_bookkeeping(&e.fact)))
    }
}
