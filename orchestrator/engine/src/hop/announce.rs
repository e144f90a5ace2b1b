//! Events about a run's end, for functions that listen to them: `stepladder/function.failed` and
//! Inngest's `inngest/function.failed`, `.finished` and `.cancelled`.
//!
//! They are part of the finishing work, which every later wake of the run repeats. Their ids derive
//! from the run and the name, so a repetition sends nothing twice. Without a listening function,
//! nothing is read or written for them.
//!
//! Some ends are not announced: those of runs that such an event created, of runs that they called,
//! and of failure handlers. Otherwise a failing listener would start itself without end.

use std::sync::Arc;

use serde::Serialize;
use stepladder_core::event::data_problem;
use stepladder_core::journal::{Failure, Origin};
use stepladder_core::state::{RunEnd, RunOutcome, RunState};
use stepladder_core::system::{FUNCTION_FAILED, INNGEST_CANCELLED, INNGEST_FAILED, INNGEST_FINISHED, is_run_end_event};
use stepladder_core::{Event, EventId, Json, RunId, Spec, Timestamp, id, json};

use crate::hop::Hops;
use crate::ports::StoreError;

/// The maximum number of callers checked, from a called run upwards, for one that an end event
/// created.
const CALLERS: usize = 100;
/// Inngest's message for every cancelled run.
const CANCELLED: &str = "function cancelled";

/// The end events that trigger or cancel some function.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EndListeners {
    own_failed: bool,
    failed: bool,
    finished: bool,
    cancelled: bool,
}

impl EndListeners {
    pub(crate) fn by<'a>(specs: impl Iterator<Item = &'a Spec>) -> Self {
        let mut listened = Self::default();
        for spec in specs {
            let triggers = spec.triggers.iter().map(|trigger| &*trigger.event);
            for name in triggers.chain(spec.flow.cancel_on.iter().map(|cancel| &*cancel.event)) {
                listened.own_failed |= name == FUNCTION_FAILED;
                listened.failed |= name == INNGEST_FAILED;
                listened.finished |= name == INNGEST_FINISHED;
                listened.cancelled |= name == INNGEST_CANCELLED;
            }
        }
        listened
    }

    /// Returns the names of the events for this end. A skipped run has never started: it has none.
    fn names(self, how: &RunOutcome) -> impl Iterator<Item = &'static str> {
        let Self { own_failed, failed, finished, cancelled } = self;
        let names = match how {
            RunOutcome::Completed(_) => [finished.then_some(INNGEST_FINISHED), None, None],
            RunOutcome::Failed(_) => [
                own_failed.then_some(FUNCTION_FAILED),
                failed.then_some(INNGEST_FAILED),
                finished.then_some(INNGEST_FINISHED),
            ],
            RunOutcome::Cancelled(_) => {
                [cancelled.then_some(INNGEST_CANCELLED), finished.then_some(INNGEST_FINISHED), None]
            }
            RunOutcome::Skipped(_) => [None; 3],
        };
        names.into_iter().flatten()
    }
}

impl Hops {
    /// Returns whether some function may listen to this end.
    pub(crate) fn has_listener(&self, end: &RunEnd) -> bool {
        self.listened.names(&end.how).next().is_some()
    }

    /// Sends those events of a run's end that some function listens to.
    pub(crate) async fn send_end_events(&self, state: &RunState, end: &RunEnd) -> Result<(), StoreError> {
        if !self.has_listener(end) || self.is_caused_by_end_event(state).await? {
            return Ok(());
        }
        let event = |name: &'static str| Event {
            id: EventId::new(end.at, id::hash(&[b"end", &state.run.to_bytes(), name.as_bytes()])),
            name: name.into(),
            data: end_data(name, state, end),
            ts: end.at,
            user: None,
            external_id: None,
            received_at: end.at,
        };
        let events: Vec<Event> = self.listened.names(&end.how).map(event).collect();
        self.intake.accept(events, end.at).await.map(drop)
    }

    /// Returns whether an end event created the run, or one of its callers.
    async fn is_caused_by_end_event(&self, state: &RunState) -> Result<bool, StoreError> {
        let mut created = state.created.clone();
        for _ in 0..CALLERS {
            if is_run_end_event(&created.event.name) {
                return Ok(true);
            }
            let Origin::Invoke { parent, .. } = created.origin else { return Ok(false) };
            let Some(parent) = self.runs.state(parent).await? else { return Ok(false) };
            created = parent.created.clone();
        }
        Ok(true)
    }
}

