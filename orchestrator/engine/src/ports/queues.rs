//! The depths and dead letters of queues that are separate services, for operators.
//!
//! This is not part of [`Backend`](super::Backend), because the engine does not need it, and a
//! queue within the process has no dead letters.

use std::time::Duration;

use async_trait::async_trait;
use stepladder_core::{Timestamp, Wake};

use super::StoreResult;

/// Reports the depths of queues, and redrives dead letters.
#[async_trait]
pub trait Queues: Send + Sync {
    /// Returns the current depth of each queue, as estimated by the service.
    async fn depths(&self) -> StoreResult<Vec<QueueDepth>>;

    /// Moves dead letters back to their queues, within the bounds. After an error, the dead letters
    /// that were already moved stay in their queues.
    async fn redrive(&self, bounds: RedriveBounds) -> StoreResult<RedriveResult>;

    /// Moves at most `most` dead letters back to their queue, and returns their contents. With
    /// `dry_run`, only lists them. After an error, what was already moved stays moved.
    async fn redrive_listed(&self, queue: DeadLetterQueue, most: usize, dry_run: bool) -> StoreResult<RedriveReport>;
}

/// A message that its queue gave up.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// The content of the message.
    pub content: DeadLetterContent,
    /// When the message was first sent.
    pub sent_at: Option<Timestamp>,
    /// The id of the original message. It stays the same when the dead letter is moved.
    pub message: String,
}

/// The content of a dead letter.
#[derive(Clone, Debug, PartialEq)]
pub enum DeadLetterContent {
    /// The message is a wake.
    Wake(Wake),
    /// The message contains events with these names.
    Events(Vec<String>),
    /// A message that cannot be read: its first characters.
    Unreadable(String),
}

/// A dead-letter queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadLetterQueue {
    /// The dead letters of the queues of wakes.
    Wakes,
    /// The dead letters of the queue of events.
    Events,
}

/// What a redrive did, with the contents of the dead letters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RedriveReport {
    /// The dead letters that were moved back.
    pub moved: Vec<DeadLetter>,
    /// The dead letters that were not moved, because they cannot be read or because the call was a
    /// dry run.
    pub left: Vec<DeadLetter>,
}

/// The depth of one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueDepth {
    /// The name of the queue.
    pub queue: String,
    /// What the queue contains.
    pub contents: QueueContents,
    /// The number of messages that are ready to be received.
    pub visible: u64,
    /// The number of messages that were received but not deleted yet.
    pub in_flight: u64,
    /// The number of messages that are delayed.
    pub delayed: u64,
}

impl QueueDepth {
    /// Returns the number of all messages in the queue.
    pub fn all(&self) -> u64 {
        self.visible + self.in_flight + self.delayed
    }
}

/// What a queue contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueContents {
    /// The wakes of all functions that have no dedicated queue.
    Wakes,
    /// The wakes of this function.
    WakesOf(String),
    /// Events.
    Events,
    /// Wakes that could not be processed.
    DeadWakes,
    /// Events that could not be processed.
    DeadEvents,
}

impl QueueContents {
    /// Returns whether the queue contains dead letters.
    pub fn is_dead(&self) -> bool {
        match self {
            Self::DeadWakes | Self::DeadEvents => true,
            Self::Wakes | Self::WakesOf(_) | Self::Events => false,
        }
    }
}

/// The bounds of one redrive, for each dead-letter queue.
#[derive(Clone, Copy, Debug)]
pub struct RedriveBounds {
    /// The maximum number of dead letters to move.
    pub most: usize,
    /// The maximum time. After it, no further dead letter is received.
    pub within: Duration,
}

/// What a redrive did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RedriveResult {
    /// The number of wakes that were moved back.
    pub wakes: usize,
    /// The number of messages with events that were moved back.
    pub events: usize,
    /// The number of messages that cannot be read. They stay in the dead-letter queue.
    pub unreadable: usize,
    /// Whether the redrive stopped at its bounds, so that more dead letters may remain.
    pub cut_short: bool,
}
