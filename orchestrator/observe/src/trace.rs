//! Traces: which trace this invocation belongs to, what it adds to it, and what it passes on.
//!
//! X-Ray links what happens by a header (`Root=…;Parent=…;Sampled=…`, [tracing header]). Lambda gives it to each
//! invocation, and SQS carries it with each message in the system attribute `AWSTraceHeader` ([X-Ray and SQS]). A hop
//! reads its [`Header`], adds a [`Subsegment`] to the trace through the [`Daemon`], and passes on a header that names
//! that subsegment as the parent of whatever follows.
//!
//! The queue's adapter must send the header, and the engine between the two knows nothing of traces. So a hop runs in
//! [`scope`], and the adapter asks for [`current`] whenever it sends.
//!
//! Not here: randomness (ids are made of bits that the caller gives), the clock, and the decision which invocations are
//! traced, which is Lambda's.
//!
//! [tracing header]: https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader
//! [X-Ray and SQS]: https://docs.aws.amazon.com/xray/latest/devguide/xray-services-sqs.html

mod daemon;
mod segment;

use std::fmt;

use jiff::Timestamp;

pub use daemon::{DEFAULT_ADDRESS, Daemon};
pub use segment::{DOCUMENT_BYTES, Outcome, Subsegment};

tokio::task_local! {
    static HEADER: String;
}

/// Runs a future within which [`current`] is `header`.
///
/// It holds for what the future itself awaits, not for tasks that it spawns.
pub async fn scope<F: Future>(header: String, future: F) -> F::Output {
    HEADER.scope(header, future).await
}

/// The header to send with a message, where one is known.
#[must_use]
pub fn current() -> Option<String> {
    HEADER.try_with(Clone::clone).ok()
}

/// Whether a trace is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampling {
    /// It is: `Sampled=1`.
    Yes,
    /// It is not: `Sampled=0`.
    No,
    /// Nobody has said: no `Sampled`, or `Sampled=?`.
    Open,
}

/// The id of a segment or subsegment: 64 bits, in 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SegmentId(u64);

impl SegmentId {
    /// An id of random bits, which should be different in all of a trace.
    #[must_use]
    pub fn new(bits: u64) -> Self {
        Self(bits)
    }

    fn parse(text: &str) -> Option<Self> {
        hex(text, 16).then(|| u64::from_str_radix(text, 16).ok().map(Self))?
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A trace header. Its `Display` is the header's text.
///
/// `Self`, which load balancers add, and `Lineage`, in which Lambda counts invocations to find loops, are read over and
/// not passed on: a run is a chain of invocations on purpose. That alone does not keep Lambda from stopping a chain at
/// about 16 ([loops]), since the AWS SDK sends the platform's own header too: a worker needs `RecursiveLoop: Allow`.
///
/// ```
/// use stepladder_observe::trace::{Header, SegmentId};
///
/// let header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
/// let header = Header::parse(header).expect("a header");
/// assert_eq!(
///     header.pass_on(SegmentId::new(0xab)).to_string(),
///     "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=00000000000000ab;Sampled=1"
/// );
/// ```
///
/// [loops]: https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    root: String,
    parent: Option<SegmentId>,
    sampling: Sampling,
}

impl Header {
    /// The header of a trace that begins here: its id is the second `at`, and the lower 96 of the random `bits`.
    #[must_use]
    pub fn new(at: Timestamp, bits: u128, sampling: Sampling) -> Self {
        // the id has 32 bits for the time, which last until 2106
        let second = at.as_second() as u32;
        Self { root: format!("1-{second:08x}-{:024x}", bits << 32 >> 32), parent: None, sampling }
    }

    /// Reads a header, as Lambda's context, `_X_AMZN_TRACE_ID` and `AWSTraceHeader` have it. None when it names no trace.
    ///
    /// Parts that make no sense are read over.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let parts = || text.split(';').filter_map(|part| part.trim().split_once('='));
        let part = |name: &str| parts().find(|(key, _)| *key == name).map(|(_, value)| value);
        let root = part("Root").filter(|root| is_trace_id(root))?.to_owned();
        let parent = part("Parent").and_then(SegmentId::parse);
        let sampling = match part("Sampled") {
            Some("1") => Sampling::Yes,
            Some("0") => Sampling::No,
            Some(_) | None => Sampling::Open,
        };
        Some(Self { root, parent, sampling })
    }

    /// The header of this invocation where nobody hands one over: `_X_AMZN_TRACE_ID`.
    #[must_use]
    pub fn from_env() -> Option<Self> {
        Self::parse(&std::env::var("_X_AMZN_TRACE_ID").ok()?)
    }

    /// The trace's id: `1-`, its second in 8 hexadecimal digits, `-`, 24 more digits.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        &self.root
    }

    /// What called this.
    #[must_use]
    pub fn parent(&self) -> Option<SegmentId> {
        self.parent
    }

    /// Whether the trace is recorded.
    #[must_use]
    pub fn sampling(&self) -> Sampling {
        self.sampling
    }

    /// The header for what follows from the subsegment `id`.
    ///
    /// Of a trace that is not recorded no subsegment is sent, so its parent stays.
    #[must_use]
    pub fn pass_on(&self, id: SegmentId) -> Self {
        let parent = match self.sampling {
            Sampling::Yes => Some(id),
            Sampling::No | Sampling::Open => self.parent,
        };
        Self { parent, ..self.clone() }
    }
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Root={}", self.root)?;
        if let Some(parent) = self.parent {
            write!(f, ";Parent={parent}")?;
        }
        match self.sampling {
            Sampling::Yes => f.write_str(";Sampled=1"),
            Sampling::No => f.write_str(";Sampled=0"),
            Sampling::Open => Ok(()),
        }
    }
}

fn is_trace_id(text: &str) -> bool {
    let mut parts = text.split('-');
    parts.next() == Some("1")
        && parts.next().is_some_and(|part| hex(part, 8))
        && parts.next().is_some_and(|part| hex(part, 24))
        && parts.next().is_none()
}

fn hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests;
