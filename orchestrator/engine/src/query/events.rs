//! Events as people look at them: what came in, what each started, and why one started nothing.

use futures::future::try_join_all;
use stepladder_core::spec::LazyScope;
use stepladder_core::{Event, EventId, RunRow};

use crate::EngineError;
use crate::query::Query;

/// Events in a page, at most.
const MOST_EVENTS: usize = 100;

/// An event, and the runs that it started.
#[derive(Clone, Debug)]
pub struct EventDetail {
    /// The event.
    pub event: Event,
    /// Oldest first.
    pub runs: Vec<RunRow>,
    /// Why it started nothing, in a sentence; `None` when it started something.
    pub nothing: Option<String>,
}

impl Query {
    /// The events before `before`, newest first, with what each started: one listing, and a look-up
    /// for each.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for a limit that is none; [`EngineError::Store`].
    pub async fn events(&self, before: Option<EventId>, limit: usize) -> Result<Vec<EventDetail>, EngineError> {
        if !(1..=MOST_EVENTS).contains(&limit) {
            return Err(EngineError::Invalid(format!("`limit` is {limit}; use 1 to {MOST_EVENTS}")));
        }
        let events = self.runtime.backend.events(before, limit).await?;
        try_join_all(events.into_iter().map(|event| self.detail_of(event))).await
    }

    /// One event, by its id or its sender's, with what it started.
    ///
    /// # Errors
    /// [`EngineError::NotFound`]; [`EngineError::Store`].
    pub async fn event_with_runs(&self, id: &str) -> Result<EventDetail, EngineError> {
        self.detail_of(self.event(id).await?).await
    }

    async fn detail_of(&self, event: Event) -> Result<EventDetail, EngineError> {
        let runs = self.runtime.backend.runs_of(event.id).await?;
        let nothing = runs.is_empty().then(|| self.why_no_runs(&event));
        Ok(EventDetail { event, runs, nothing })
    }

    /// By the functions that are registered now: those of then may have been others.
    fn why_no_runs(&self, event: &Event) -> String {
        let named: Vec<_> = self
            .runtime
            .specs()
            .filter(|spec| spec.triggers.iter().any(|trigger| trigger.event == event.name))
            .collect();
        if named.is_empty() {
            return format!("no function is started by `{}`; it may have reached runs that waited for it", event.name);
        }
        let scope = &mut LazyScope::new(event);
        let reasons = named.iter().map(|spec| match spec.matches(event, scope) {
            Ok(false) => format!("the condition of `{}` is not met", spec.id),
            Ok(true) => {
                format!("`{}` is started by such events now, and was not when it came, or its run is gone", spec.id)
            }
            Err(bad) => format!("the condition of `{}` fails on it: {bad}", spec.id),
        });
        reasons.collect::<Vec<_>>().join("; ")
    }
}
