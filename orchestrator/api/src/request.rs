//! The bodies of requests.

use serde::{Deserialize, Serialize};
use stepladder_core::Json;

/// An event to send.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewEvent {
    /// What happened.
    pub name: String,
    /// A JSON object; `{}` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Json>,
    /// An id of the sender: within 24 hours, a second event with this id is the same event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// How to rerun one run. By default all of it runs again, with the same event.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RerunRequest {
    /// Keep the outcomes of the steps before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_step: Option<String>,
    /// Other data for the event: a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Json>,
}

/// How to rerun many runs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RerunAllRequest {
    /// Keep the outcomes of the steps before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_step: Option<String>,
}
