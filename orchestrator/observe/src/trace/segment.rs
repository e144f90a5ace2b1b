//! What one hop adds to a trace: a subsegment's document, as X-Ray reads it ([segment documents]).
//!
//! Names and annotations are made to fit X-Ray's rules, so that a strange function id costs a letter and not the trace.
//!
//! [segment documents]: https://docs.aws.amazon.com/xray/latest/devguide/xray-api-segmentdocuments.html

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Header, Sampling, SegmentId};

/// The most that a document may have, in bytes: 64 kB.
pub const DOCUMENT_BYTES: usize = 64_000;

/// The most characters of a name.
const NAME_CHARS: usize = 200;
/// The most annotations that X-Ray keeps for a trace.
const ANNOTATIONS: usize = 50;
/// The most characters of an annotation's key.
const KEY_CHARS: usize = 500;
/// The most characters of an annotation's value.
const VALUE_CHARS: usize = 1_000;

/// How it went, in X-Ray's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Ok,
    /// The request was at fault: a step's code failed.
    Error,
    /// The service was: storage or queue did not do their part.
    Fault,
}

/// A piece of work within a trace.
#[derive(Debug, Clone)]
pub struct Subsegment<'a> {
    /// What the map of services shows. Letters, digits, blanks and `_.:/%&#=+\-@` are kept, 200 characters at most.
    pub name: &'a str,
    /// Its own id.
    pub id: SegmentId,
    /// The trace and the parent, as they came in.
    pub header: &'a Header,
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// How it went.
    pub outcome: Outcome,
    /// Whose call it is: `aws` or `remote`; none for code of one's own.
    pub namespace: Option<&'a str>,
    /// What traces can be found by: `run`, `function`, `step`. Keys of letters, digits and `_`, 50 at most.
    pub annotations: &'a [(&'a str, &'a str)],
}

#[derive(Serialize)]
struct Document<'a> {
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
    /// The document, where there is one to send: the trace is recorded, its header names a parent, and the document is
    /// no larger than [`DOCUMENT_BYTES`].
    #[must_use]
    pub fn document(&self) -> Option<String> {
        match self.header.sampling() {
            Sampling::Yes => {}
            Sampling::No | Sampling::Open => return None,
        }
        let document = Document {
            name: name(self.name),
            id: self.id.to_string(),
            trace_id: self.header.trace_id(),
            parent_id: self.header.parent()?.to_string(),
            r#type: "subsegment",
            start_time: seconds(self.start),
            // a clock that was set back must not make it end before it began
            end_time: seconds(self.end.max(self.start)),
            error: self.outcome == Outcome::Error,
            fault: self.outcome == Outcome::Fault,
            namespace: self.namespace,
            annotations: annotations(self.annotations),
        };
        serde_json::to_string(&document).ok().filter(|text| text.len() <= DOCUMENT_BYTES)
    }
}

fn name(text: &str) -> String {
    let allowed = |char: char| char.is_alphanumeric() || " _.:/%&#=+\\-@".contains(char);
    let name: String =
        text.trim().chars().take(NAME_CHARS).map(|char| if allowed(char) { char } else { '_' }).collect();
    if name.is_empty() { "stepladder".into() } else { name }
}

fn annotations(given: &[(&str, &str)]) -> Map<String, Value> {
    let key = |text: &str| -> String {
        let letter = |char: char| if char.is_ascii_alphanumeric() { char } else { '_' };
        text.chars().take(KEY_CHARS).map(letter).collect()
    };
    let value = |text: &str| Value::String(text.chars().take(VALUE_CHARS).collect());
    let named = given.iter().filter(|(name, _)| !name.is_empty());
    named.take(ANNOTATIONS).map(|(name, text)| (key(name), value(text))).collect()
}

/// Seconds since 1970, with their fraction.
fn seconds(at: Timestamp) -> f64 {
    at.as_microsecond() as f64 / 1e6
}
