//! X-Ray traces: the trace of an invocation, and its subsegment.
//!
//! X-Ray links invocations by a header (`Root=…;Parent=…;Sampled=…`, [tracing header]). Lambda
//! passes it to each invocation. SQS carries it with each message, in the system attribute
//! `AWSTraceHeader` ([X-Ray and SQS]). A hop reads its [`TraceHeader`] and sends a [`Subsegment`]
//! to the [`XRayDaemon`]. It passes on a header that names this subsegment as the parent of the
//! next hops.
//!
//! The queue's adapter sends the header, but the engine in between knows nothing of traces.
//! Therefore a hop runs in [`scope`], and the adapter calls [`current`] when it sends.
//!
//! Not here: randomness (the caller passes the bits of an id), the clock, and the decision which
//! invocations are traced, which Lambda makes.
//!
//! [tracing header]: https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader
//! [X-Ray and SQS]: https://docs.aws.amazon.com/xray/latest/devguide/xray-services-sqs.html

mod daemon;
mod segment;

use std::fmt;

use jiff::Timestamp;

pub use daemon::{DEFAULT_ADDRESS, XRayDaemon};
pub use segment::{DOCUMENT_BYTES, SegmentOutcome, Subsegment};

tokio::task_local! {
    static HEADER: String;
}

/// Runs a future in which [`current`] returns `header`.
///
/// This does not apply to tasks that the future spawns.
pub async fn scope<F: Future>(header: String, future: F) -> F::Output {
    HEADER.scope(header, future).await
}

/// Returns the header of the current [`scope`], to send it with a message. Returns `None` outside a
/// scope.
#[must_use]
pub fn current() -> Option<String> {
    HEADER.try_with(Clone::clone).ok()
}

/// The sampling decision of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SamplingDecision {
    /// The trace is recorded: `Sampled=1`.
    Yes,
    /// The trace is not recorded: `Sampled=0`.
    No,
    /// No decision was made yet: `Sampled` is missing or `?`.
    Undecided,
}

/// The id of a segment or subsegment: 64 bits, written as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SegmentId(u64);

impl SegmentId {
    /// Creates an id from random bits. It should be unique within its trace.
    #[must_use]
    pub fn new(bits: u64) -> Self {
        Self(bits)
    }

    fn parse(text: &str) -> Option<Self> {
        is_hex(text, 16).then(|| u64::from_str_radix(text, 16).ok().map(Self))?
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A trace header. `Display` writes the text of the header.
///
/// Two parts are ignored and not passed on: `Self`, which load balancers add, and `Lineage`, in
/// which Lambda counts invocations to find loops. A run is a chain of invocations on purpose. A
/// worker still needs `RecursiveLoop: Allow`, because the AWS SDK also sends the platform's own
/// header. Otherwise Lambda stops a chain after about 16 invocations ([loops]).
///
/// ```
/// use stepladder_observe::trace::{TraceHeader, SegmentId};
///
/// let header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
/// let header = TraceHeader::parse(header).expect("a header");
/// assert_eq!(
///     header.pass_on(SegmentId::new(0xab)).to_string(),
///     "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=00000000000000ab;Sampled=1"
/// );
/// ```
///
/// [loops]: https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceHeader {
    root: String,
    parent: Option<SegmentId>,
    sampling: SamplingDecision,
}

impl TraceHeader {
    /// Creates the header of a new trace. The trace id consists of the time `at` in seconds and the
    /// lower 96 bits of `bits`, which must be random.
    #[must_use]
    pub fn new(at: Timestamp, bits: u128, sampling: SamplingDecision) -> Self {
        // the trace id has 32 bits for the time, which is enough until 2106
        let second = at.as_second() as u32;
        Self { root: format!("1-{second:08x}-{:024x}", bits << 32 >> 32), parent: None, sampling }
    }

    /// Parses a header from Lambda's context, `_X_AMZN_TRACE_ID` or `AWSTraceHeader`. Returns
    /// `None` if the header has no trace id. Invalid parts are ignored.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let parts = || text.split(';').filter_map(|part| part.trim().split_once('='));
        let part = |name: &str| parts().find(|(key, _)| *key == name).map(|(_, value)| value);
        let root = part("Root").filter(|root| is_trace_id(root))?.to_owned();
        let parent = part("Parent").and_then(SegmentId::parse);
        let sampling = match part("Sampled") {
            Some("1") => SamplingDecision::Yes,
            Some("0") => SamplingDecision::No,
            Some(_) | None => SamplingDecision::Undecided,
        };
        Some(Self { root, parent, sampling })
    }

    /// Returns the header in the environment variable `_X_AMZN_TRACE_ID`, if it is valid.
    #[must_use]
    pub fn from_env() -> Option<Self> {
        Self::parse(&std::env::var("_X_AMZN_TRACE_ID").ok()?)
    }

    /// Returns the trace id: `1-`, the time in seconds as 8 hexadecimal digits, `-`, and 24 more
    /// digits.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        &self.root
    }

    /// Returns the id of the segment that caused this invocation.
    #[must_use]
    pub fn parent(&self) -> Option<SegmentId> {
        self.parent
    }

    /// Returns the sampling decision of the trace.
    #[must_use]
    pub fn sampling(&self) -> SamplingDecision {
        self.sampling
    }

    /// Returns the header for messages that this invocation sends. Its parent is the subsegment
    /// `id`.
    ///
    /// If the trace is not recorded, the parent does not change, because no subsegment is sent.
    #[must_use]
    pub fn pass_on(&self, id: SegmentId) -> Self {
        let parent = match self.sampling {
            SamplingDecision::Yes => Some(id),
            SamplingDecision::No | SamplingDecision::Undecided => self.parent,
        };
        Self { parent, ..self.clone() }
    }
}

impl fmt::Display for TraceHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Root={}", self.root)?;
        if let Some(parent) = self.parent {
            write!(f, ";Parent={parent}")?;
        }
        match self.sampling {
            SamplingDecision::Yes => f.write_str(";Sampled=1"),
            SamplingDecision::No => f.write_str(";Sampled=0"),
            SamplingDecision::Undecided => Ok(()),
        }
    }
}

fn is_trace_id(text: &str) -> bool {
    let mut parts = text.split('-');
    parts.next() == Some("1")
        && parts.next().is_some_and(|part| is_hex(part, 8))
        && parts.next().is_some_and(|part| is_hex(part, 24))
        && parts.next().is_none()
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests;
