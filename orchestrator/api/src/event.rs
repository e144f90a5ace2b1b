//! Events in the REST interface.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use stepladder_core::trace::TraceContext;
use stepladder_core::{EventId, Json, RunId};

use crate::Time;

/// An accepted event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// The id that the server gave the event.
    pub id: EventId,
    /// The name of the event.
    pub name: Arc<str>,
    /// The payload: a JSON object.
    pub data: Json,
    /// When the event happened, in milliseconds since the Unix epoch.
    pub ts: i64,
    /// The user that the event is about; `None` if the sender named none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Json>,
    /// The id given by the sender, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<Arc<str>>,
    /// When the server accepted the event.
    pub received_at: Time,
    /// The span of the sender, which the runs of the event continue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The runs that waited for the event and received it, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resumed_runs: Vec<RunId>,
}

impl From<&stepladder_core::Event> for Event {
    fn from(event: &stepladder_core::Event) -> Self {
        Self {
            id: event.id,
            name: event.name.clone(),
            data: event.data.clone(),
            ts: event.ts.as_millis(),
            user: event.user.clone(),
            external_id: event.external_id.clone(),
            received_at: event.received_at.into(),
            traceparent: event.trace.as_deref().map(TraceContext::traceparent),
            resumed_runs: Vec::new(),
        }
    }
}

/// The response of `POST /e/{key}`, for accepted and refused requests. Of all responses, only this
/// one repeats the HTTP status in its body.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EventsResponse {
    /// The ids of the accepted events, in the order of the request.
    pub ids: Vec<EventId>,
    /// The status of the HTTP response.
    pub status: u16,
    /// Why the request was refused; `None` if it was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
