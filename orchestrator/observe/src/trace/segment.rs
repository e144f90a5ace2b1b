//! The subsegment of a hop, as a document for X-Ray ([segment documents]).
//!
//! Names and annotations are changed to fit X-Ray's rules, so that an unusual function id does not
//! lose the trace.
//!
//! [segment documents]:
//! https://docs.aws.amazon.com/xray/latest/devguide/xray-api-segmentdocuments.html

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{SamplingDecision, SegmentId, TraceHeader};

/// The maximum length of a document, in bytes.
pub const DOCUMENT_BYTES: usize = 64_000;

/// The maximum number of characters in a name.
const NAME_CHARS: usize = 200;

/// The maximum number of annotations that X-Ray keeps for a trace.
const MAX_ANNOTATIONS: usize = 50;

/// The maximum number of characters in an annotation's key.
const KEY_CHARS: usize = 500;

/// The maximum number of characters in an annotation's value.
const VALUE_CHARS: usize = 1_000;

/// The outcome of a piece of work, in X-Ray's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentOutcome {
    /// The work succeeded.
    Ok,
    /// The caller caused the failure: a step's code failed.
    Error,
    /// The service caused the failure: the store or the queue failed.
    Fault,
}

/// A piece of work within a trace: a call of a service, or a hop.
#[derive(Debug, Clone)]
pub struct Subsegment<'a> {
    /// The name in X-Ray's service map: at most 200 letters, digits, spaces and `_.:/%&#=+\-@`.
    /// Other characters are replaced.
    pub name: &'a str,
    /// The id of this subsegment.
    pub id: SegmentId,
    /// The trace header of the invocation. It contains the trace and the parent of this subsegment.
    pub header: &'a TraceHeader,
    /// The start of the work.
    pub start: Timestamp,
    /// The end of the work.
    pub end: Timestamp,
    /// The outcome of the work.
    pub outcome: SegmentOutcome,
    /// `aws` or `remote` for a call of another service; `None` for code of this program.
    pub namespace: Option<&'a str>,
    /// Keys and values that can be searched for in X-Ray, for example `run`. At most 50 are sent.
    pub annotations: &'a [(&'a str, &'a str)],
}

#[derive(Serialize)]
struct SegmentDocument<'a> {
    name: String,
    id: String,
    trace_id: &'a str,
    parent_id: String,
    r#type: &'static str,
    start_time: f64,
    end_time: f64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    error: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    fault: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    annotations: Map<String, Value>,
}

impl Subsegment<'_> {
    /// Returns the document to send. Returns `None` if the trace is not recorded, if the header
    /// names no parent, or if the document would be longer than [`DOCUMENT_BYTES`].
    #[must_use]
    pub fn document(&self) -> Option<String> {
        match self.header.sampling() {
            SamplingDecision::Yes => {}
            SamplingDecision::No | SamplingDecision::Undecided => return None,
        }
        let document = SegmentDocument {
            name: valid_name(self.name),
            id: self.id.to_string(),
            trace_id: self.header.trace_id(),
            parent_id: self.header.parent()?.to_string(),
            r#type: "subsegment",
            start_time: to_seconds(self.start),
            // after a clock was set back, the end must not precede the start
            end_time: to_seconds(self.end.max(self.start)),
            error: self.outcome == SegmentOutcome::Error,
            fault: self.outcome == SegmentOutcome::Fault,
            namespace: self.namespace,
            annotations: valid_annotations(self.annotations),
        };
        serde_json::to_string(&document).ok().filter(|text| text.len() <= DOCUMENT_BYTES)
    }
}

fn valid_name(text: &str) -> String {
    let allowed = |char: char| char.is_alphanumeric() || " _.:/%&#=+\\-@".contains(char);
    let name: String =
        text.trim().chars().take(NAME_CHARS).map(|char| if allowed(char) { char } else { '_' }).collect();
    if name.is_empty() { "stepladder".into() } else { name }
}

fn valid_annotations(given: &[(&str, &str)]) -> Map<String, Value> {
    let key = |text: &str| -> String {
        let letter = |char: char| if char.is_ascii_alphanumeric() { char } else { '_' };
        text.chars().take(KEY_CHARS).map(letter).collect()
    };
    let value = |text: &str| Value::String(text.chars().take(VALUE_CHARS).collect());
    let named = given.iter().filter(|(name, _)| !name.is_empty());
    named.take(MAX_ANNOTATIONS).map(|(name, text)| (key(name), value(text))).collect()
}

/// Converts a moment to seconds since 1970, with a fraction.
fn to_seconds(at: Timestamp) -> f64 {
    at.as_microsecond() as f64 / 1e6
}
