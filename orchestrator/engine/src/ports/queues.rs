//! Queues that are a separate service: their depths and dead letters, for operators.
//!
//! This is not part of [`Backend`](super::Backend). The engine does not need it, and a queue inside
//! the process has no dead letters.

use std::time::Duration;

use async_trait::async_trait;
use stepladder_core::{Timestamp, Wake};

use super::StoreResult;

/// Reports depths and redrives dead letters.
#[async_trait]
pub trait Queues: Send + Sync {
    /// Returns the current depth of each queue, as the service estimates it.
    async fn depths(&self) -> StoreResult<Vec<QueueDepth>>;

    /// Moves dead letters back to their queues, within the bounds. After an error, the letters
    /// that were moved before it stay in their queues.
    async fn redrive(&self, bounds: RedriveBounds) -> StoreResult<RedriveResult>;

    /// Moves at most `most` dead letters back to their queue, and returns their contents. With
    /// `dry_run`, it lists them and moves none. After an error, earlier moves of this call remain.
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

/// The dead letters of a redrive.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RedriveReport {
    /// The dead letters that were moved back.
    pub moved: Vec<DeadLetter>,
    /// The dead letters that stay, because they cannot be read or the call was a dry run.
    pub left: Vec<DeadLetter>,
}

/// The depth of one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueDepth {
    /// The queue's name.
    pub queue: String,
    /// What the queue contains.
    pub contents: QueueContents,
    /// Messages ready to be received.
    pub visible: u64,
    /// Messages that were received and not deleted yet.
    pub in_flight: u64,
    /// Messages that are delayed.
    pub delayed: u64,
}

impl QueueDepth {
    /// Returns the number of all its messages.
    pub fn all(&self) -> u64 {
        self.visible + self.in_flight + self.delayed
    }
}

/// What a queue is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueContents {
    /// Wakes of all functions without a queue of their own.
    Wakes,
    /// Wakes of this function.
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

/// The bounds of one call, for each queue of dead letters.
#[derive(Clone, Copy, Debug)]
pub struct RedriveBounds {
    /// The maximum number of letters.
    pub most: usize,
    /// The maximum time; no further letter is received after it.
    pub within: Duration,
}

/// The result of a redrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RedriveResult {
    /// Wakes that were moved back.
    pub wakes: usize,
    /// Messages with events that were moved back.
    pub events: usize,
    /// Messages that cannot be read. They stay in the dead letter queue.
    pub unreadable: usize,
    /// Whether the bounds ended the call. More dead letters may remain.
    pub cut_short: bool,
}
