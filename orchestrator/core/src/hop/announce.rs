//! The data of the events that report the end of a run: `stepladder/function.failed`, and Inngest's
//! `inngest/function.failed`, `.finished` and `.cancelled`.

use std::sync::Arc;

use serde::Serialize;

use crate::event::data_problem;
use crate::journal::Failure;
use crate::state::{RunEnd, RunOutcome, RunState};
use crate::system::FUNCTION_FAILED;
use crate::{Event, EventId, Json, RunId, Timestamp, json};

/// The error message that Inngest uses for every cancelled run.
const CANCELLED: &str = "function cancelled";

/// Returns the data of an event that reports the end of a run. Parts that would exceed the size
/// limit of events are left out and listed.
pub fn end_data(name: &str, state: &RunState, end: &RunEnd) -> Json {
    let parts: &[&'static str] = match (name, &end.how) {
        (FUNCTION_FAILED, _) => &["event.data"],
        (_, RunOutcome::Completed(_)) => &["events", "result", "event.data"],
        (_, RunOutcome::Failed(_) | RunOutcome::Cancelled(_) | RunOutcome::Skipped(_)) => &["events", "event.data"],
    };
    let mut omitted = 0;
    loop {
        let data = data_without(&parts[..omitted], name, state, end);
        if omitted == parts.len() || data_problem(&data).is_none() {
            return data;
        }
        omitted += 1;
    }
}

/// Returns the data of an event that reports the end of a run, without the given parts.
fn data_without(omitted: &[&'static str], name: &str, state: &RunState, end: &RunEnd) -> Json {
    let error = match &end.how {
        RunOutcome::Failed(error) => Some(error.clone().bounded()),
        RunOutcome::Cancelled(_) => Some(Failure::new(CANCELLED)),
        RunOutcome::Completed(_) | RunOutcome::Skipped(_) => None,
    };
    let reason = match &end.how {
        RunOutcome::Cancelled(reason) => Some(&**reason),
        RunOutcome::Completed(_) | RunOutcome::Failed(_) | RunOutcome::Skipped(_) => None,
    };
    let result = match &end.how {
        RunOutcome::Completed(output) => Some(output),
        RunOutcome::Failed(_) | RunOutcome::Cancelled(_) | RunOutcome::Skipped(_) => None,
    };
    let (function_id, run_id, event) = (&*state.created.function, state.run, &state.created.event);
    let keeps = |part: &str| !omitted.contains(&part);
    let data = if name == FUNCTION_FAILED {
        let whole = event.clone();
        let event = if keeps("event.data") { whole } else { Event { data: json::empty_object(), user: None, ..whole } };
        json::to_json(&FailedEventData { function_id, run_id, error: error.as_ref(), event: &event, omitted })
    } else {
        let event = SentEvent::of(event, keeps("event.data"));
        let joined = state.joined.iter().map(|event| SentEvent::of(event, true));
        json::to_json(&InngestEndData {
            function_id,
            run_id,
            error: error.as_ref().map(SerializedError::of),
            reason,
            result: result.filter(|_| keeps("result")),
            events: keeps("events").then(|| std::iter::once(event.clone()).chain(joined).collect()),
            event,
            omitted,
        })
    };
    data.unwrap_or(json::empty_object())
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

/// The data of the events with Inngest's names.
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
    name: &'a str,
    error: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    stack: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Json>,
}

impl<'a> SerializedError<'a> {
    fn of(failure: &'a Failure) -> Self {
        let Failure { message, name, stack, data, .. } = failure;
        Self {
            serialized: true,
            name: name.as_deref().unwrap_or("Error"),
            error: message,
            message,
            stack: stack.as_deref(),
            code: failure.code(),
            data: data.as_ref(),
        }
    }
}

/// An event in the form in which its sender wrote it.
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
