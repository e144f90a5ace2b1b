//! Queues that are a service of their own, for people who look: how much lies in them, and dead letters.
//!
//! No part of [`Backend`](super::Backend): the engine needs none of it, and a queue inside the process gives nothing up.

use std::time::Duration;

use async_trait::async_trait;

use super::StoreResult;

/// What the adapter of such queues says of them.
#[async_trait]
pub trait Queues: Send + Sync {
    /// How much is in each at this moment, as the service estimates it.
    async fn depths(&self) -> StoreResult<Vec<QueueDepth>>;

    /// Moves dead letters back to the queues that they came from, as far as the bounds allow. What was moved before an
    /// error is moved.
    async fn redrive(&self, bounds: RedriveBounds) -> StoreResult<RedriveResult>;
}

/// How much is in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueDepth {
    /// The queue's name.
    pub queue: String,
    /// What is in it.
    pub contents: QueueContents,
    /// Messages that whoever asks gets.
    pub visible: u64,
    /// Messages that somebody was given and has not deleted.
    pub in_flight: u64,
    /// Messages whose time has not come.
    pub delayed: u64,
}

impl QueueDepth {
    /// All of its messages.
    pub fn all(&self) -> u64 {
        self.visible + self.in_flight + self.delayed
    }
}

/// What a queue is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueContents {
    /// Wakes of all functions that have no queue of their own.
    Wakes,
    /// Wakes of this function.
    WakesOf(String),
    /// Events.
    Events,
    /// Wakes that nobody could work on.
    DeadWakes,
    /// Events that nobody could take in.
    DeadEvents,
}

impl QueueContents {
    /// Whether it is a queue of dead letters.
    pub fn is_dead(&self) -> bool {
        match self {
            Self::DeadWakes | Self::DeadEvents => true,
            Self::Wakes | Self::WakesOf(_) | Self::Events => false,
        }
    }
}

/// How far one call goes in each queue of dead letters.
#[derive(Clone, Copy, Debug)]
pub struct RedriveBounds {
    /// At most so many letters.
    pub most: usize,
    /// After so long none is taken up.
    pub within: Duration,
}

/// What became of dead letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RedriveResult {
    /// Wakes that were moved back.
    pub wakes: usize,
    /// Messages with events that were moved back.
    pub events: usize,
    /// Those that nobody can read: they stay where they are.
    pub unreadable: usize,
    /// Whether the bounds ended it: there may be more.
    pub cut_short: bool,
}