/// Returns the data of an end event, within the size limit of events. Larger parts are left out and
/// named.
pub(crate) fn end_data(name: &str, state: &RunState, end: &RunEnd) -> Json {
    let error = match &end.how {
        RunOutcome::Failed(error) => Some(error.clone().bounded()),
        RunOutcome::Cancelled(_) => Some(Failure::new(CANCELLED)),
        RunOutcome::Completed(_) | RunOutcome::Skipped(_) => None,
    };
    let reason = match &end.how {
        RunOutcome::Cancelled(reason) => Some(reason.clone()),
        _ => None,
    };
    let result = match &end.how {
        RunOutcome::Completed(output) => Some(output.clone()),
        _ => None,
    };
    let (function, run, event) = (&*state.created.function, state.run, &state.created.event);
    let mut omitted: Vec<&'static str> = Vec::new();
    loop {
        let keeps = |what: &str| !omitted.contains(&what);
        let data = if name == FUNCTION_FAILED {
            let (empty, whole);
            let event = if keeps("event.data") {
                event
            } else {
                (empty, whole) = (json::empty_object(), event.clone());
                &Event { data: empty, user: None, ..whole }
            };
            json::to_json(&FailedEventData {
                function_id: function,
                run_id: run,
                error: error.as_ref(),
                event,
                omitted: &omitted,
            })
        } else {
            let event = SentEvent::of(event, keeps("event.data"));
            let joined = state.joined.iter().map(|event| SentEvent::of(event, true));
            json::to_json(&InngestEndData {
                function_id: function,
                run_id: run,
                error: error.as_ref().map(SerializedError::of),
                reason: reason.as_deref(),
                result: result.as_ref().filter(|_| name == INNGEST_FINISHED && keeps("result")),
                events: keeps("events").then(|| std::iter::once(event.clone()).chain(joined).collect()),
                event,
                omitted: &omitted,
            })
        };
        let data = data.unwrap_or_else(|_| json::empty_object());
        let fits = data_problem(&data).is_none();
        let next = match omitted.len() {
            _ if fits => return data,
            0 if name != FUNCTION_FAILED => "events",
            1 if result.is_some() && name == INNGEST_FINISHED => "result",
            _ if keeps("event.data") => "event.data",
            _ => return data,
        };
        omitted.push(next);
    }
}

/// The data of `stepladder/function.failed`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FailedEventData<'a> {
    function_id: &'a str,
    run_id: RunId,
    error: Option<&'a Failure>,
    event: &'a Event,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    omitted: &'a [&'static str],
}

/// The data of the events of Inngest's names.
#[derive(Serialize)]
struct InngestEndData<'a> {
    function_id: &'a str,
    run_id: RunId,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<SerializedError<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a Json>,
    event: SentEvent<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<Vec<SentEvent<'a>>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    omitted: &'a [&'static str],
}

/// An error in the form that Inngest's clients expect.
#[derive(Serialize)]
struct SerializedError<'a> {
    #[serde(rename = "__serialized")]
    serialized: bool,
    name: &'static str,
    error: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
}

impl<'a> SerializedError<'a> {
    fn of(failure: &'a Failure) -> Self {
        let message = &failure.message;
        Self { serialized: true, name: "Error", error: message, message, code: failure.code() }
    }
}

/// An event as its sender wrote it.
#[derive(Clone, Serialize)]
struct SentEvent<'a> {
    id: EventId,
    name: Arc<str>,
    data: Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a Json>,
    ts: Timestamp,
}

impl<'a> SentEvent<'a> {
    fn of(event: &'a Event, whole: bool) -> Self {
        let Event { id, name, data, user, ts, .. } = event;
        let data = if whole { data.clone() } else { json::empty_object() };
        Self { id: *id, name: name.clone(), data, user: user.as_ref().filter(|_| whole), ts: *ts }
    }
}
