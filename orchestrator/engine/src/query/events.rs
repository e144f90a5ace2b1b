//! Queries of events, and of the runs that they started.

use futures::future::{try_join, try_join_all};
use stepladder_core::spec::LazyExprScope;
use stepladder_core::{Event, EventId, RunRow};

use crate::EngineError;
use crate::query::Query;
use crate::query::view::RunSummary;

/// The maximum number of events on a page.
const MAX_EVENTS: usize = 100;

/// An event, with the runs that it started.
#[derive(Clone, Debug)]
pub struct EventDetail {
    /// The event.
    pub event: Event,
    /// The runs that the event started, oldest first.
    pub runs: Vec<RunRow>,
    /// The runs that waited for the event and received it, oldest first.
    pub resumed: Vec<RunRow>,
    /// Why the event started no run, as a sentence; `None` if it started one.
    pub why_no_runs: Option<String>,
}

impl Query {
    /// Returns an event, by its id or by the id that its sender gave it.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] for an unknown event; [`EngineError::Store`].
    pub async fn event(&self, id: &str) -> Result<Event, EngineError> {
        let unknown = || EngineError::NotFound(format!("there is no event `{id}`"));
        if let Ok(known) = id.parse::<EventId>()
            && let Some(event) = self.runtime.backend.event(known).await?
        {
            return Ok(event);
        }
        let known = self.runtime.backend.resolve(id).await?.ok_or_else(unknown)?;
        self.runtime.backend.event(known).await?.ok_or_else(unknown)
    }

    /// Returns the runs that an event started, with their outputs, oldest first.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] for an unknown event; [`EngineError::Store`].
    pub async fn runs_of_event(&self, id: &str) -> Result<Vec<RunSummary>, EngineError> {
        let event = self.event(id).await?;
        let mut runs = Vec::new();
        for row in self.runtime.backend.runs_of(event.id).await? {
            runs.push(self.summary(&row).await?);
        }
        Ok(runs)
    }

    /// Returns the runs that waited for an event and received it, oldest first.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub async fn runs_resumed_by(&self, event: EventId) -> Result<Vec<RunRow>, EngineError> {
        Ok(self.runtime.backend.resumed_by(event).await?)
    }

    /// Returns the events before `before`, newest first, each with the runs that it started. This
    /// needs one listing, and two look-ups per event.
    ///
    /// # Errors
    /// - [`EngineError::Invalid`] if the limit is not between 1 and 100
    /// - [`EngineError::Store`]
    pub async fn events(&self, before: Option<EventId>, limit: usize) -> Result<Vec<EventDetail>, EngineError> {
        if !(1..=MAX_EVENTS).contains(&limit) {
            return Err(EngineError::Invalid(format!("`limit` is {limit}; use 1 to {MAX_EVENTS}")));
        }
        let events = self.runtime.backend.events(before, limit).await?;
        try_join_all(events.into_iter().map(|event| self.detail_of(event))).await
    }

    /// Returns one event, by its id or by the id that its sender gave it, with the runs that it
    /// started.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] for an unknown event; [`EngineError::Store`].
    pub async fn event_with_runs(&self, id: &str) -> Result<EventDetail, EngineError> {
        self.detail_of(self.event(id).await?).await
    }

    async fn detail_of(&self, event: Event) -> Result<EventDetail, EngineError> {
        let backend = &self.runtime.backend;
        let (runs, resumed) = try_join(backend.runs_of(event.id), backend.resumed_by(event.id)).await?;
        let why_no_runs = runs.is_empty().then(|| self.why_no_runs(&event));
        Ok(EventDetail { event, runs, resumed, why_no_runs })
    }

    /// Explains why an event started no run. This compares the event with the functions that are
    /// registered now; when the event arrived, there may have been others.
    fn why_no_runs(&self, event: &Event) -> String {
        let catalog = self.runtime.snapshot();
        let triggered: Vec<_> =
            catalog.specs().filter(|spec| spec.triggers.iter().any(|trigger| trigger.event == event.name)).collect();
        if triggered.is_empty() {
            return format!("no function is started by `{}`", event.name);
        }
        let scope = &mut LazyExprScope::new(event);
        let reasons = triggered.iter().map(|spec| match spec.matches(event, scope) {
            Ok(false) => format!("the condition of `{}` is not met", spec.id),
            Ok(true) => {
                format!("`{}` is started by such events now, and was not when it came, or its run is gone", spec.id)
            }
            Err(bad) => format!("the condition of `{}` fails on it: {bad}", spec.id),
        });
        reasons.collect::<Vec<_>>().join("; ")
    }
}
