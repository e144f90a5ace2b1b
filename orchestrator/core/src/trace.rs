//! The ids of traces and spans, and the context in which an event was sent ([W3C Trace Context]).
//!
//! The ids of a run's spans are derived from the run, the step and the attempt. Therefore every
//! process can emit the spans that it knows of, and a span that is emitted twice has the same id.
//!
//! Export is not done here: see the crate `stepladder-otel`.
//!
//! [W3C Trace Context]: https://www.w3.org/TR/trace-context/

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::journal::{NewRun, RunOrigin};
use crate::{RunId, StepId, Timestamp};

/// The maximum length of a `tracestate`, in bytes. W3C asks for at least 512.
const STATE_BYTES: usize = 512;
/// The flag of a trace that is recorded.
const SAMPLED: u8 = 1;

/// The id of a trace: 128 bits, not all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(pub u128);

/// The id of a span: 64 bits, not all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(pub u64);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A span that other spans continue or link to: what the headers `traceparent` and `tracestate`
/// contain.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "StoredContext", into = "StoredContext")]
pub struct TraceContext {
    /// The trace.
    pub trace: TraceId,
    /// The span.
    pub span: SpanId,
    /// The flags of the trace. Bit 0 says whether the trace is recorded.
    pub flags: u8,
    /// The `tracestate`, if there is one.
    pub state: Option<Arc<str>>,
}

/// Why a `traceparent` or a `tracestate` cannot be used, as a sentence that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTrace {
    /// The `traceparent` cannot be read.
    #[error("`traceparent` must be written like 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]
    Parent,
    /// The `tracestate` cannot be kept.
    #[error("`tracestate` must be printable ASCII of at most {STATE_BYTES} bytes")]
    State,
    /// There is a `tracestate` only.
    #[error("`tracestate` needs a `traceparent`")]
    StateAlone,
}

/// The stored form of a context.
#[derive(Serialize, Deserialize)]
struct StoredContext {
    traceparent: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tracestate: Option<Arc<str>>,
}

impl TryFrom<StoredContext> for TraceContext {
    type Error = InvalidTrace;

    fn try_from(stored: StoredContext) -> Result<Self, InvalidTrace> {
        Self::parse(&stored.traceparent, stored.tracestate.as_deref())
    }
}

impl From<TraceContext> for StoredContext {
    fn from(context: TraceContext) -> Self {
        Self { traceparent: context.traceparent(), tracestate: context.state }
    }
}

impl TraceContext {
    /// Reads the values of the headers `traceparent` and `tracestate`. An empty `tracestate` counts
    /// as missing.
    ///
    /// # Errors
    /// [`InvalidTrace`], which names the field.
    pub fn parse(parent: &str, state: Option<&str>) -> Result<Self, InvalidTrace> {
        let context: Self = parent.parse()?;
        let state = state.map(str::trim).filter(|state| !state.is_empty());
        let is_valid =
            |state: &str| state.len() <= STATE_BYTES && state.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if !state.is_none_or(is_valid) {
            return Err(InvalidTrace::State);
        }
        Ok(Self { state: state.map(Into::into), ..context })
    }

    /// Returns whether the trace is recorded.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Returns the value of the header `traceparent`.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace, self.span, self.flags)
    }
}

impl FromStr for TraceContext {
    type Err = InvalidTrace;

    fn from_str(text: &str) -> Result<Self, InvalidTrace> {
        let mut parts = text.trim().split('-');
        let mut hex = |digits: usize| {
            let part = parts.next().filter(|part| part.len() == digits)?;
            let is_hex = part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            is_hex.then(|| u128::from_str_radix(part, 16).ok())?
        };
        let mut read = || Some((hex(2)?, hex(32)?, hex(16)?, hex(2)?));
        let (version, trace, span, flags) = read().ok_or(InvalidTrace::Parent)?;
        // a later version may have further parts
        let has_known_length = version != 0 || parts.next().is_none();
        if version == 0xff || trace == 0 || span == 0 || !has_known_length {
            return Err(InvalidTrace::Parent);
        }
        Ok(Self { trace: TraceId(trace), span: SpanId(span as u64), flags: flags as u8, state: None })
    }
}

