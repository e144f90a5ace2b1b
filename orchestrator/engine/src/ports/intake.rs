//! One call for accepted events: it stores the events, creates their runs, and looks up which runs
//! wait for them.

use std::sync::Arc;

use async_trait::async_trait;
use stepladder_core::waiting::SubscribedFields;
use stepladder_core::{Event, Timestamp};

use super::{EarlyWrite, Events, RunStart, StartResult, StoreResult};

/// Stores accepted events together with their runs.
#[async_trait]
pub trait Intake: Events {
    /// Stores events like [`Events::accept`], and also writes what `decide` returns for them.
    ///
    /// An adapter with transactions calls `decide` with the events before anything is stored. If
    /// all events are new, the same transaction writes what `decide` returned, and then looks up
    /// the subscribed fields of each event's name. If an event repeats an earlier one, the call
    /// only stores the events, because the decision for the earlier event may differ.
    ///
    /// By default, this only stores the events, which suits a store that needs several requests in
    /// any case.
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

/// A function that decides what is written together with new events.
pub type Decide<'a> = &'a (dyn Fn(&[Event]) -> EventWrites + Send + Sync);

/// What is written together with new events.
#[derive(Clone, Debug, Default)]
pub struct EventWrites {
    /// Index entries and delayed wakes, which are written before the runs.
    pub before: Vec<EarlyWrite>,
    /// The runs to create, in their order.
    pub starts: Vec<RunStart>,
}

/// The result of [`Intake::accept_with_runs`].
#[derive(Clone, Debug)]
pub struct AcceptedEvents {
    /// The stored events, in order.
    pub events: Vec<Event>,
    /// What was written together with the events; `None` if nothing was written, so that the caller
    /// must create the runs.
    pub applied: Option<AppliedWrites>,
}

/// What was written together with new events.
#[derive(Clone, Debug)]
pub struct AppliedWrites {
    /// The result of creating each run, in order.
    pub starts: Vec<StartResult>,
    /// For each event name, the fields by which runs subscribe to it, read after all writes.
    pub subscribed: Vec<(Arc<str>, SubscribedFields)>,
}
