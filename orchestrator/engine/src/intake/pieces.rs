//! Requests of many events that must end by a deadline. They are applied piece by piece: the runs of a piece begin and
//! their wakes go out before the next piece is looked at. What a deadline or an error cuts off is told to the caller,
//! which leaves it to a later invocation. So each invocation gets further, and repeats one piece at most.
//!
//! A machine of one's own has no deadline: there a request is applied at once ([`Engine::ingest`]).

use crate::intake::Intake;
use std::time::Duration;

use futures::future::{Either, select, try_join_all};
use stepladder_core::{Event, EventId, NewEvent, Timestamp};

use crate::EngineError;
use crate::intake::IdSeed;
use crate::ports::StoreError;

/// Events of a piece. A repetition redoes no more than this.
pub const PIECE: usize = 16;

/// By when work must end, and in pieces of which size it is done.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimit {
    /// Nothing is begun from then on, and what is under way is given up.
    pub deadline: Timestamp,
    /// Events of a piece; at least 1.
    pub piece: usize,
}

/// How far a request came.
#[derive(Debug, Default)]
pub struct Progress {
    /// How many of its events were applied: the first ones.
    pub applied: usize,
    /// What stopped it before its end; nothing where that was the deadline.
    pub error: Option<StoreError>,
}

impl Intake {
    /// Stores events and applies them, piece by piece. Events that are not applied may be stored; under the same seed,
    /// they are the same events the next time.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] when an event cannot be accepted: then none is.
    pub async fn ingest_pieces(
        &self,
        events: Vec<NewEvent>,
        seed: IdSeed,
        received_at: Option<Timestamp>,
        within: TimeLimit,
    ) -> Result<Progress, EngineError> {
        let now = self.runtime.now();
        // by a clock that is behind, it would come from the future
        let received_at = received_at.map_or(now, |at| at.min(now));
        let accepted = self.numbered(events, Some(seed), received_at)?;
        let each = |piece: &[Event]| {
            let piece = piece.to_vec();
            async move { self.accept(piece, now).await.map(drop) }
        };
        Ok(self.in_pieces(&accepted, within, each).await)
    }

    /// Applies events that are stored, piece by piece. Events whose retention is over are passed over.
    pub async fn apply_pieces(&self, events: &[EventId], within: TimeLimit) -> Progress {
        let each = |piece: &[EventId]| {
            let piece = piece.to_vec();
            async move {
                let events = try_join_all(piece.into_iter().map(|id| self.runtime.backend.event(id))).await?;
                let events: Vec<Event> = events.into_iter().flatten().collect();
                self.apply(&events, self.runtime.now()).await
            }
        };
        self.in_pieces(events, within, each).await
    }

    /// Accepts events as [`Engine::ingest`] does, where the answer must be given by a deadline and a queue can take what
    /// is left to do then. All events are stored before any run begins: a request that fails before has started nothing.
    /// `body` is the hash of a request that nothing else identifies.
    ///
    /// # Errors
    /// As [`Engine::ingest`].
    pub async fn ingest_by(
        &self,
        events: Vec<NewEvent>,
        seed: IdSeed,
        body: Option<u128>,
        deadline: Timestamp,
    ) -> Result<Vec<EventId>, EngineError> {
        let is_noted = events.len() > PIECE && events.iter().any(|event| event.id.is_none());
        let (seed, noted) = match body.filter(|_| is_noted) {
            Some(body) => self.note_attempt(body, seed, deadline).await?,
            None => (seed, None),
        };
        let ingested = self.store_and_apply(events, seed, deadline).await;
        if let Some(noted) = noted {
            // an answer that leaves the note behind would make the next such request a repetition
            let ended = self.end_attempt(noted, ingested.is_err()).await;
            if ingested.is_ok() {
                ended?;
            }
        }
        ingested
    }

    async fn store_and_apply(
        &self,
        events: Vec<NewEvent>,
        seed: IdSeed,
        deadline: Timestamp,
    ) -> Result<Vec<EventId>, EngineError> {
        let now = self.runtime.now();
        let accepted = self.numbered(events, Some(seed), now)?;
        let late = || StoreError::Unavailable("there was no time to store the events".into());
        let stored =
            match select(self.runtime.backend.accept(accepted, now), self.runtime.clock.sleep_until(deadline)).await {
                Either::Left((stored, _)) => stored?,
                Either::Right(_) => return Err(late().into()),
            };
        let ids: Vec<EventId> = stored.iter().map(|event| event.id).collect();
        let within = TimeLimit { deadline, piece: PIECE };
        let each = |piece: &[Event]| {
            let piece = piece.to_vec();
            async move { self.apply(&piece, now).await }
        };
        let Progress { applied, error } = self.in_pieces(&stored, within, each).await;
        if applied < ids.len() {
            let left = ids.len() - applied;
            tracing::warn!(
                applied,
                left,
                error = error.as_ref().map(tracing::field::display),
                "events are left to the queue"
            );
            if !self.runtime.backend.postpone(ids[applied..].to_vec()).await? {
                return Err(error.unwrap_or_else(late).into());
            }
        }
        Ok(ids)
    }

    async fn in_pieces<'a, T, F>(&self, all: &'a [T], within: TimeLimit, each: impl Fn(&'a [T]) -> F) -> Progress
    where
        F: Future<Output = Result<(), StoreError>> + Send,
    {
        let (mut progress, mut slowest) = (Progress::default(), Duration::ZERO);
        let mut late = self.runtime.clock.sleep_until(within.deadline);
        for piece in all.chunks(within.piece.max(1)) {
            let began = self.runtime.now();
            // what would be cut is better not begun
            if began >= within.deadline || began + slowest > within.deadline {
                break;
            }
            match select(Box::pin(each(piece)), late).await {
                Either::Left((Ok(()), rest)) => late = rest,
                Either::Left((Err(error), _)) => {
                    progress.error = Some(error);
                    break;
                }
                Either::Right(_) => break,
            }
            progress.applied += piece.len();
            slowest = slowest.max(self.runtime.now().since(began));
        }
        progress
    }
}