/// A span of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpanOf<'a> {
    /// The run.
    Run,
    /// The time between the run's readiness and its start.
    RunQueue,
    /// A failed attempt of the handler outside of its steps.
    Handler(u32),
    /// A step.
    Step(&'a StepId),
    /// An attempt of a step.
    Attempt(&'a StepId, u32),
    /// The delay before an attempt of a step.
    Wait(&'a StepId, u32),
    /// The time between the readiness of an attempt and its start.
    Queue(&'a StepId, u32),
    /// An attempt for which the executor could not be reached, and which ended at this time.
    Unreachable(&'a StepId, Timestamp),
}

/// The trace of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunTrace {
    run: RunId,
    /// The id of the trace.
    pub trace: TraceId,
    /// The span of the sender, whose trace the run continues.
    pub parent: Option<TraceContext>,
    /// The span that has caused the run, if the run has a trace of its own.
    pub link: Option<TraceContext>,
}

impl RunTrace {
    /// Returns the trace of a run. A run that an event has created continues the trace of the
    /// event. Every other run has its own trace, with the id of the run.
    pub fn of(run: RunId, created: &NewRun) -> Self {
        let (own, sent) = (TraceId(u128::from_be_bytes(run.to_bytes())), created.event.trace.as_deref().cloned());
        match &created.origin {
            RunOrigin::Event => {
                Self { run, trace: sent.as_ref().map_or(own, |sent| sent.trace), parent: sent, link: None }
            }
            RunOrigin::Invoke { parent, step } => {
                let link = sent.unwrap_or_else(|| Self::own(*parent).context(SpanOf::Step(step), true));
                Self { link: Some(link), ..Self::own(run) }
            }
            RunOrigin::Failure { of } => {
                let link = sent.unwrap_or_else(|| Self::own(*of).context(SpanOf::Run, true));
                Self { link: Some(link), ..Self::own(run) }
            }
            RunOrigin::Rerun { .. } | RunOrigin::Cron => Self { link: sent, ..Self::own(run) },
        }
    }

    /// Returns the trace of a run that continues no other trace.
    pub fn own(run: RunId) -> Self {
        Self { run, trace: TraceId(u128::from_be_bytes(run.to_bytes())), parent: None, link: None }
    }

    /// Returns the context of a span of the run. `is_sampled` says whether the trace is recorded.
    pub fn context(&self, of: SpanOf<'_>, is_sampled: bool) -> TraceContext {
        let state = self.parent.as_ref().and_then(|parent| parent.state.clone());
        TraceContext { trace: self.trace, span: self.span_id(of), flags: u8::from(is_sampled), state }
    }

    /// Returns the context of a span of the run, if it cannot be derived from the id of the run.
    /// This is true for a run that continues the trace of its event.
    pub(crate) fn context_to_send(&self, of: SpanOf<'_>) -> Option<Arc<TraceContext>> {
        let parent = self.parent.as_ref()?;
        Some(Arc::new(self.context(of, parent.is_sampled())))
    }

    /// Returns the id of a span of the run.
    pub fn span_id(&self, of: SpanOf<'_>) -> SpanId {
        let (kind, step, number): (&[u8], &str, u64) = match of {
            SpanOf::Run => (b"run", "", 0),
            SpanOf::RunQueue => (b"run-queue", "", 0),
            SpanOf::Handler(attempt) => (b"handler", "", attempt.into()),
            SpanOf::Step(step) => (b"step", step, 0),
            SpanOf::Attempt(step, attempt) => (b"attempt", step, attempt.into()),
            SpanOf::Wait(step, attempt) => (b"wait", step, attempt.into()),
            SpanOf::Queue(step, attempt) => (b"queue", step, attempt.into()),
            SpanOf::Unreachable(step, at) => (b"unreachable", step, at.as_millis() as u64),
        };
        let mut sha = Sha256::new();
        sha.update(self.run.to_bytes());
        sha.update([kind.len() as u8]);
        sha.update(kind);
        sha.update(number.to_be_bytes());
        sha.update(step);
        let bits = sha.finalize().iter().take(8).fold(0, |bits: u64, byte| bits << 8 | u64::from(*byte));
        SpanId(bits.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EventId, NewEvent, json};

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn run(n: u128) -> RunId {
        RunId::new(Timestamp::from_millis(1_700_000_000_000), n)
    }

    fn created(origin: RunOrigin, traceparent: Option<&str>) -> NewRun {
        let event = NewEvent { trace: traceparent.map(|text| Arc::new(text.parse().unwrap())), ..event() };
        NewRun::new(
            "f".into(),
            event.accept(EventId::new(Timestamp::from_millis(1), 1), Timestamp::from_millis(1)),
            origin,
        )
    }

    fn event() -> NewEvent {
        NewEvent::new("a", json::empty_object())
    }

    #[test]
    fn a_traceparent_is_read_and_written() {
        let context = TraceContext::parse(PARENT, Some(" a=1,b=2 ")).unwrap();
        assert_eq!(context.trace, TraceId(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736));
        assert_eq!((context.span, context.is_sampled()), (SpanId(0x00f0_67aa_0ba9_02b7), true));
        assert_eq!((context.traceparent().as_str(), context.state.as_deref()), (PARENT, Some("a=1,b=2")));
        // further parts are those of a later version
        assert!(PARENT.replacen("00", "01", 1).parse::<TraceContext>().is_ok());
        assert!(format!("{}-x", PARENT.replacen("00", "01", 1)).parse::<TraceContext>().is_ok());
    }

    #[test]
    fn an_invalid_context_is_refused_by_name() {
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(bad.parse::<TraceContext>(), Err(InvalidTrace::Parent), "{bad}");
        }
        assert_eq!(TraceContext::parse(PARENT, Some("a=\u{e9}")), Err(InvalidTrace::State));
        assert_eq!(TraceContext::parse(PARENT, Some(&"a".repeat(513))), Err(InvalidTrace::State));
    }

    #[test]
    fn a_context_is_stored_as_the_two_headers() {
        let context = TraceContext::parse(PARENT, Some("a=1")).unwrap();
        let text = serde_json::to_string(&context).unwrap();
        assert_eq!(text, format!(r#"{{"traceparent":"{PARENT}","tracestate":"a=1"}}"#));
        assert_eq!(serde_json::from_str::<TraceContext>(&text).unwrap(), context);
        assert!(serde_json::from_str::<TraceContext>(r#"{"traceparent":"7"}"#).is_err());
    }

    #[test]
    fn a_run_of_an_event_continues_its_trace_and_another_run_links_to_it() {
        let sent: TraceContext = PARENT.parse().unwrap();
        let continued = RunTrace::of(run(1), &created(RunOrigin::Event, Some(PARENT)));
        assert_eq!((continued.trace, continued.parent), (sent.trace, Some(sent.clone())));
        let own = RunTrace::of(run(1), &created(RunOrigin::Event, None));
        assert_eq!(own, RunTrace::own(run(1)));
        assert_eq!(own.trace.to_string(), format!("{:032x}", u128::from_be_bytes(run(1).to_bytes())));
        let rerun = RunTrace::of(run(2), &created(RunOrigin::Rerun { of: run(1) }, Some(PARENT)));
        assert_eq!((rerun.trace, rerun.parent, rerun.link), (RunTrace::own(run(2)).trace, None, Some(sent)));
    }

    #[test]
    fn a_called_run_links_to_the_step_that_called_it() {
        let step: StepId = "call".into();
        let caller = RunTrace::own(run(1)).context(SpanOf::Step(&step), true);
        let origin = RunOrigin::Invoke { parent: run(1), step: step.clone() };
        assert_eq!(RunTrace::of(run(2), &created(origin.clone(), None)).link, Some(caller));
        // the trace of a caller that continues another trace comes with the event
        let sent = RunTrace::of(run(1), &created(RunOrigin::Event, Some(PARENT)));
        let sent = sent.context_to_send(SpanOf::Step(&step)).unwrap();
        assert_eq!(RunTrace::of(run(2), &created(origin, Some(&sent.traceparent()))).link, Some((*sent).clone()));
    }

    #[test]
    fn each_span_of_a_run_has_an_id_of_its_own() {
        let (a, b): (StepId, StepId) = ("a".into(), "b".into());
        let all = [
            SpanOf::Run,
            SpanOf::RunQueue,
            SpanOf::Handler(1),
            SpanOf::Step(&a),
            SpanOf::Step(&b),
            SpanOf::Attempt(&a, 1),
            SpanOf::Attempt(&a, 2),
            SpanOf::Wait(&a, 2),
            SpanOf::Queue(&a, 2),
            SpanOf::Unreachable(&a, Timestamp::from_millis(2)),
        ];
        let trace = RunTrace::own(run(1));
        let ids: std::collections::HashSet<SpanId> = all.iter().map(|of| trace.span_id(*of)).collect();
        assert_eq!(ids.len(), all.len());
        assert!(all.iter().all(|of| trace.span_id(*of) == RunTrace::own(run(1)).span_id(*of)));
        assert_ne!(trace.span_id(SpanOf::Run), RunTrace::own(run(2)).span_id(SpanOf::Run));
    }
}
