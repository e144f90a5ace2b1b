//! One call for accepted events: store them, create their runs, and look up who waits for them.

use std::sync::Arc;

use async_trait::async_trait;
use stepladder_core::waiting::SubscribedFields;
use stepladder_core::{Event, Timestamp};

use super::{EarlyWrite, Events, RunStart, StartResult, StoreResult};

/// Takes accepted events in.
#[async_trait]
pub trait Intake: Events {
    /// Stores events like [`Events::accept`], and what `decide` returns for them.
    ///
    /// An adapter with transactions calls `decide` with the events, before anything is stored. If
    /// all events are new, the same transaction writes what `decide` returned, and then looks up
    /// the subscribed fields of each event's name. If an event is a repetition, the call only
    /// stores the events: the decision may differ for the first event.
    ///
    /// The default only stores the events. This suits a store that needs several requests in any
    /// case.
    async fn accept_with_runs(
        &self,
        events: Vec<Event>,
        now: Timestamp,
        decide: Decide<'_>,
    ) -> StoreResult<AcceptedEvents> {
        let _ = decide;
        Ok(AcceptedEvents { events: self.accept(events, now).await?, applied: None })
    }
}

/// Decides what is written with new events.
pub type Decide<'a> = &'a (dyn Fn(&[Event]) -> EventWrites + Send + Sync);

/// What is written with new events.
#[derive(Clone, Debug, Default)]
pub struct EventWrites {
    /// Index entries and delayed wakes, written before the runs.
    pub before: Vec<EarlyWrite>,
    /// The runs to create, in their order.
    pub starts: Vec<RunStart>,
}

/// The answer to [`Intake::accept_with_runs`].
#[derive(Clone, Debug)]
pub struct AcceptedEvents {
    /// The events as stored, in order.
    pub events: Vec<Event>,
    /// What was written with them. `None` if nothing was: the caller creates the runs.
    pub applied: Option<AppliedWrites>,
}

/// What was written with new events.
#[derive(Clone, Debug)]
pub struct AppliedWrites {
    /// The result of each start, in order.
    pub starts: Vec<StartResult>,
    /// The fields to look up for each event's name, after all writes.
    pub subscribed: Vec<(Arc<str>, SubscribedFields)>,
}
