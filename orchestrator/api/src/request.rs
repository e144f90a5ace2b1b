//! The bodies of requests to the REST interface.

use serde::{Deserialize, Serialize};
use stepladder_core::Json;

/// An event to send.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewEvent {
    /// The name of the event.
    pub name: String,
    /// The payload: a JSON object, by default `{}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Json>,
    /// An id that the sender chooses. A second event with the same id within 24 hours is treated as
    /// a duplicate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// How to rerun one run. By default, the rerun starts from the beginning with the same event.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RerunRequest {
    /// The step from which the run is repeated. The outcomes of earlier steps are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_step: Option<String>,
    /// New data for the event: a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Json>,
}

/// A failure that a third party reports to a callback token instead of data.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignalFailure {
    /// What failed, as a sentence.
    pub message: String,
    /// The name of the error's type, such as `CardDeclined`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A code to branch on. It may not be one of Stepladder's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The stack trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// Further fields of the error: any JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Json>,
}

/// How to rerun many runs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RerunAllRequest {
    /// The step from which the runs are repeated. The outcomes of earlier steps are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_step: Option<String>,
}
