//! Applies a request with many events in pieces, so that it can end by a deadline. The runs of a
//! piece are created and woken before the next piece starts. If a deadline or an error stops the
//! request, a later invocation handles the rest. So each invocation makes progress, and at most one
//! piece is repeated.
//!
//! A local server has no deadline. It applies a whole request in one go ([`Intake::ingest`]).

use std::time::Duration;

use futures::future::{Either, select, try_join_all};
use stepladder_core::{Event, EventId, NewEvent, Timestamp};

use crate::EngineError;
use crate::intake::IdSeed;
use crate::intake::Intake;
use crate::ports::StoreError;
use crate::retries;

/// The number of events in a piece. If a request is repeated, at most this many events are applied
/// a second time.
pub const PIECE: usize = 16;

/// When the work must end, and in pieces of which size it is done.
#[derive(Clone, Copy, Debug)]
pub struct PieceLimits {
    /// When the work must end. After this time no further piece is started, and a running piece is
    /// abandoned.
    pub deadline: Timestamp,
    /// The number of events in a piece; at least 1.
    pub piece: usize,
}

/// How much of a request was applied.
#[derive(Debug, Default)]
pub struct RequestProgress {
    /// The number of events that were applied, counted from the start of the request.
    pub applied: usize,
    /// The error that stopped the request; `None` if the request is complete or the deadline
    /// stopped it.
    pub error: Option<StoreError>,
}

impl Intake {
    /// Stores events and applies them, piece by piece. Events that were not applied may be stored
    /// nevertheless. If they are sent again with the same seed, they get the same ids.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] if an event is invalid; then no event is accepted.
    pub async fn ingest_pieces(
        &self,
        events: Vec<NewEvent>,
        seed: IdSeed,
        received_at: Option<Timestamp>,
        within: PieceLimits,
    ) -> Result<RequestProgress, EngineError> {
        let now = self.runtime.now();
        // if this machine's clock is slow, the given time may be in the future
        let received_at = received_at.map_or(now, |at| at.min(now));
        let accepted = self.assign_ids(events, Some(seed), received_at)?;
        let each = |piece: &[Event]| {
            let piece = piece.to_vec();
            async move { self.accept(piece, now).await.map(drop) }
        };
        Ok(self.apply_in_pieces(&accepted, within, each).await)
    }

    /// Applies stored events, piece by piece. Events past their retention are skipped.
    pub async fn apply_pieces(&self, events: &[EventId], within: PieceLimits) -> RequestProgress {
        let each = |piece: &[EventId]| {
            let piece = piece.to_vec();
            async move {
                let events = try_join_all(piece.into_iter().map(|id| self.runtime.backend.event(id))).await?;
                let events: Vec<Event> = events.into_iter().flatten().collect();
                self.apply(&events, self.runtime.now()).await
            }
        };
        self.apply_in_pieces(events, within, each).await
    }

    /// Accepts events like [`Intake::ingest`], but returns by a deadline. Events that could not be
    /// applied by then are sent to a queue. All events are stored before any run is created, so a
    /// request that fails while its events are stored has created nothing. `body` is the hash of
    /// the request's body. It identifies a repeated request if its events have no ids.
    ///
    /// # Errors
    /// The same as those of [`Intake::ingest`].
    pub async fn ingest_by(
        &self,
        events: Vec<NewEvent>,
        seed: IdSeed,
        body: Option<u128>,
        deadline: Timestamp,
    ) -> Result<Vec<EventId>, EngineError> {
        let needs_attempt = events.len() > PIECE && events.iter().any(|event| event.id.is_none());
        let (seed, attempt) = match body.filter(|_| needs_attempt) {
            Some(body) => self.record_attempt(body, seed, deadline).await?,
            None => (seed, None),
        };
        let ingested = self.store_and_apply(events, seed, deadline);
        let ingested = retries::run_within(self.runtime.clock.clone(), deadline, ingested).await;
        if let Some(attempt) = attempt {
            // the flow state must change before this returns; otherwise the next request with the
            // same body would count as a repetition
            let ended = self.end_attempt(attempt, ingested.is_err()).await;
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
        let accepted = self.assign_ids(events, Some(seed), now)?;
        let late = || StoreError::Unavailable("there was no time to store the events".into());
        let stored =
            match select(self.runtime.backend.accept(accepted, now), self.runtime.clock.sleep_until(deadline)).await {
                Either::Left((stored, _)) => stored?,
                Either::Right(_) => return Err(late().into()),
            };
        let ids: Vec<EventId> = stored.iter().map(|event| event.id).collect();
        let within = PieceLimits { deadline, piece: PIECE };
        let each = |piece: &[Event]| {
            let piece = piece.to_vec();
            async move { self.apply(&piece, now).await }
        };
        let RequestProgress { applied, error } = self.apply_in_pieces(&stored, within, each).await;
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

    async fn apply_in_pieces<'a, T, F>(
        &self,
        all: &'a [T],
        within: PieceLimits,
        each: impl Fn(&'a [T]) -> F,
    ) -> RequestProgress
    where
        F: Future<Output = Result<(), StoreError>> + Send,
    {
        let (mut progress, mut slowest) = (RequestProgress::default(), Duration::ZERO);
        let mut late = self.runtime.clock.sleep_until(within.deadline);
        for piece in all.chunks(within.piece.max(1)) {
            let started = self.runtime.now();
            // a piece is not started if it would probably not finish, judging by the slowest piece
            // so far
            if started >= within.deadline || started + slowest > within.deadline {
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
            slowest = slowest.max(self.runtime.now().since(started));
        }
        progress
    }
}
